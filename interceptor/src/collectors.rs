//! What others send us about themselves. Nothing here is in the path of the traffic.
//!
//! - [`mergelog`] is the trace server: controllers report CPIDs, mergelogs and spans;
//! - [`otlp`] receives kube-apiserver's spans and makes `requests` and `request_calls` of them;
//! - [`audit`] reads kube-apiserver's audit log, which adds users to `requests`;
//! - [`listener`] limits their connections and speaks TLS, [`rate`] limits their requests.

pub mod audit;
pub mod listener;
pub mod mergelog;
pub mod otlp;
pub mod rate;
