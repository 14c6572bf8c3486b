//! Where the time between a change and what it sets off goes, and what that rests on.

mod layout;
mod queries;

use arrow::array::Int64Array;
use arrow::record_batch::RecordBatch;
use serde::Serialize;

use super::model::Distribution;
use super::rows::{integer, integers, text, texts};
use super::scope::Filter;
use crate::error::Error;
use crate::session::Session;
pub use layout::blocks;
pub(crate) use queries::{by_hop, clocks, lacking};

/// The times of hops: a hop is a chosen trigger, from the commit of the cause to the commit of the effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hops {
    /// Number of hops.
    pub hops: i64,
    /// Those of which reaction, API and storage time are known.
    pub with_parts: i64,
    /// Those of which these three do not add up to the total; a mistake here if there are any.
    pub unequal: i64,
    /// Those with a negative part by the clocks as they were, nothing corrected.
    pub negative_before: i64,
    /// Those with a negative part although clock differences are taken out. Nothing is clamped.
    pub negative: i64,
    /// Why others lack a part; empty when no requests were recorded at all.
    pub lacking: Vec<Lacking>,
    /// The clocks of kube-apiservers and interceptors.
    pub clocks: Vec<Clock>,
    /// Hops by evidence, kind and actor, most first.
    pub by_evidence_kind_and_actor: Vec<HopLatency>,
}

/// Hops that lack a part for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lacking {
    /// `no_call`: the etcd call was not seen; `no_request`: it was, but no API request belongs to it.
    pub reason: String,
    /// Kind of the effect.
    pub kind: Option<String>,
    /// Resource of the effect, from its key: tells kube-apiserver's own bookkeeping.
    pub resource: Option<String>,
    /// Number of hops.
    pub hops: i64,
}

/// The clock of a kube-apiserver against that of an interceptor, see the table `clocks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// kube-apiserver that dated the requests.
    pub apiserver: Option<String>,
    /// Interceptor that dated the calls.
    pub instance: Option<String>,
    /// Windows of time that were looked at one by one.
    pub windows: i64,
    /// Requests with a call.
    pub pairs: i64,
    /// Pairs that no offset within the bounds of their window reconciles.
    pub contradicting: i64,
    /// Pairs whose call lies outside of its request by the clocks as they were.
    pub negative_before: i64,
    /// Smallest estimate of a window: by how much the interceptor's clock was ahead. `None`, like the following,
    /// when nothing reconciles the pairs.
    pub min_offset_ns: Option<i64>,
    /// Largest estimate.
    pub max_offset_ns: Option<i64>,
    /// Smallest lower bound of a window.
    pub lower_ns: Option<i64>,
    /// Largest upper bound of a window.
    pub upper_ns: Option<i64>,
}

/// Hops of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HopLatency {
    /// Strongest evidence of the trigger, as in `edges`.
    pub evidence: String,
    /// Kind of the effect.
    pub kind: Option<String>,
    /// Who wrote the effect.
    pub actor: Option<String>,
    /// Number of hops.
    pub hops: i64,
    /// Those with all parts; the distributions of the parts are of these.
    pub with_parts: i64,
    /// Those with a negative part before clock differences were taken out.
    pub negative_before: i64,
    /// And afterwards.
    pub negative: i64,
    /// Commit of the cause to commit of the effect, of all hops.
    pub total: Distribution,
    /// Commit of the cause to the request that reacted.
    pub reaction: Distribution,
    /// That request to its call to etcd.
    pub api: Distribution,
    /// That call to the commit of the effect.
    pub storage: Distribution,
}

