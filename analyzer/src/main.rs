//! The program `cascade`; everything it does is in the library.
fn main() {}
