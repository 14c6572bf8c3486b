//! What a mutating call asks for: its operations, without the values.

use cascade_proto::tables::CallShape;

use crate::decode::{HashKey, key_text};

use super::methods::Method;
use super::protobuf::{Fields, Malformed, Value};

/// Operations in one call beyond which its content is not kept. etcd's own limit is 128 by default
/// (`--max-txn-ops`).
const MAX_OPERATIONS: usize = 10_000;
/// Transactions within transactions beyond which the content of a call is not kept.
const MAX_DEPTH: u32 = 32;

/// An operation that writes: a row of `calls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) shape: CallShape,
    pub(super) key: Option<String>,
    pub(super) range_end: Option<String>,
    /// See `calls.compare_revision`.
    pub(super) compare_revision: Option<i64>,
    pub(super) value_hash: Option<i64>,
    pub(super) lease_id: Option<i64>,
    pub(super) lease_ttl: Option<i64>,
}

impl Write {
    /// An operation of which only the shape is known.
    pub(super) fn of_shape(shape: CallShape) -> Self {
        Self {
            shape,
            key: None,
            range_end: None,
            compare_revision: None,
            value_hash: None,
            lease_id: None,
            lease_ttl: None,
        }
    }
}

/// What a call, or one part of a transaction, does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// Reads; kept so that operations and their answers stay side by side.
    Read,
    /// Writes.
    Write(Write),
    /// Runs one of two lists of operations.
    Transaction(Transaction),
}

/// The two branches of a Txn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Transaction {
    /// Run if the compares hold.
    pub(super) success: Vec<Operation>,
    /// Run if they do not.
    pub(super) failure: Vec<Operation>,
}

impl Operation {
    /// Whether anything in it may write.
    pub(super) fn may_write(&self) -> bool {
        match self {
            Self::Read => false,
            Self::Write(_) => true,
            Self::Transaction(transaction) => {
                may_write(&transaction.success) || may_write(&transaction.failure)
            }
        }
    }

    /// All writes in it, in order: those of a success branch before those of its failure branch.
    pub(super) fn into_writes(self, writes: &mut Vec<Write>) {
        match self {
            Self::Read => {}
            Self::Write(write) => writes.push(write),
            Self::Transaction(Transaction { success, failure }) => {
                for operation in success.into_iter().chain(failure) {
                    operation.into_writes(writes);
                }
            }
        }
    }

    /// Bytes it takes in memory.
    pub(super) fn footprint(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        size_of::<Self>()
            + match self {
                Self::Read => 0,
                Self::Write(write) => length(&write.key) + length(&write.range_end),
                Self::Transaction(Transaction { success, failure }) => {
                    success.iter().chain(failure).map(Self::footprint).sum()
                }
            }
    }
}

/// Whether one of `operations` may write.
pub(super) fn may_write(operations: &[Operation]) -> bool {
    operations.iter().any(Operation::may_write)
}

/// Hashes values that are to be written, so that a call without an answer can be settled later.
#[derive(Debug, Clone, Default)]
pub(super) struct ValueHasher {
    /// `None` as long as the cluster is not known.
    pub(super) key: Option<HashKey>,
    /// Whether Secrets are hashed too.
    pub(super) secrets: bool,
}

impl ValueHasher {
    fn hash(&self, key: &[u8], value: &[u8]) -> Option<i64> {
        // Whatever prefix the keys have: rather one hash too few than one of a Secret.
        if !self.secrets
            && key
                .split(|byte| *byte == b'/')
                .any(|segment| segment == b"secrets")
        {
            return None;
        }
        self.key.as_ref().map(|hash_key| hash_key.hash(value))
    }
}

/// Reads the request message of `method`.
///
/// # Errors
/// [`Malformed`] if it is not such a message, or has more operations or deeper transactions than
/// are kept.
pub(super) fn decode(
    method: Method,
    message: &[u8],
    hasher: &ValueHasher,
) -> Result<Operation, Malformed> {
    let mut reader = Reader {
        hasher,
        operations: 0,
    };
    let fields = Fields(message);
    let write = match method {
        Method::Put => return reader.put(fields, None),
        Method::DeleteRange => return reader.delete_range(fields, None),
        Method::Txn => return reader.transaction(fields, None, 0),
        Method::Compact => compaction(fields)?,
        Method::LeaseGrant => lease(fields, CallShape::LeaseGrant, Some(1), 2)?,
        Method::LeaseRevoke => lease(fields, CallShape::LeaseRevoke, None, 1)?,
        // A lock's or candidate's key is made by etcd and comes with the answer.
        Method::Lock | Method::Campaign => lease(fields, CallShape::Other, None, 2)?,
        Method::Unlock => other_with_key(fields, &[1])?,
        Method::Proclaim | Method::Resign => other_with_key(fields, &[1, 2])?,
    };
    Ok(Operation::Write(write))
}

