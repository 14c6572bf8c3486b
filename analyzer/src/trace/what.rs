//! What the argument of `cascade trace` names.

use super::change::{self, FoundChange};
use super::object_name::ObjectName;
use crate::error::Error;
use crate::report::rows::{integers, texts};
use crate::report::scope::literal;
use crate::session::Session;

/// Something that can be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A reported CPID.
    Cpid(FoundCpid),
    /// A revision or an object.
    Change(FoundChange),
}

/// A CPID, and where the trace names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundCpid {
    pub(super) cpid: String,
    /// Places, each with the number of rows, in a fixed order.
    pub(super) places: Vec<(String, i64)>,
}

/// So many suggestions are made for a name that is not there.
const MOST_SUGGESTIONS: usize = 5;
/// A suggestion that begins with as many of the given characters is likely to be meant.
const TELLING_PREFIX: usize = 4;

/// Finds what `given` names.
///
/// # Errors
/// [`Error::Usage`] with suggestions when the trace holds nothing of that name.
pub(super) async fn resolve(session: &Session, given: &str) -> Result<What, Error> {
    let places = cpid_places(session, given).await?;
    if !places.is_empty() {
        return Ok(What::Cpid(FoundCpid {
            cpid: given.to_owned(),
            places,
        }));
    }
    if let Ok(revision) = given.parse::<i64>() {
        return Ok(What::Change(change::of_revision(session, revision).await?));
    }
    if let Some(name) = ObjectName::parse(given) {
        return Ok(What::Change(
            change::of_object(session, given, &name).await?,
        ));
    }
    Err(Error::Usage(unknown(session, given).await?))
}

/// Where a CPID occurs.
async fn cpid_places(session: &Session, cpid: &str) -> Result<Vec<(String, i64)>, Error> {
    let cpid = literal(cpid);
    let query = format!(
        "SELECT number, place, count(*) AS rows FROM (
            SELECT 1 AS number, 'changes' AS place FROM raw.changes
                WHERE cpid = {cpid} OR prev_cpid = {cpid}
            UNION ALL SELECT 2, 'ancestor lists' FROM raw.changes
                WHERE cpid_ancestors IS NOT NULL AND array_has(cpid_ancestors, {cpid})
            UNION ALL SELECT 3, 'calls' FROM raw.calls WHERE cpid = {cpid}
            UNION ALL SELECT 4, 'mergelogs' FROM raw.mergelogs
                WHERE new_cpid = {cpid} OR array_has(source_cpids, {cpid})
            UNION ALL SELECT 5, 'spans' FROM raw.spans WHERE cpid = {cpid}
        ) GROUP BY number, place ORDER BY number"
    );
    let mut places = Vec::new();
    for batch in session.query(&query).await? {
        let (names, counts) = (texts(&batch, "place")?, integers(&batch, "rows")?);
        places.extend(
            (0..batch.num_rows()).map(|row| (names.value(row).to_owned(), counts.value(row))),
        );
    }
    Ok(places)
}

/// What to say about a name that the trace does not hold.
async fn unknown(session: &Session, given: &str) -> Result<String, Error> {
    let prefix: String = given.chars().take(TELLING_PREFIX).collect();
    let query = format!(
        "SELECT cpid, starts_with(cpid, {prefix}) AS is_near, count(*) AS rows FROM (
            SELECT cpid FROM raw.changes UNION ALL SELECT cpid FROM raw.calls
            UNION ALL SELECT new_cpid FROM raw.mergelogs UNION ALL SELECT cpid FROM raw.spans
        ) WHERE cpid IS NOT NULL GROUP BY cpid
        ORDER BY is_near DESC, rows DESC, cpid LIMIT {MOST_SUGGESTIONS}",
        prefix = literal(&prefix)
    );
    let mut known = Vec::new();
    let mut are_near = false;
    for batch in session.query(&query).await? {
        let (names, near) = (
            texts(&batch, "cpid")?,
            crate::report::rows::flags(&batch, "is_near")?,
        );
        for row in 0..batch.num_rows() {
            // Once one begins alike, those that do not are of no use.
            if near.value(row) || !are_near {
                known.push(names.value(row).to_owned());
            }
            are_near |= near.value(row);
        }
    }
    Ok(if known.is_empty() {
        format!(
            "nothing in the trace is called {given:?}, and it holds no CPIDs: no object, call, mergelog or \
             span carries one"
        )
    } else {
        let words = if are_near {
            "did you mean"
        } else {
            "there are, for example,"
        };
        format!(
            "no CPID {given:?} in the trace; {words} {}",
            known.join(", ")
        )
    })
}
