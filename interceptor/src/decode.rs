//! Turns stored values into the columns of a trace.
