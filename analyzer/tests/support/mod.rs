//! Traces for tests, written the way an interceptor writes them.
