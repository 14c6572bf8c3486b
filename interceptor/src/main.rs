//! The program `cascade-interceptor`; everything it does is in the library.
fn main() {}
