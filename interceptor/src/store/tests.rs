//! The store against real folders, with a disk that can be made to fail and a clock that is set.

mod failures;
mod round_trip;
mod support;
