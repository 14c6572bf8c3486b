//! The reported mergelogs as a graph.

use std::collections::{HashMap, HashSet};

use cascade_cpid::graph::MergeGraph;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::columns::{list_texts, lists, stream, text, texts};
use crate::error::Error;
use crate::session::STORED_SCHEMA;

/// What instrumented controllers have told the trace server about CPIDs.
#[derive(Debug, Default)]
pub(crate) struct Mergelogs {
    /// Which CPIDs came of which.
    pub(crate) graph: MergeGraph,
    /// Components that reported the making of a CPID.
    reporters: HashMap<Box<str>, Vec<Box<str>>>,
    /// Components that report at all: they maintain CPIDs.
    components: HashSet<Box<str>>,
    /// Mergelogs without a CPID, which say nothing.
    pub(crate) without_cpid: u64,
}

impl Mergelogs {
    /// Reads `mergelogs`, and the components that `spans` name.
    ///
    /// # Errors
    /// When a table cannot be read, or the graph is full.
    pub(super) async fn read(context: &SessionContext) -> Result<Self, Error> {
        let mut mergelogs = Self::default();
        // Stored rows: a mergelog that was recorded twice changes nothing in the graph.
        let query = format!(
            "SELECT new_cpid, source_cpids, reported_by FROM {STORED_SCHEMA}.mergelogs \
            ORDER BY received_unix_nano, new_cpid"
        );
        let mut batches = stream(context, &query).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let (made, sources) = (texts(&batch, "new_cpid")?, lists(&batch, "source_cpids")?);
            let reporters = texts(&batch, "reported_by")?;
            for row in 0..batch.num_rows() {
                let made = made.value(row);
                match mergelogs.graph.add(made, list_texts(sources, row)?) {
                    Ok(_) => {}
                    Err(cascade_cpid::graph::AddError::EmptyCpid) => mergelogs.without_cpid += 1,
                    Err(error) => return Err(Error::Usage(format!("mergelogs: {error}"))),
                }
                if let Some(reporter) = text(reporters, row) {
                    mergelogs.reported(made, reporter);
                }
            }
        }
        let query = format!("SELECT DISTINCT service FROM {STORED_SCHEMA}.spans");
        let mut batches = stream(context, &query).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let services = texts(&batch, "service")?;
            let named = services.iter().flatten();
            mergelogs.components.extend(named.map(Into::into));
        }
        Ok(mergelogs)
    }

    fn reported(&mut self, made: &str, reporter: &str) {
        if !self.components.contains(reporter) {
            self.components.insert(reporter.into());
        }
        let reporters = self.reporters.entry(made.into()).or_default();
        if !reporters.iter().any(|known| **known == *reporter) {
            reporters.push(reporter.into());
        }
    }

    /// Whether a component has reported mergelogs or spans.
    pub(crate) fn is_component(&self, name: &str) -> bool {
        self.components.contains(name)
    }

    /// Whether a component reported that it made a CPID.
    pub(crate) fn is_made_by(&self, cpid: &str, component: &str) -> bool {
        self.reporters
            .get(cpid)
            .is_some_and(|known| known.iter().any(|name| **name == *component))
    }

    /// Whether `cpid` came of `ancestor`, however many merges are between.
    pub(crate) fn came_of(&self, cpid: &str, ancestor: &str) -> bool {
        // Mostly it is a source itself, and then the graph, which can be large, need not be searched.
        let sources = self.graph.sources(cpid).unwrap_or_default();
        sources.contains(&ancestor)
            || (!sources.is_empty() && self.graph.ancestors(cpid).contains(&ancestor))
    }

    /// The CPIDs that `cpid` came of and that were made of no others, sorted; itself, if it was not.
    pub(crate) fn origins<'a>(&'a self, cpid: &'a str) -> Vec<&'a str> {
        let is_made_of_others = |name: &str| {
            self.graph
                .sources(name)
                .is_some_and(|made| !made.is_empty())
        };
        if !is_made_of_others(cpid) {
            return vec![cpid];
        }
        let mut origins = self.graph.ancestors(cpid);
        origins.retain(|name| !is_made_of_others(name));
        origins.sort_unstable();
        if origins.is_empty() {
            // Mergelogs that go round in a circle.
            origins.push(cpid);
        }
        origins
    }

    /// CPIDs that came of `cpid`, itself first, then by the number of merges between, which is given
    /// with each.
    pub(crate) fn descendants(&self, cpid: &str) -> Vec<(String, i64)> {
        let mut depths: HashMap<&str, i64> = HashMap::from([(cpid, 0)]);
        let mut found = vec![(cpid.to_owned(), 0)];
        for made in self.graph.reached_from(cpid).into_iter().skip(1) {
            let sources = self.graph.sources(made).unwrap_or_default();
            let nearest = sources
                .iter()
                .filter_map(|source| depths.get(*source))
                .min();
            let depth = nearest.copied().unwrap_or(0) + 1;
            depths.insert(made, depth);
            found.push((made.to_owned(), depth));
        }
        found
    }

    /// CPIDs that `cpid` came from, itself first, then by the number of merges between, which is given
    /// with each.
    pub(crate) fn ancestors(&self, cpid: &str) -> Vec<(String, i64)> {
        let mut depths: HashMap<&str, i64> = HashMap::from([(cpid, 0)]);
        let mut found = Vec::new();
        let order = self.graph.ancestors(cpid);
        if order.is_empty() {
            found.push((cpid.to_owned(), 0));
        }
        for name in order {
            let depth = depths.get(name).copied().unwrap_or(0);
            found.push((name.to_owned(), depth));
            for source in self.graph.sources(name).unwrap_or_default() {
                depths.entry(source).or_insert(depth + 1);
            }
        }
        found
    }
}
