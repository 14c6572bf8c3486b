//! Writes rows durably: a journal first, then Parquet.
