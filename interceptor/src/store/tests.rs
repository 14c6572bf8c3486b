//! The store against real folders, with a disk that can be made to fail and a clock that is set.

mod anything;
mod failures;
mod folder;
mod meddling;
mod power_loss;
mod pressure;
mod reading;
mod reported;
mod round_trip;
mod segments;
mod support;
