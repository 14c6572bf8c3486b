//! Compiles the `.proto` subsets with protox: no `protoc` is needed for this crate.
//! etcd's and the trace server's messages become structs, Kubernetes' a table of messages and fields.

#[path = "build/kubernetes.rs"]
mod kubernetes;
#[path = "build/mergelog.rs"]
mod mergelog;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=wire");
    prost_build::Config::new()
        // Keys and values stay slices of the buffer they were received in.
        .bytes(["."])
        .compile_fds(protox::compile(["wire/etcd.proto"], ["."])?)?;

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("kubernetes.rs"), kubernetes::table()?)?;
    mergelog::generate(&out)
}
