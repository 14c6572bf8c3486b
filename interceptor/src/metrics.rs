//! Prometheus metrics, liveness and readiness over HTTP.
