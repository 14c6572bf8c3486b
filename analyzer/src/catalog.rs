//! Opens traces as tables.
//!
//! A trace is a folder with one folder per table, split by the hour in which each file was begun:
//! `<table>/date=YYYY-MM-DD/hour=HH/<instance>-<segment>.parquet`. An interceptor that is running,
//! or has crashed, also leaves journals (`.<instance>-<segment>.journal`), read here as they are, so
//! that a live trace can be queried.
//!
//! Per table this makes a [`StoredTable`] over all files and journals (schema `stored`), and on top of it
//! the table people query (schema `raw`), in which rows that were recorded twice appear once.
//! Everything goes through an object store; local folders are the one kind that is built in.

mod error;
mod footer;
mod input;
mod journal;
mod layout;
mod location;
mod merge;
mod open;
mod stored;

pub use error::TraceError;
pub use input::InputFile;
pub use layout::PARTITION_COLUMNS;
pub use location::Location;
pub(crate) use open::open;
pub use open::{OpenedTable, Trace};
pub use stored::StoredTable;
