//! What ties a cause to its effect.

use bytemuck::{CheckedBitPattern, NoUninit, Pod, Zeroable};

/// How a candidate cause is related to the object that the writer works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, NoUninit, CheckedBitPattern)]
#[repr(u8)]
pub enum Relation {
    /// The write carries the CPID of the cause, or a mergelog names it.
    Cpid,
    /// Both came of one API request.
    Request,
    /// The cause asked for the deletion, or deleted what owned or contained the object.
    Deletion,
    /// A change of the object's owner.
    Owner,
    /// A change of an object that it owns.
    Child,
    /// One of both mentions the other's uid.
    Uid,
    /// One of both selects the other.
    Selector,
    /// One of both names the other.
    Name,
    /// A change of the same object by someone else.
    SameObject,
    /// The causes of what the same reconcile wrote just before.
    SameReconcile,
}

impl Relation {
    /// The name in `edges.evidence`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpid => "cpid",
            Self::Request => "request",
            Self::Deletion => "deletion",
            Self::Owner => "owner",
            Self::Child => "child",
            Self::Uid => "uid",
            Self::Selector => "selector",
            Self::Name => "name",
            Self::SameObject => "same_object",
            Self::SameReconcile => "same_reconcile",
        }
    }

    /// All, strongest first.
    pub const ALL: [Self; 10] = [
        Self::Cpid,
        Self::Request,
        Self::Deletion,
        Self::Owner,
        Self::Child,
        Self::Uid,
        Self::Selector,
        Self::Name,
        Self::SameObject,
        Self::SameReconcile,
    ];
}

/// Kinds of evidence, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Evidence(u16);

impl Evidence {
    /// One kind.
    #[must_use]
    pub const fn of(relation: Relation) -> Self {
        Self(1 << relation as u16)
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it holds a kind.
    #[must_use]
    pub const fn has(self, relation: Relation) -> bool {
        self.0 & Self::of(relation).0 != 0
    }

    /// What it holds, strongest first.
    pub fn relations(self) -> impl Iterator<Item = Relation> {
        Relation::ALL
            .into_iter()
            .filter(move |relation| self.has(*relation))
    }
}
