//! The graph that mergelogs make: what came of a CPID, and what it came from.
//!
//! A mergelog says that a CPID was made, and from which sources; one without sources is the start
//! of a change. The graph takes mergelogs in any order, repeated ones too, and keeps all that they
//! say, even where they break the rules: [`MergeGraph::violations`] names these.
//!
//! It is made for millions of mergelogs: CPIDs are interned, edges are 12 bytes, nothing recurses. A
//! million mergelogs with UUIDs and two sources each take 109 MB ([`MergeGraph::memory_bytes`]).

mod intern;
mod violations;

use intern::Interner;

pub use violations::Violation;

/// No index: the end of a list.
const NONE: u32 = u32::MAX;

/// The graph of all mergelogs added to it.
#[derive(Debug, Clone, Default)]
pub struct MergeGraph {
    names: Interner,
    /// One for each CPID.
    nodes: Vec<Node>,
    /// One for each mergelog, repeated ones excepted.
    mergelogs: Vec<Mergelog>,
    /// Those of a mergelog follow each other, in ascending order of their source.
    edges: Vec<Edge>,
}

/// A CPID.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The last mergelog that made it.
    mergelog: u32,
    /// First and last edge that leads away from it.
    first_edge: u32,
    last_edge: u32,
}

/// A mergelog, without the CPIDs themselves.
#[derive(Debug, Clone, Copy)]
struct Mergelog {
    /// An earlier one that made the same CPID.
    earlier: u32,
    /// Its edges.
    first_edge: u32,
    edges: u32,
    /// Whether it names the new CPID among the sources; there is no edge for that.
    from_itself: bool,
}

/// From a source to the CPID made of it.
#[derive(Debug, Clone, Copy)]
struct Edge {
    source: u32,
    made: u32,
    /// The next edge that leads away from the source.
    next: u32,
}

/// What a mergelog added to the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The CPID was not made before.
    New,
    /// The same was said before; nothing has changed.
    Known,
    /// The CPID was made before, from other sources. The graph has both.
    Different,
}

/// Why a mergelog cannot be added. The graph is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// A CPID is the empty text.
    #[error("the mergelog has an empty CPID")]
    EmptyCpid,
    /// There are four billion CPIDs or edges.
    #[error("the graph is full")]
    Full,
}

impl MergeGraph {
    /// A graph without mergelogs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mergelog: `new_cpid` was made from `sources`. The order of the sources and repeated
    /// ones do not matter, and the sources need not be known yet.
    ///
    /// # Errors
    /// A CPID is empty, or the graph full.
    pub fn add<S: AsRef<str>>(
        &mut self,
        new_cpid: &str,
        sources: impl IntoIterator<Item = S>,
    ) -> Result<Added, AddError> {
        let sources: Vec<S> = sources.into_iter().collect();
        if new_cpid.is_empty() || sources.iter().any(|source| source.as_ref().is_empty()) {
            return Err(AddError::EmptyCpid);
        }
        // Each of these counts stays below `NONE`.
        let room = |used: usize| used.saturating_add(sources.len()) < NONE as usize - 1;
        if !(room(self.nodes.len()) && room(self.edges.len()) && room(self.mergelogs.len())) {
            return Err(AddError::Full);
        }

        let made = self.node(new_cpid);
        let mut ids: Vec<u32> = sources
            .iter()
            .map(|source| self.node(source.as_ref()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let before = ids.len();
        ids.retain(|source| *source != made);
        let from_itself = ids.len() < before;

        let is_known = self.mergelogs_of(made).any(|mergelog| {
            mergelog.from_itself == from_itself
                && self
                    .edges_of(mergelog)
                    .iter()
                    .map(|edge| edge.source)
                    .eq(ids.iter().copied())
        });
        if is_known {
            return Ok(Added::Known);
        }
        let earlier = self.link(made, &ids, from_itself);
        Ok(if earlier == NONE {
            Added::New
        } else {
            Added::Different
        })
    }

    /// Everything that came of a CPID, itself included and first, then by the number of merges
    /// between. Empty if the CPID is not known, that is, if no mergelog made it: so does the
    /// authors' trace server, for by the rules every CPID is made by one.
    ///
    /// A mergelog can also be lost or still on its way, or its CPID have been set by hand: then
    /// [`reached_from`](Self::reached_from) answers.
    #[must_use]
    pub fn descendants(&self, cpid: &str) -> Vec<&str> {
        match self.names.id(cpid).filter(|node| self.is_node_made(*node)) {
            Some(start) => self.names_of(self.breadth_first(start, Self::made_of)),
            None => Vec::new(),
        }
    }

    /// As [`descendants`](Self::descendants), but also for a CPID that occurs only as a source.
    #[must_use]
    pub fn reached_from(&self, cpid: &str) -> Vec<&str> {
        match self.names.id(cpid) {
            Some(start) => self.names_of(self.breadth_first(start, Self::made_of)),
            None => Vec::new(),
        }
    }

    /// Everything that a CPID came from, itself included and first, then by the number of merges
    /// between; also those that no mergelog made. Empty if the CPID occurs in no mergelog.
    #[must_use]
    pub fn ancestors(&self, cpid: &str) -> Vec<&str> {
        match self.names.id(cpid) {
            Some(start) => self.names_of(self.breadth_first(start, Self::sources_of)),
            None => Vec::new(),
        }
    }

    /// Whether a mergelog names this CPID, be it as made or as a source.
    #[must_use]
    pub fn occurs(&self, cpid: &str) -> bool {
        self.names.id(cpid).is_some()
    }

    /// Whether there is a mergelog that made this CPID.
    #[must_use]
    pub fn is_made(&self, cpid: &str) -> bool {
        self.names
            .id(cpid)
            .is_some_and(|node| self.is_node_made(node))
    }

    /// What a CPID was made from, by all mergelogs that made it; `None` if there is none.
    #[must_use]
    pub fn sources(&self, cpid: &str) -> Option<Vec<&str>> {
        let node = self.names.id(cpid)?;
        self.is_node_made(node).then(|| {
            let mut sources: Vec<u32> = self.sources_of(node).collect();
            sources.sort_unstable();
            sources.dedup();
            self.names_of(sources)
        })
    }

    /// Mergelogs that break the rules. Takes time in proportion to the graph.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        violations::find(self)
    }

    /// How many mergelogs there are, repeated ones not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mergelogs.len()
    }