fn compaction(mut fields: Fields<'_>) -> Result<Write, Malformed> {
    let mut write = Write {
        compare_revision: Some(0),
        ..Write::of_shape(CallShape::Compact)
    };
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            write.compare_revision = Some(value.int64()?);
        }
    }
    Ok(write)
}

/// A message with the lease's id in field `id` and its time to live in field `ttl`.
fn lease(
    mut fields: Fields<'_>,
    shape: CallShape,
    ttl: Option<u32>,
    id: u32,
) -> Result<Write, Malformed> {
    let mut write = Write::of_shape(shape);
    while let Some((number, value)) = fields.next()? {
        if number == id {
            write.lease_id = Some(value.int64()?).filter(|id| *id != 0);
        } else if Some(number) == ttl {
            write.lease_ttl = Some(value.int64()?);
        }
    }
    Ok(write)
}

/// A message with a key in the field that `path` leads to.
fn other_with_key(fields: Fields<'_>, path: &[u32]) -> Result<Write, Malformed> {
    let key = bytes_at(fields, path)?.map(key_text);
    Ok(Write {
        key,
        ..Write::of_shape(CallShape::Other)
    })
}

/// The bytes of the field that `path` leads to: a field number per message.
///
/// # Errors
/// [`Malformed`].
pub(super) fn bytes_at<'a>(
    mut fields: Fields<'a>,
    path: &[u32],
) -> Result<Option<&'a [u8]>, Malformed> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(None);
    };
    let mut found = None;
    while let Some((number, value)) = fields.next()? {
        if number == *first {
            found = if rest.is_empty() {
                Some(value.bytes()?)
            } else {
                bytes_at(value.message()?, rest)?
            };
        }
    }
    Ok(found)
}

/// Reads operations, at most [`MAX_OPERATIONS`].
struct Reader<'h> {
    hasher: &'h ValueHasher,
    operations: usize,
}

impl Reader<'_> {
    fn put(
        &mut self,
        mut fields: Fields<'_>,
        scope: Option<&Scope<'_>>,
    ) -> Result<Operation, Malformed> {
        let (mut key, mut value, mut lease, mut ignore_value) = (&[][..], &[][..], 0, false);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => key = field.bytes()?,
                2 => value = field.bytes()?,
                3 => lease = field.int64()?,
                5 => ignore_value = field.uint64()? != 0,
                _ => {}
            }
        }
        let compare_revision = scope.and_then(|scope| scope.revision_of(key));
        let creates = compare_revision == Some(0);
        Ok(Operation::Write(Write {
            shape: if creates {
                CallShape::Create
            } else {
                CallShape::Update
            },
            key: Some(key_text(key)),
            range_end: None,
            compare_revision,
            value_hash: if ignore_value {
                None
            } else {
                self.hasher.hash(key, value)
            },
            lease_id: Some(lease).filter(|lease| *lease != 0),
            lease_ttl: None,
        }))
    }

    fn delete_range(
        &mut self,
        mut fields: Fields<'_>,
        scope: Option<&Scope<'_>>,
    ) -> Result<Operation, Malformed> {
        let (mut key, mut range_end) = (&[][..], &[][..]);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => key = field.bytes()?,
                2 => range_end = field.bytes()?,
                _ => {}
            }
        }
        let mut write = Write {
            key: Some(key_text(key)),
            ..Write::of_shape(CallShape::DeleteRange)
        };
        if range_end.is_empty() {
            write.shape = CallShape::Delete;
            write.compare_revision = scope.and_then(|scope| scope.revision_of(key));
        } else {
            write.range_end = Some(key_text(range_end));
        }
        Ok(Operation::Write(write))
    }

    fn transaction(
        &mut self,
        fields: Fields<'_>,
        outer: Option<&Scope<'_>>,
        depth: u32,
    ) -> Result<Operation, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed);
        }
        // What an operation means depends on the compares, wherever in the message they are.
        let mut compares = Vec::new();
        let mut rest = fields;
        while let Some((number, value)) = rest.next()? {
            if number == 1 {
                self.count()?;
                compares.push(Compare::read(value.message()?)?);
            }
        }
        let mut transaction = Transaction::default();
        let mut rest = fields;
        while let Some((number, value)) = rest.next()? {
            let (branch, holds) = match number {
                2 => (&mut transaction.success, true),
                3 => (&mut transaction.failure, false),
                _ => continue,
            };
            let scope = Scope {
                compares: &compares,
                hold: holds,
                outer,
            };
            branch.push(self.operation(value.message()?, &scope, depth)?);
        }
        Ok(Operation::Transaction(transaction))
    }

    fn operation(
        &mut self,
        mut fields: Fields<'_>,
        scope: &Scope<'_>,
        depth: u32,
    ) -> Result<Operation, Malformed> {
        self.count()?;
        let mut operation = Operation::Read;
        while let Some((number, value)) = fields.next()? {
            operation = match number {
                1 => Operation::Read,
                2 => self.put(value.message()?, Some(scope))?,
                3 => self.delete_range(value.message()?, Some(scope))?,
                4 => self.transaction(value.message()?, Some(scope), depth + 1)?,
                _ => continue,
            };
        }
        Ok(operation)
    }

    fn count(&mut self) -> Result<(), Malformed> {
        self.operations += 1;
        if self.operations > MAX_OPERATIONS {
            Err(Malformed)
        } else {
            Ok(())
        }
    }
}

