//! What an object carries.

use uuid::Uuid;

/// A CPID and a hint of what it came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeContext {
    /// The Change Propagation ID: any text but the empty one; made here, a random UUID.
    pub cpid: String,
    /// CPIDs that it came from, newest first. May be cut at any length: they only save mergelogs
    /// (see [`merge`](mod@crate::merge)), the whole ancestry is in the mergelogs.
    pub ancestors: Vec<String>,
}

/// Why a context is no source of a merge and must not be written on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContext {
    /// The CPID is the empty text.
    #[error("the CPID is empty")]
    EmptyCpid,
    /// The CPID is among its own ancestors.
    #[error("the CPID is among its own ancestors")]
    OwnAncestor,
}

impl ChangeContext {
    /// A context for a change that nothing in the cluster has caused, with a random UUID (version
    /// 4) as CPID. The trace server is to get a mergelog without sources for it.
    #[must_use]
    pub fn new_root() -> Self {
        Self {
            cpid: random_cpid(),
            ancestors: Vec::new(),
        }
    }

    /// Whether the context is valid, by the definition of the authors of arXiv:2411.01336.
    ///
    /// # Errors
    /// The CPID is empty, or among its own ancestors.
    pub fn validate(&self) -> Result<(), InvalidContext> {
        if self.cpid.is_empty() {
            return Err(InvalidContext::EmptyCpid);
        }
        if self.ancestors.contains(&self.cpid) {
            return Err(InvalidContext::OwnAncestor);
        }
        Ok(())
    }
}

/// A CPID that nobody has used.
pub(crate) fn random_cpid() -> String {
    Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_random_uuids_without_ancestors() {
        let root = ChangeContext::new_root();
        assert_eq!(root.ancestors, Vec::<String>::new());
        assert_eq!(Uuid::parse_str(&root.cpid).unwrap().get_version_num(), 4);
        assert_ne!(root, ChangeContext::new_root());
        assert_eq!(root.validate(), Ok(()));
    }

    /// The authors' cases of validity.
    #[test]
    fn validity() {
        let context = |cpid: &str, ancestors: &[&str]| ChangeContext {
            cpid: cpid.to_owned(),
            ancestors: ancestors.iter().map(|text| (*text).to_owned()).collect(),
        };
        let validity = |cpid, ancestors| context(cpid, ancestors).validate();
        assert_eq!(validity("", &[]), Err(InvalidContext::EmptyCpid));
        assert_eq!(
            validity("cpid", &["cpid", "other-1", "other-2"]),
            Err(InvalidContext::OwnAncestor)
        );
        assert_eq!(validity("cpid", &[]), Ok(()));
        assert_eq!(validity("cpid", &["other-1", "other-2"]), Ok(()));
    }
}