    /// Whether there is no mergelog.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mergelogs.is_empty()
    }

    /// Bytes that the graph takes in memory, itself excepted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.names.memory_bytes()
            + self.nodes.capacity() * size_of::<Node>()
            + self.mergelogs.capacity() * size_of::<Mergelog>()
            + self.edges.capacity() * size_of::<Edge>()
    }

    fn node(&mut self, cpid: &str) -> u32 {
        let id = self.names.intern(cpid);
        if id as usize == self.nodes.len() {
            self.nodes.push(Node {
                mergelog: NONE,
                first_edge: NONE,
                last_edge: NONE,
            });
        }
        id
    }

    /// Adds a mergelog. Returns the one before it, of the same CPID.
    fn link(&mut self, made: u32, sources: &[u32], from_itself: bool) -> u32 {
        let first_edge = index(self.edges.len());
        for source in sources {
            let edge = index(self.edges.len());
            self.edges.push(Edge {
                source: *source,
                made,
                next: NONE,
            });
            let Some(node) = self.nodes.get_mut(*source as usize) else {
                continue; // every source has been given a node
            };
            let last = std::mem::replace(&mut node.last_edge, edge);
            match self.edges.get_mut(last as usize) {
                Some(last) => last.next = edge,
                None => node.first_edge = edge,
            }
        }
        let mergelog = index(self.mergelogs.len());
        let earlier = match self.nodes.get_mut(made as usize) {
            Some(node) => std::mem::replace(&mut node.mergelog, mergelog),
            None => NONE, // it has been given a node
        };
        self.mergelogs.push(Mergelog {
            earlier,
            first_edge,
            edges: index(sources.len()),
            from_itself,
        });
        earlier
    }

    fn is_node_made(&self, node: u32) -> bool {
        self.mergelogs_of(node).next().is_some()
    }

    /// Mergelogs that made a CPID, the last one first.
    fn mergelogs_of(&self, node: u32) -> impl Iterator<Item = &Mergelog> {
        let first = self.nodes.get(node as usize).map(|node| node.mergelog);
        let at = |index: u32| self.mergelogs.get(index as usize);
        std::iter::successors(first.and_then(at), move |mergelog| at(mergelog.earlier))
    }

    fn edges_of(&self, mergelog: &Mergelog) -> &[Edge] {
        let first = mergelog.first_edge as usize;
        let edges = self.edges.get(first..first + mergelog.edges as usize);
        edges.unwrap_or_default()
    }

    /// What was made directly of a CPID.
    fn made_of(&self, node: u32) -> impl Iterator<Item = u32> {
        let first = self.nodes.get(node as usize).map(|node| node.first_edge);
        let at = |index: u32| self.edges.get(index as usize);
        std::iter::successors(first.and_then(at), move |edge| at(edge.next)).map(|edge| edge.made)
    }

    /// What a CPID was made of directly, by any mergelog.
    fn sources_of(&self, node: u32) -> impl Iterator<Item = u32> {
        self.mergelogs_of(node)
            .flat_map(|mergelog| self.edges_of(mergelog))
            .map(|edge| edge.source)
    }

    fn breadth_first<'a, N: Iterator<Item = u32>>(
        &'a self,
        start: u32,
        next: impl Fn(&'a Self, u32) -> N,
    ) -> Vec<u32> {
        let mut seen = BitSet::new(self.nodes.len());
        seen.insert(start);
        let mut found = vec![start];
        let mut position = 0;
        while let Some(node) = found.get(position).copied() {
            found.extend(next(self, node).filter(|node| seen.insert(*node)));
            position += 1;
        }
        found
    }

    fn names_of(&self, nodes: Vec<u32>) -> Vec<&str> {
        nodes
            .into_iter()
            .map(|node| self.names.name(node))
            .collect()
    }
}

/// An index below [`NONE`], which [`MergeGraph::add`] has checked.
fn index(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(NONE)
}

/// A set of nodes.
struct BitSet(Vec<u64>);

impl BitSet {
    fn new(nodes: usize) -> Self {
        Self(vec![0; nodes.div_ceil(64)])
    }

    /// Whether the node is new to the set.
    fn insert(&mut self, node: u32) -> bool {
        let Some(word) = self.0.get_mut(node as usize / 64) else {
            return false; // beyond all nodes
        };
        let bit = 1 << (node % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests;
