//! An operator for a custom resource `App` that carries Change Propagation IDs.
fn main() {}
