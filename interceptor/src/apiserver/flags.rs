//! A command line of kube-apiserver to flags.

use super::PROGRAM;

/// Flags of a kube-apiserver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags(Vec<(String, String)>);

/// A resource that is kept in another etcd (`--etcd-servers-overrides`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// `GROUP/RESOURCE`; the core group is empty.
    pub resource: String,
    /// URLs of that etcd.
    pub servers: Vec<String>,
}

impl Flags {
    /// Reads the words after the program's name, which may itself come after that of a wrapper. A
    /// flag is `--name=value`, or `--name value`; a last one without a value has an empty one.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Self {
        let program = arguments
            .iter()
            .position(|word| word.rsplit('/').next() == Some(PROGRAM));
        let own = program.map_or(0, |place| place.saturating_add(1));
        let mut words = arguments.iter().skip(own).peekable();
        let mut flags = Vec::new();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else {
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    let next = words.next_if(|next| !next.starts_with("--"));
                    (flag, next.cloned().unwrap_or_default())
                }
            };
            flags.push((name.replace('_', "-"), value));
        }
        Self(flags)
    }

    /// The value of a flag; of one that is there several times, the last, as kube-apiserver has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().rev().filter(|(flag, _)| flag == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The values of a flag that is a list: several flags add up.
    fn list(&self, name: &str) -> Vec<&str> {
        let values = self.0.iter().filter(|(flag, _)| flag == name);
        let values = values.flat_map(|(_, value)| value.split(','));
        values
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// URLs of the etcd that everything is kept in, unless it is overridden.
    #[must_use]
    pub fn etcd_servers(&self) -> Vec<&str> {
        self.list("etcd-servers")
    }

    /// Resources that are kept in another etcd.
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        let entries = self.list("etcd-servers-overrides").into_iter();
        let entries = entries.filter_map(|entry| entry.split_once('#'));
        let entries = entries.map(|(resource, servers)| Override {
            resource: resource.to_owned(),
            servers: servers.split(';').map(str::to_owned).collect(),
        });
        entries.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flags(line: &str) -> Flags {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Flags::parse(&words)
    }

    #[test]
    fn a_command_line() {
        let flags = flags(
            "/go-runner --log-file=x /usr/local/bin/kube-apiserver --etcd-servers=https://a:1,https://b:1 \
             --etcd-cafile /ca --etcd-servers https://c:1 --allow-privileged --v=2 --v=4 \
             --etcd-servers-overrides=/events#https://e:1;https://f:1,apps/deployments#https://g:1 --last",
        );
        assert_eq!(
            flags.etcd_servers(),
            ["https://a:1", "https://b:1", "https://c:1"]
        );
        assert_eq!(flags.get("etcd-cafile"), Some("/ca"));
        assert_eq!(flags.get("allow-privileged"), Some(""));
        assert_eq!(flags.get("v"), Some("4"));
        assert_eq!(flags.get("last"), Some(""));
        assert_eq!(flags.get("log-file"), None);
        let overrides = flags.overrides();
        let named = |place: usize| {
            let found = overrides.get(place).unwrap();
            (found.resource.as_str(), found.servers.len())
        };
        assert_eq!(named(0), ("/events", 2));
        assert_eq!(named(1), ("apps/deployments", 1));
    }

    proptest! {
        #[test]
        fn no_command_line_makes_it_panic(words in any::<Vec<String>>()) {
            let flags = Flags::parse(&words);
            let _ = flags.etcd_servers();
            let _ = flags.overrides();
        }
    }
}