/// What the compares say about keys where an operation stands.
struct Scope<'a> {
    compares: &'a [Compare<'a>],
    /// Whether they hold: in the success branch; in the failure branch one of them does not.
    hold: bool,
    /// Where the transaction stands in another one.
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// The mod_revision that `key` must have for the operation to run; 0 if it must not exist,
    /// `None` if that is left open.
    fn revision_of(&self, key: &[u8]) -> Option<i64> {
        let here = if self.hold {
            let about_key = self.compares.iter().filter(|compare| compare.key == key);
            about_key.filter_map(Compare::revision_if_it_holds).next()
        } else {
            match self.compares {
                [only] if only.key == key => only.revision_if_it_fails(),
                _ => None, // which of several failed is not known
            }
        };
        here.or_else(|| self.outer?.revision_of(key))
    }
}

/// A condition of a transaction.
#[derive(Debug, Clone, Copy)]
struct Compare<'a> {
    key: &'a [u8],
    is_range: bool,
    result: u64,
    target: u64,
    /// Number and, if it is an integer, value of the field that holds what is compared to.
    operand: Option<(u32, i64)>,
}

const EQUAL: u64 = 0;
const GREATER: u64 = 1;
const NOT_EQUAL: u64 = 3;
const TARGET_VERSION: u64 = 0;
const TARGET_CREATE: u64 = 1;
const TARGET_MOD: u64 = 2;

impl<'a> Compare<'a> {
    fn read(mut fields: Fields<'a>) -> Result<Self, Malformed> {
        let mut compare = Self {
            key: &[],
            is_range: false,
            result: EQUAL,
            target: TARGET_VERSION,
            operand: None,
        };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, _) => compare.result = value.uint64()?,
                (2, _) => compare.target = value.uint64()?,
                (3, _) => compare.key = value.bytes()?,
                (4..=8, Value::Integer(operand)) => {
                    compare.operand = Some((number, operand.cast_signed()));
                }
                (4..=8, _) => compare.operand = Some((number, 0)),
                (64, _) => compare.is_range = !value.bytes()?.is_empty(),
                _ => {}
            }
        }
        Ok(compare)
    }

    /// What it compares to, if it is a number that is 0 for a key that does not exist. etcd takes
    /// an operand of another kind than the target for 0.
    fn operand(&self) -> Option<i64> {
        let field = match self.target {
            TARGET_VERSION => 4,
            TARGET_CREATE => 5,
            TARGET_MOD => 6,
            _ => return None,
        };
        if self.is_range {
            return None;
        }
        Some(self.operand.map_or(
            0,
            |(number, operand)| if number == field { operand } else { 0 },
        ))
    }

    fn revision_if_it_holds(&self) -> Option<i64> {
        let operand = self.operand()?;
        let is_revision = self.target == TARGET_MOD || operand == 0;
        (self.result == EQUAL && is_revision).then_some(operand)
    }

    /// Not existing can only be concluded from "exists" failing.
    fn revision_if_it_fails(&self) -> Option<i64> {
        let existence = self.operand()? == 0 && matches!(self.result, GREATER | NOT_EQUAL);
        existence.then_some(0)
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
