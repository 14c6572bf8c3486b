//! Cascade's interceptor: stands between kube-apiserver and etcd, forwards every byte untouched, and
//! records every stored revision.
//!
//! A folder is a stage of the flow, and data goes one way:
//!
//! - [`relay`] accepts connections and copies bytes to etcd and back;
//! - [`observer`] reads the same bytes and reports mutating calls;
//! - [`ledger`] watches the whole keyspace on a connection of its own: the ground truth;
//! - [`decode`] turns stored values into columns;
//! - [`collectors`] take what controllers and kube-apiserver send about themselves;
//! - [`store`] writes rows durably: a journal first, then Parquet.
//!
//! [`transport`] and [`tls`] are the connections that relay and ledger use.
//!
//! [`run`] wires them; [`cli`] is what a user types. [`doctor`] looks for what would go
//! wrong, [`install`] prints what puts it in place; both read kube-apiserver's flags with [`apiserver`].

pub mod apiserver;
pub mod cli;
pub mod clock;
pub mod collectors;
mod complaints;
pub mod decode;
pub mod doctor;
pub mod install;
pub mod ledger;
pub mod metrics;
pub mod observer;
pub mod relay;
pub mod run;
pub mod store;
pub mod tls;
pub mod transport;