/// Asks the trace.
///
/// # Errors
/// When a query fails.
pub async fn collect(session: &Session, filter: &Filter) -> Result<Hops, Error> {
    let mut found = Hops {
        hops: 0,
        with_parts: 0,
        unequal: 0,
        negative_before: 0,
        negative: 0,
        lacking: Vec::new(),
        clocks: clock_rows(session).await?,
        by_evidence_kind_and_actor: Vec::new(),
    };
    for batch in session.query(&by_hop(filter)).await? {
        let evidence = texts(&batch, "evidence")?;
        let (kinds, actors) = (texts(&batch, "kind")?, texts(&batch, "actor")?);
        let (hops, with_parts) = (integers(&batch, "hops")?, integers(&batch, "with_parts")?);
        let negative = integers(&batch, "negative")?;
        let negative_before = integers(&batch, "negative_before")?;
        let unequal = integers(&batch, "unequal")?;
        let parts = Parts::of(&batch)?;
        for row in 0..batch.num_rows() {
            found.unequal += unequal.value(row);
            found.by_evidence_kind_and_actor.push(HopLatency {
                evidence: evidence.value(row).to_owned(),
                kind: text(&kinds, row),
                actor: text(&actors, row),
                hops: hops.value(row),
                with_parts: with_parts.value(row),
                negative_before: negative_before.value(row),
                negative: negative.value(row),
                total: parts.total.distribution(row, hops.value(row)),
                reaction: parts.reaction.distribution(row, with_parts.value(row)),
                api: parts.api.distribution(row, with_parts.value(row)),
                storage: parts.storage.distribution(row, with_parts.value(row)),
            });
        }
    }
    for row in &found.by_evidence_kind_and_actor {
        found.hops += row.hops;
        found.with_parts += row.with_parts;
        found.negative_before += row.negative_before;
        found.negative += row.negative;
    }
    if found.with_parts > 0 && found.with_parts < found.hops {
        found.lacking = lacking_rows(session, filter).await?;
    }
    Ok(found)
}

async fn clock_rows(session: &Session) -> Result<Vec<Clock>, Error> {
    let mut rows = Vec::new();
    for batch in session.query(clocks()).await? {
        let apiservers = texts(&batch, "apiserver")?;
        let instances = texts(&batch, "instance")?;
        let (windows, pairs) = (integers(&batch, "windows")?, integers(&batch, "pairs")?);
        let contradicting = integers(&batch, "contradicting")?;
        let negative_before = integers(&batch, "negative_before")?;
        let (min, max) = (
            integers(&batch, "min_offset_ns")?,
            integers(&batch, "max_offset_ns")?,
        );
        let (lower, upper) = (integers(&batch, "lower_ns")?, integers(&batch, "upper_ns")?);
        rows.extend((0..batch.num_rows()).map(|row| Clock {
            apiserver: text(&apiservers, row),
            instance: text(&instances, row),
            windows: windows.value(row),
            pairs: pairs.value(row),
            contradicting: contradicting.value(row),
            negative_before: negative_before.value(row),
            min_offset_ns: integer(&min, row),
            max_offset_ns: integer(&max, row),
            lower_ns: integer(&lower, row),
            upper_ns: integer(&upper, row),
        }));
    }
    Ok(rows)
}

async fn lacking_rows(session: &Session, filter: &Filter) -> Result<Vec<Lacking>, Error> {
    let mut rows = Vec::new();
    for batch in session.query(&lacking(filter)).await? {
        let (reasons, kinds) = (texts(&batch, "reason")?, texts(&batch, "kind")?);
        let (resources, hops) = (texts(&batch, "resource")?, integers(&batch, "hops")?);
        rows.extend((0..batch.num_rows()).map(|row| Lacking {
            reason: reasons.value(row).to_owned(),
            kind: text(&kinds, row),
            resource: text(&resources, row),
            hops: hops.value(row),
        }));
    }
    Ok(rows)
}

/// The columns of all distributions.
struct Parts {
    total: Statistics,
    reaction: Statistics,
    api: Statistics,
    storage: Statistics,
}

impl Parts {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            total: Statistics::of(batch, "total")?,
            reaction: Statistics::of(batch, "reaction")?,
            api: Statistics::of(batch, "api")?,
            storage: Statistics::of(batch, "storage")?,
        })
    }
}

/// The columns of one distribution: p50, p90, p95, p99 and the largest.
struct Statistics([Int64Array; 5]);

impl Statistics {
    fn of(batch: &RecordBatch, part: &str) -> Result<Self, Error> {
        let column = |name: &str| integers(batch, &format!("{part}_{name}_ns"));
        Ok(Self([
            column("p50")?,
            column("p90")?,
            column("p95")?,
            column("p99")?,
            column("max")?,
        ]))
    }

    fn distribution(&self, row: usize, n: i64) -> Distribution {
        let [p50, p90, p95, p99, max] = &self.0;
        Distribution {
            n,
            p50_ns: integer(p50, row),
            p90_ns: integer(p90, row),
            p95_ns: integer(p95, row),
            p99_ns: integer(p99, row),
            max_ns: integer(max, row),
        }
    }
}
