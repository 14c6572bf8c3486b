//! Whether the interceptor does its work.

use std::fmt::Write as _;

/// The reason when it fails.
type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A list of named checks, all of which must hold for the interceptor to be ready.
#[derive(Default)]
pub struct Health {
    checks: Vec<(&'static str, Check)>,
}

impl Health {
    /// Adds a check. It is made at each request, so it must be quick.
    pub fn add(
        &mut self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.checks.push((name, Box::new(check)));
    }

    /// Makes all checks: whether all hold, and one line for each, as kube-apiserver words them.
    #[must_use]
    pub fn report(&self) -> (bool, String) {
        let mut ready = true;
        let mut lines = String::new();
        for (name, check) in &self.checks {
            // Writing to a string cannot fail.
            let _ = match check() {
                Ok(()) => writeln!(lines, "[+]{name} ok"),
                Err(reason) => {
                    ready = false;
                    writeln!(lines, "[-]{name} failed: {reason}")
                }
            };
        }
        lines.push_str(if ready { "ready\n" } else { "not ready\n" });
        (ready, lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_check_is_enough() {
        let mut health = Health::default();
        assert_eq!(health.report(), (true, "ready\n".to_owned()));
        health.add("relay", || Ok(()));
        health.add("ledger", || Err("no watch".to_owned()));
        assert_eq!(
            health.report(),
            (
                false,
                "[+]relay ok\n[-]ledger failed: no watch\nnot ready\n".to_owned()
            )
        );
    }
}
