//! What etcd answered to a mutating call.

use crate::decode::key_text;

use super::methods::Method;
use super::protobuf::{Fields, Malformed};
use super::request::bytes_at;

/// Answers in one transaction beyond which nothing is kept, and depth of transactions: as for
/// requests.
const MAX_ANSWERS: usize = 10_000;
const MAX_DEPTH: u32 = 32;

/// The message of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// From the header; `None` if there is no header.
    pub(super) cluster_id: Option<u64>,
    /// From the header: of the commit if there was one, else the current revision.
    pub(super) revision: Option<i64>,
    pub(super) effect: Effect,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// A read; or an operation whose kind the answer does not tell.
    Read,
    Put,
    Delete {
        deleted: i64,
    },
    Transaction {
        succeeded: bool,
        results: Vec<Effect>,
    },
    Lease {
        id: Option<i64>,
        ttl: Option<i64>,
        /// etcd's field for an error within a successful answer.
        failed: bool,
    },
    /// A lock or an election, with the key that etcd made.
    Key(Option<String>),
    /// Nothing but a header.
    Done,
}

impl Effect {
    /// Whether keys were changed for sure.
    pub(super) fn wrote(&self) -> bool {
        match self {
            Self::Put => true,
            Self::Delete { deleted } => *deleted > 0,
            Self::Transaction { results, .. } => results.iter().any(Self::wrote),
            Self::Read | Self::Lease { .. } | Self::Key(_) | Self::Done => false,
        }
    }
}

/// Reads the answer of `method`.
///
/// # Errors
/// [`Malformed`] if it is not such a message, or has more parts than are kept.
pub(super) fn decode(method: Method, message: &[u8]) -> Result<Answer, Malformed> {
    let fields = Fields(message);
    let (cluster_id, revision) = header(fields)?;
    let mut parts = 0;
    let effect = match method {
        Method::Put => Effect::Put,
        Method::DeleteRange => delete(fields)?,
        Method::Txn => transaction(fields, 0, &mut parts)?,
        Method::LeaseGrant => lease(fields)?,
        Method::Lock => Effect::Key(bytes_at(fields, &[2])?.map(key_text)),
        Method::Campaign => Effect::Key(bytes_at(fields, &[2, 2])?.map(key_text)),
        Method::Unlock | Method::Proclaim | Method::Resign => Effect::Key(None),
        Method::Compact | Method::LeaseRevoke => Effect::Done,
    };
    Ok(Answer {
        cluster_id,
        revision,
        effect,
    })
}

/// Cluster id and revision of the header, which is field 1 of every answer.
fn header(mut fields: Fields<'_>) -> Result<(Option<u64>, Option<i64>), Malformed> {
    let (mut cluster_id, mut revision) = (None, None);
    while let Some((number, value)) = fields.next()? {
        if number != 1 {
            continue;
        }
        let mut header = value.message()?;
        while let Some((number, value)) = header.next()? {
            match number {
                1 => cluster_id = Some(value.uint64()?),
                3 => revision = Some(value.int64()?),
                _ => {}
            }
        }
    }
    Ok((cluster_id, revision))
}

fn delete(mut fields: Fields<'_>) -> Result<Effect, Malformed> {
    let mut deleted = 0;
    while let Some((number, value)) = fields.next()? {
        if number == 2 {
            deleted = value.int64()?;
        }
    }
    Ok(Effect::Delete { deleted })
}

fn lease(mut fields: Fields<'_>) -> Result<Effect, Malformed> {
    let (mut id, mut ttl, mut failed) = (None, None, false);
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => id = Some(value.int64()?),
            3 => ttl = Some(value.int64()?),
            4 => failed = !value.bytes()?.is_empty(),
            _ => {}
        }
    }
    Ok(Effect::Lease { id, ttl, failed })
}

fn transaction(mut fields: Fields<'_>, depth: u32, parts: &mut usize) -> Result<Effect, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed);
    }
    let (mut succeeded, mut results) = (false, Vec::new());
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => succeeded = value.uint64()? != 0,
            3 => {
                *parts += 1;
                if *parts > MAX_ANSWERS {
                    return Err(Malformed);
                }
                results.push(part(value.message()?, depth, parts)?);
            }
            _ => {}
        }
    }
    Ok(Effect::Transaction { succeeded, results })
}

fn part(mut fields: Fields<'_>, depth: u32, parts: &mut usize) -> Result<Effect, Malformed> {
    let mut effect = Effect::Read;
    while let Some((number, value)) = fields.next()? {
        effect = match number {
            1 => Effect::Read,
            2 => Effect::Put,
            3 => delete(value.message()?)?,
            4 => transaction(value.message()?, depth + 1, parts)?,
            _ => continue,
        };
    }
    Ok(effect)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
