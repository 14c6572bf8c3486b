//! `cpid_agreement`: whether the CPIDs that controllers report and the causes that are found tell the same story.
//!
//! Both say which roots a change comes of: reported CPIDs by the mergelogs they were made by, derived ones by the
//! triggers. A reported root is a CPID that nobody made of others, so the roots that were found are told by the
//! CPIDs which they report; roots that report none, which nobody could have passed on, do not count.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use cascade_proto::tables::TableInfo;
use datafusion::execution::context::SessionContext;

use super::History;
use super::kernel::RootClass;
use super::tables::{change_columns, optional, required};
use crate::derive::{Chunks, Derivation, Derived, Mergelogs};
use crate::error::Error;

/// The table, as documented.
pub(crate) fn table_info() -> TableInfo {
    let cpids = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let columns = change_columns("Revision of the change.")
        .into_iter()
        .chain([
            optional(
                "cpid_reported",
                DataType::Utf8,
                "The CPID that the write carries by itself, as in `writes`.",
            ),
            required(
                "cpid_derived",
                DataType::Utf8,
                "The CPID that follows from the causes, as in `cpids`.",
            ),
            required(
                "reported_roots",
                cpids.clone(),
                "The CPIDs that the reported one comes of by mergelogs and that were made of no others, sorted.",
            ),
            required(
                "derived_roots",
                cpids,
                "The same of the roots that were found: of the CPIDs which these report, sorted.",
            ),
            required(
                "verdict",
                DataType::Utf8,
                "`agrees`: the same roots; `partly`: some in common; `contradicts`: none; `missing`: the change \
                reports no CPID, though a root of it does.",
            ),
        ]);
    TableInfo {
        name: "cpid_agreement",
        documentation: "One row per change that reports a CPID or comes of a root that does: whether what was reported \
            agrees with the causes that were found. Roots have a row only where a CPID that started elsewhere \
            contradicts their being roots.",
        columns: columns.collect(),
    }
}

/// What comes of comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Agrees,
    Partly,
    Missing,
    Contradicts,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Partly => "partly",
            Self::Missing => "missing",
            Self::Contradicts => "contradicts",
        }
    }

    /// Of the roots that are reported and those that were found.
    fn of(reported: &[&str], derived: &[&str]) -> Self {
        if reported.is_empty() {
            Self::Missing
        } else if reported == derived {
            Self::Agrees
        } else if reported.iter().any(|root| derived.contains(root)) {
            Self::Partly
        } else {
            Self::Contradicts
        }
    }
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Compared<'a> {
    change: u32,
    cpid: Option<&'a str>,
    reported: Vec<&'a str>,
    derived: Vec<&'a str>,
    verdict: Verdict,
}

/// Compares the reported CPIDs of a history, by change, with the roots that were found.
fn compare<'a>(
    history: &History,
    reported: &HashMap<u32, &'a str>,
    mergelogs: &'a Mergelogs,
) -> Vec<Compared<'a>> {
    let mut compared = Vec::new();
    if reported.is_empty() {
        return compared;
    }
    let mut origins: HashMap<&'a str, Vec<&'a str>> = HashMap::new();
    // The change that carried each CPID first.
    let mut first: HashMap<&'a str, u32> = HashMap::new();
    for (change, cpid) in reported {
        let cpid: &'a str = cpid;
        origins
            .entry(cpid)
            .or_insert_with(|| mergelogs.origins(cpid));
        let known = first.entry(cpid).or_insert(*change);
        *known = (*known).min(*change);
    }
    let origins_of = |change: u32| {
        let cpid = reported.get(&change)?;
        origins.get(cpid).map(Vec::as_slice)
    };
    for change in 0..history.len() {
        let own = origins_of(change).unwrap_or_default();
        let mut derived: Vec<&str> = Vec::new();
        match history.graph.root_class(change) {
            // Clients start what they like under one CPID.
            Some(RootClass::Client) => continue,
            Some(_) => {
                let is_started_here = own
                    .iter()
                    .all(|origin| first.get(origin).is_none_or(|first| *first >= change));
                if is_started_here {
                    continue;
                }
            }
            None => {
                for root in history.roots().roots(change).iter() {
                    derived.extend(origins_of(*root).unwrap_or_default());
                }
                derived.sort_unstable();
                derived.dedup();
            }
        }
        if own.is_empty() && derived.is_empty() {
            continue;
        }
        compared.push(Compared {
            change,
            cpid: reported.get(&change).copied(),
            reported: own.to_vec(),
            verdict: Verdict::of(own, &derived),
            derived,
        });
    }
    compared
}

/// The derivation of the table.
#[derive(Debug)]
pub(crate) struct AgreementDerivation {
    derived: Arc<Derived>,
}

impl AgreementDerivation {
    pub(crate) fn new(derived: Arc<Derived>) -> Self {
        Self { derived }
    }
}

#[async_trait]
impl Derivation for AgreementDerivation {
    fn name(&self) -> &'static str {
        "cpid_agreement"
    }

    fn schema(&self) -> SchemaRef {
        table_info().schema()
    }

    fn order(&self) -> &'static [&'static str] {
        &["cluster_id", "epoch", "revision", "ordinal"]
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let causes = self.derived.causes(context).await?;
        let mergelogs = self.derived.mergelogs(context).await?;
        let mut batches = Vec::new();
        for history in &causes.histories {
            let reported: HashMap<u32, &str> = history.reported_cpids().collect();
            let compared = compare(history, &reported, &mergelogs);
            let batch = RecordBatch::try_new(self.schema(), arrays(history, &compared))
                .map_err(|error| Error::Internal(error.to_string()))?;
            batches.push(batch);
        }
        Ok(Arc::new(batches))
    }
}

fn arrays(history: &History, compared: &[Compared<'_>]) -> Vec<ArrayRef> {
    let places = || {
        compared
            .iter()
            .filter_map(|row| history.changes.row(row.change))
    };
    let cluster = std::iter::repeat_n(history.cluster_id.as_str(), compared.len());
    let mut derived = StringBuilder::new();
    for row in compared {
        let id = history.cpids().of_change(row.change);
        derived.append_value(id.map(|id| id.to_string()).unwrap_or_default());
    }
    let lists = |list: fn(&Compared<'_>) -> Vec<String>| -> ArrayRef {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in compared {
            for cpid in list(row) {
                lists.values().append_value(cpid);
            }
            lists.append(true);
        }
        Arc::new(lists.finish())
    };
    vec![
        Arc::new(StringArray::from_iter_values(cluster)),
        Arc::new(Int32Array::from_value(history.epoch, compared.len())),
        Arc::new(Int64Array::from_iter_values(
            places().map(|row| row.revision),
        )),
        Arc::new(Int32Array::from_iter_values(
            places().map(|row| row.ordinal),
        )),
        Arc::new(StringArray::from_iter(compared.iter().map(|row| row.cpid))),
        Arc::new(derived.finish()),
        lists(|row| owned(&row.reported)),
        lists(|row| owned(&row.derived)),
        Arc::new(StringArray::from_iter_values(
            compared.iter().map(|row| row.verdict.name()),
        )),
    ]
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
