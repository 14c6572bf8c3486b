//! Generates the trace server's messages and, for the features that ask for it, its service.

use std::error::Error;
use std::path::Path;

use prost_types::FileDescriptorSet;

/// Name of the descriptor file in the output folder; reflection serves it.
const DESCRIPTOR: &str = "mergelog.bin";

/// Compiles `wire/mergelog.proto` into `out`.
pub(crate) fn generate(out: &Path) -> Result<(), Box<dyn Error>> {
    let files = protox::compile(["wire/mergelog.proto"], ["wire"])?;
    std::fs::write(out.join(DESCRIPTOR), prost::Message::encode_to_vec(&files))?;
    compile(files)
}

#[cfg(not(any(feature = "mergelog-client", feature = "mergelog-server")))]
fn compile(files: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    Ok(prost_build::Config::new().compile_fds(files)?)
}

#[cfg(any(feature = "mergelog-client", feature = "mergelog-server"))]
fn compile(files: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    Ok(tonic_prost_build::configure()
        .build_client(cfg!(feature = "mergelog-client"))
        .build_server(cfg!(feature = "mergelog-server"))
        // Whoever connects or listens does it themselves.
        .build_transport(false)
        .compile_fds(files)?)
}
