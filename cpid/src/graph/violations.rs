//! Mergelogs that break the rules.

use super::{MergeGraph, NONE};

/// A rule that mergelogs break. The graph answers all the same, from all that they say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A CPID was made more than once, each time from other sources.
    #[error("{cpid} was made more than once, from different sources")]
    MadeTwice {
        /// The CPID.
        cpid: String,
    },
    /// A CPID was made from one other: a merge takes two, else the CPID is reused.
    #[error("{cpid} was made from {source_cpid} alone")]
    OneSource {
        /// The CPID.
        cpid: String,
        /// Its only source.
        source_cpid: String,
    },
    /// A CPID was made from itself.
    #[error("{cpid} was made from itself")]
    OwnSource {
        /// The CPID.
        cpid: String,
    },
    /// Each of these CPIDs came of all of them.
    #[error("each of these came of the others: {}", cpids.join(", "))]
    Cycle {
        /// At least two CPIDs, in ascending order.
        cpids: Vec<String>,
    },
}

/// All violations: by kind, then by CPID.
pub(super) fn find(graph: &MergeGraph) -> Vec<Violation> {
    let mut violations = Vec::new();
    for node in nodes(graph) {
        let cpid = || graph.names.name(node).to_owned();
        if graph.mergelogs_of(node).nth(1).is_some() {
            violations.push(Violation::MadeTwice { cpid: cpid() });
        }
        for mergelog in graph.mergelogs_of(node) {
            match graph.edges_of(mergelog) {
                _ if mergelog.from_itself => violations.push(Violation::OwnSource { cpid: cpid() }),
                [edge] => violations.push(Violation::OneSource {
                    cpid: cpid(),
                    source_cpid: graph.names.name(edge.source).to_owned(),
                }),
                _ => {}
            }
        }
    }
    violations.extend(cycles(graph).into_iter().map(|cycle| {
        let names = cycle.iter().map(|node| graph.names.name(*node).to_owned());
        let mut cpids: Vec<String> = names.collect();
        cpids.sort_unstable();
        Violation::Cycle { cpids }
    }));
    violations.sort_unstable();
    violations.dedup();
    violations
}

fn nodes(graph: &MergeGraph) -> impl Iterator<Item = u32> {
    (0..).take(graph.nodes.len())
}

/// Strongly connected components of more than one node, by Tarjan's algorithm. What his recursion
/// would keep on the call stack is in `path`.
fn cycles(graph: &MergeGraph) -> Vec<Vec<u32>> {
    /// A node whose component is complete.
    const DONE: u32 = NONE - 1;
    let mut cycles = Vec::new();
    // For each node on `open` the lowest position on `open` that is known to be reached from it.
    let mut lowest = vec![NONE; graph.nodes.len()];
    let mut open: Vec<u32> = Vec::new();
    for start in nodes(graph) {
        if at(&lowest, start) != NONE {
            continue;
        }
        let mut path = vec![enter(graph, start, &mut open, &mut lowest)];
        while let Some(step) = path.last_mut() {
            let Some(edge) = graph.edges.get(step.next_edge as usize) else {
                // All that leads away from the node has been followed.
                let (node, position) = (step.node, step.position);
                path.pop();
                let own = at(&lowest, node);
                if own == position {
                    let component = open.split_off(position as usize);
                    for member in &component {
                        set(&mut lowest, *member, DONE);
                    }
                    if component.len() > 1 {
                        cycles.push(component);
                    }
                } else if let Some(before) = path.last() {
                    let low = at(&lowest, before.node).min(own);
                    set(&mut lowest, before.node, low);
                }
                continue;
            };
            step.next_edge = edge.next;
            match at(&lowest, edge.made) {
                NONE => path.push(enter(graph, edge.made, &mut open, &mut lowest)),
                DONE => {}
                reached => {
                    let low = at(&lowest, step.node).min(reached);
                    set(&mut lowest, step.node, low);
                }
            }
        }
    }
    cycles
}

/// A node on the way, and which of its edges is to be followed next.
struct Step {
    node: u32,
    /// Where the node is on `open`.
    position: u32,
    next_edge: u32,
}

fn enter(graph: &MergeGraph, node: u32, open: &mut Vec<u32>, lowest: &mut [u32]) -> Step {
    let position = super::index(open.len());
    open.push(node);
    set(lowest, node, position);
    Step {
        node,
        position,
        next_edge: graph
            .nodes
            .get(node as usize)
            .map_or(NONE, |node| node.first_edge),
    }
}

fn at(lowest: &[u32], node: u32) -> u32 {
    lowest.get(node as usize).copied().unwrap_or(NONE)
}

fn set(lowest: &mut [u32], node: u32, value: u32) {
    if let Some(slot) = lowest.get_mut(node as usize) {
        *slot = value;
    }
}
