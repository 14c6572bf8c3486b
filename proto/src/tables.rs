//! The raw tables of a trace, each defined once.
//!
//! A table is a plain Rust struct per row, declared with a macro that also makes its Arrow schema,
//! a builder ([`BatchBuilder`]), a reader ([`read_rows`]) and its documentation ([`columns_of`],
//! printed by `cascade schema`). Doc comments on the fields are that documentation: they are the
//! contract with everyone who queries a trace, so they state unit, meaning and when a value is NULL.
//!
//! Rules that hold for every table:
//! - A value that was not observed is NULL, never 0 or `""`; an empty list is a fact.
//! - A moment is stored twice, as `*_time` (timestamp, microseconds, UTC) and `*_unix_nano` (Int64).
//! - Durations are Int64 nanoseconds named `*_ns`, from a monotonic clock.
//! - Only types that DuckDB, Polars, pandas and Spark read unchanged; structs never gain a field.

mod calls;
mod changes;
mod column;
mod define;
mod gaps;
mod mergelogs;
mod object;
mod requests;
mod spans;
mod states;
mod table;
#[cfg(test)]
mod tests;

pub use calls::{Branch, Call, CallOutcome, CallShape};
pub use changes::{Change, ChangeSource, CpidTransition, Op};
pub use column::{Column, ColumnDefinition, Columns, Moment, SentMoment, Timestamp};
pub use gaps::{Gap, GapKind};
pub use mergelogs::{CauseType, Mergelog};
pub use object::{Condition, Container, NameRef, Object, ObjectCpid, Owner, ValueFormat, Writer};
pub use requests::{Request, RequestCall};
pub use spans::Span;
pub use states::State;
pub use table::{
    BatchBuilder, ReadError, SCHEMA_VERSION, Table, TableInfo, columns_of, metadata_keys,
    raw_tables, read_rows,
};
