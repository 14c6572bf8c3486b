//! Compiles the `.proto` subsets with protox: no `protoc` is needed for this crate.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sources = ["wire/etcd.proto", "wire/kubernetes.proto"];
    let descriptors = protox::compile(sources, ["."])?;
    prost_build::Config::new()
        // Keys and values stay slices of the buffer they were received in.
        .bytes(["."])
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=wire");
    Ok(())
}
