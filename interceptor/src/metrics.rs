//! Prometheus metrics, liveness and readiness over HTTP.
//!
//! `/metrics` is in the OpenMetrics text format. `/healthz` says that the process runs. `/readyz`
//! says whether it does its work: one line per check, with the reason where one fails; status 503
//! then. `/observation` shows, and for this host changes, whether connections are observed.

mod control;
mod health;
mod process;
mod server;

pub use control::Control;
pub use health::Health;
pub use process::ProcessMetrics;
pub use server::{Pages, serve};
