//! Cascade's analyzer: SQL, reports and gates over the traces that the interceptor records.
