//! A change as the kernel sees it: integers only.

use bytemuck::{CheckedBitPattern, NoUninit, Pod, Zeroable};

/// A time that was not observed.
pub const NO_TIME: i64 = i64::MIN;

/// What etcd did to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, NoUninit, CheckedBitPattern)]
#[repr(u8)]
pub enum Op {
    /// The key was not there before.
    Create,
    /// The key had a value before.
    Update,
    /// The key is gone.
    Delete,
}

/// A set of parts of an object that a revision changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Facets(u16);

impl Facets {
    /// `spec`.
    pub const SPEC: Self = Self(1);
    /// `status` and conditions.
    pub const STATUS: Self = Self(2);
    /// Everything that is neither metadata, spec nor status.
    pub const DATA: Self = Self(4);
    /// Labels, annotations, owners: what people or controllers put into the metadata.
    pub const METADATA: Self = Self(8);
    /// `metadata.finalizers`.
    pub const FINALIZERS: Self = Self(16);
    /// `metadata.deletionTimestamp` was set: deletion was asked for.
    pub const DELETION: Self = Self(32);
    /// A condition changed its status, or appeared.
    pub const CONDITION: Self = Self(64);
    /// A condition that says whether the object serves: `Ready`, `Available`, `Complete`, …
    pub const READINESS: Self = Self(128);

    /// The condition `DisruptionTarget`, which announces that a Pod is about to be deleted.
    pub const DISRUPTION: Self = Self(256);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any part of `other` changed.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether only the status changed (bookkeeping in the metadata aside).
    #[must_use]
    pub const fn is_status_only(self) -> bool {
        self.has(Self::STATUS)
            && !self.has(
                Self::SPEC
                    .with(Self::DATA)
                    .with(Self::METADATA)
                    .with(Self::FINALIZERS)
                    .with(Self::DELETION),
            )
    }

    /// The facet that an entry of `changes.changed` belongs to; nothing for bookkeeping that follows
    /// from other changes, such as `metadata.generation` and `metadata.managedFields`.
    #[must_use]
    pub fn of_changed(entry: &str) -> Self {
        match entry {
            "spec" => Self::SPEC,
            "status" => Self::STATUS,
            "data" => Self::DATA,
            "metadata.finalizers" => Self::FINALIZERS,
            // A shorter grace is another request for deletion.
            "metadata.deletionTimestamp" | "metadata.deletionGracePeriodSeconds" => Self::DELETION,
            "conditions.Ready"
            | "conditions.Available"
            | "conditions.Complete"
            | "conditions.Failed" => Self::STATUS.with(Self::CONDITION).with(Self::READINESS),
            "conditions.DisruptionTarget" => {
                Self::STATUS.with(Self::CONDITION).with(Self::DISRUPTION)
            }
            "metadata.generation" | "metadata.managedFields" | "metadata.resourceVersion" => {
                Self::default()
            }
            _ if entry.starts_with("conditions.") => Self::STATUS.with(Self::CONDITION),
            _ if entry.starts_with("metadata.") => Self::METADATA,
            _ => Self::DATA,
        }
    }
}

/// What a change was mostly about: reactions differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Aspect {
    /// The object appeared.
    Created,
    /// The object is gone.
    Deleted,
    /// Its deletion was asked for.
    DeletionRequested,
    /// Desired state.
    Spec,
    /// State outside spec and status, such as endpoints.
    Data,
    /// Whether it serves.
    Readiness,
    /// Another condition.
    Condition,
    /// Any other status.
    Status,
    /// Labels, annotations, owners, finalizers.
    Metadata,
}

/// Where the name of the actor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, NoUninit, CheckedBitPattern)]
#[repr(u8)]
pub enum ActorSource {
    /// Nothing tells.
    Unknown,
    /// What is known about who wrote this object before.
    Inferred,
    /// A field manager of this revision: the program, not its loop.
    Manager,
    /// The API request: the program down to the controller's loop.
    Request,
}

/// A generation, or none, in a quarter of the size of an `Option<i64>`. Generations count changes of a spec: what does
/// not fit is none that Kubernetes gave, and is taken for the nearest that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Generation(u32);

impl Generation {
    /// Not known.
    pub const NONE: Self = Self(u32::MAX);

    /// The generation, if there is one.
    #[must_use]
    pub fn get(self) -> Option<i64> {
        (self != Self::NONE).then_some(i64::from(self.0))
    }
}

