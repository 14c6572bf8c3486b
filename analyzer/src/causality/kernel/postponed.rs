//! Wishes that a loop had not read yet, told by what it makes later.
//!
//! Some loops make one object for each wish: a Deployment's makes a ReplicaSet for each template. When it makes one
//! for the newest wish later on, then what it did before that was still for an older one, however soon
//! after the newest it came: it reads what it has cached.

use super::change::{Aspect, Change, Op};
use super::changes::Changes;
use super::hash::{FastMap, FastSet};
use super::intern::NONE;
use crate::storage::List;

/// Objects made per wish up to which a loop is taken to make one for each, in percent.
const ONE_EACH_PERCENT: u32 = 110;

/// Kind of the owner, kind of what it owns.
type Kinds = (u32, u32);

/// What was made for owners that get one object for each wish.
#[derive(Debug, Default)]
pub(crate) struct Postponed {
    /// (owner, kind) → what was made, with the newest wish that there was, in the order of the changes.
    made: FastMap<(u32, u32), Vec<(u32, u32)>>,
}

impl Postponed {
    pub(crate) fn of(changes: &Changes) -> Self {
        let singles = singles(changes);
        let mut postponed = Self::default();
        if singles.is_empty() {
            return postponed;
        }
        for_each_made(changes, |index, change, owner, wish| {
            let owner_kind = changes.row(wish).map_or(NONE, |wish| wish.kind);
            if singles.contains(&(owner_kind, change.kind)) {
                let made = postponed.made.entry((owner, change.kind)).or_default();
                made.push((index, wish));
            }
        });
        // Who made one object only postponed nothing.
        postponed.made.retain(|_, made| made.len() > 1);
        postponed
    }

    /// Whether the loop of `owner` made an object of this kind for `wish` only after it made the change `effect`.
    pub(crate) fn is_later(&self, owner: u32, kind: u32, effect: u32, wish: u32) -> bool {
        let Some(made) = self.made.get(&(owner, kind)) else {
            return false;
        };
        let next = made.partition_point(|(made, _)| *made <= effect);
        made.get(next).is_some_and(|(_, newest)| *newest == wish)
    }
}

/// The kinds of which one object is made for each wish.
fn singles(changes: &Changes) -> FastSet<Kinds> {
    let mut counts: FastMap<Kinds, (u32, u32)> = FastMap::default();
    let mut newest: FastMap<(u32, u32), u32> = FastMap::default();
    for_each_made(changes, |_, change, owner, wish| {
        let owner_kind = changes.row(wish).map_or(NONE, |wish| wish.kind);
        let (made, wishes) = counts.entry((owner_kind, change.kind)).or_default();
        *made = made.saturating_add(1);
        if newest.insert((owner, change.kind), wish) != Some(wish) {
            *wishes = wishes.saturating_add(1);
        }
    });
    counts
        .into_iter()
        .filter(|(_, (made, wishes))| {
            u64::from(*made) * 100 <= u64::from(*wishes) * u64::from(ONE_EACH_PERCENT)
        })
        .map(|(kinds, _)| kinds)
        .collect()
}

/// Calls for every object that is created for a managing owner: its change, the owner, the owner's newest wish.
fn for_each_made(changes: &Changes, mut made: impl FnMut(u32, &Change, u32, u32)) {
    let objects = changes.objects as usize;
    let mut wishes = List::filled(&changes.storage, NONE, objects);
    for (index, change) in (0_u32..).zip(changes.rows.iter()) {
        if change.op == Op::Create
            && let Some(owner) = changes.owners(&change).first()
            && let Some(wish) = wishes.get(*owner as usize)
            && wish != NONE
        {
            made(index, &change, *owner, wish);
        }
        if matches!(change.aspect(), Aspect::Created | Aspect::Spec) {
            wishes.set(change.object as usize, index);
        }
    }
}
