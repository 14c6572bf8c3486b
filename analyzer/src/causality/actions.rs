//! Actions: the roots that one client started at once.

use std::collections::HashMap;

use uuid::Uuid;

use super::identifiers;
use super::kernel::{Changes, Graph, NO_TIME, RootClass};

/// Longest gap between two changes of one action, nanoseconds: one `kubectl apply` of many objects.
const MAX_GAP_NS: i64 = 1_000_000_000;

/// The actions of a history.
#[derive(Debug, Default)]
pub(super) struct Actions {
    ids: Vec<Uuid>,
    of_root: HashMap<u32, u32>,
}

impl Actions {
    pub(super) fn of(cluster_id: &str, epoch: i32, changes: &Changes, graph: &Graph) -> Self {
        let mut actions = Self::default();
        // Client → its newest action, and when it last wrote.
        let mut newest: HashMap<u32, (u32, i64)> = HashMap::new();
        for (index, change) in (0_u32..).zip(changes.rows().iter()) {
            if graph.root_class(index) != Some(RootClass::Client) {
                continue;
            }
            let action = match newest.get(&change.actor) {
                Some((action, last))
                    if change.commit != NO_TIME && change.commit - last <= MAX_GAP_NS =>
                {
                    *action
                }
                _ => {
                    actions.ids.push(identifiers::root(
                        cluster_id,
                        epoch,
                        change.revision,
                        change.ordinal,
                    ));
                    u32::try_from(actions.ids.len() - 1).unwrap_or(u32::MAX)
                }
            };
            newest.insert(change.actor, (action, change.commit));
            actions.of_root.insert(index, action);
        }
        actions
    }

    /// The action of a root, if a client started it.
    pub(super) fn id(&self, root: u32) -> Option<Uuid> {
        let action = self.of_root.get(&root)?;
        self.ids.get(*action as usize).copied()
    }
}