impl From<Option<i64>> for Generation {
    fn from(number: Option<i64>) -> Self {
        let fitting = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
        number.map_or(Self::NONE, |number| Self(fitting(number).min(u32::MAX - 1)))
    }
}

/// One change, in revision order. Times are nanoseconds of the interceptor's clock. There are as many in memory as in the
/// trace, so it is kept small: what seldom differs from the object's change before is in its `ties`.
#[derive(Debug, Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C)]
pub struct Change {
    /// etcd revision.
    pub revision: i64,
    /// When it was committed, or [`NO_TIME`].
    pub commit: i64,
    /// When the API request came in, or [`NO_TIME`].
    pub request: i64,
    /// When the etcd call came in, or [`NO_TIME`].
    pub call: i64,
    /// Position within the revision.
    pub ordinal: i32,
    /// `metadata.generation`.
    pub generation: Generation,
    /// `status.observedGeneration`.
    pub observed_generation: Generation,
    /// Number of the actor.
    pub actor: u32,
    /// Number of the kind with its group.
    pub kind: u32,
    /// Number of the object: its uid, or its key if it has none.
    pub object: u32,
    /// Number of (kind, namespace, name).
    pub name: u32,
    /// Number of its ties.
    pub(crate) ties: u32,
    /// What changed.
    pub facets: Facets,
    /// What happened to the key.
    pub op: Op,
    /// Where the actor's name comes from.
    pub actor_source: ActorSource,
    /// Whether the object's deletion had been asked for.
    pub deleting: bool,
    /// Whether the key was bound to an etcd lease.
    pub leased: bool,
    /// Whether the writer used the `scale` subresource.
    pub scaled: bool,
    /// Whether the status counts fewer updated replicas than replicas.
    pub outdated: bool,
}

impl Change {
    /// The latest moment at which the writer can have learnt of other changes: its request came in,
    /// else its call to etcd came in, else it was committed.
    #[must_use]
    pub fn limit(&self) -> i64 {
        for time in [self.request, self.call] {
            if time != NO_TIME && (self.commit == NO_TIME || time <= self.commit) {
                return time;
            }
        }
        self.commit
    }

    /// Whether the object says that what it owns is not yet as its spec wants it.
    #[must_use]
    pub fn is_rolling(&self) -> bool {
        let is_unseen = self
            .generation
            .get()
            .zip(self.observed_generation.get())
            .is_some_and(|(generation, observed)| generation > observed);
        is_unseen || self.outdated
    }

    /// What the change was mostly about.
    #[must_use]
    pub fn aspect(&self) -> Aspect {
        match self.op {
            Op::Create => return Aspect::Created,
            Op::Delete => return Aspect::Deleted,
            Op::Update => {}
        }
        let order = [
            (Facets::DELETION, Aspect::DeletionRequested),
            (Facets::SPEC, Aspect::Spec),
            (Facets::DATA, Aspect::Data),
            (Facets::READINESS, Aspect::Readiness),
            (Facets::CONDITION, Aspect::Condition),
            (Facets::STATUS, Aspect::Status),
        ];
        order
            .into_iter()
            .find(|(facet, _)| self.facets.has(*facet))
            .map_or(Aspect::Metadata, |(_, aspect)| aspect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_small() {
        assert!(size_of::<Change>() <= 72, "{}", size_of::<Change>());
    }

    #[test]
    fn generations_that_do_not_fit_are_the_nearest() {
        let kept = |number| Generation::from(number).get();
        assert_eq!(kept(None), None);
        assert_eq!([kept(Some(0)), kept(Some(7))], [Some(0), Some(7)]);
        assert_eq!(kept(Some(-3)), Some(0));
        let largest = i64::from(u32::MAX) - 1;
        assert_eq!(kept(Some(i64::MAX)), Some(largest));
    }

    #[test]
    fn facets_of_entries() {
        assert!(Facets::of_changed("conditions.Ready").has(Facets::READINESS));
        assert!(Facets::of_changed("metadata.annotations").has(Facets::METADATA));
        assert_eq!(Facets::of_changed("metadata.generation"), Facets::default());
        let status =
            Facets::of_changed("status").with(Facets::of_changed("metadata.managedFields"));
        assert!(status.is_status_only());
        assert!(!status.with(Facets::SPEC).is_status_only());
        assert!(!Facets::default().is_status_only());
    }
}
