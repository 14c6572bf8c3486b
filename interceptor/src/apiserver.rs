//! What can be known of a kube-apiserver on this host: the flags that it is started with.
//!
//! | module | duty |
//! |---|---|
//! | `flags` | a command line to flags, as kube-apiserver reads it |
//! | `manifest` | the manifest of a static pod |
//! | `process` | processes that run |

mod flags;
mod manifest;
mod process;

pub use flags::{Flags, Override};
pub use manifest::{Manifest, ManifestError, parse as parse_manifest};
pub use process::running;

use std::path::{Path, PathBuf};

/// Name of the program.
pub(crate) const PROGRAM: &str = "kube-apiserver";

/// A kube-apiserver, and where its files are on this host.
#[derive(Debug, Clone)]
pub struct Apiserver {
    /// What told of it: a file, or a process.
    pub origin: String,
    /// Its flags.
    pub flags: Flags,
    files: Files,
}

/// Where the files are that flags name.
#[derive(Debug, Clone)]
enum Files {
    /// In a container, with these folders of the host in it: (in the container, on the host).
    Mounted(Vec<(PathBuf, PathBuf)>),
    /// Below a folder of the host.
    Below(PathBuf),
}

impl Apiserver {
    /// Reads the manifest of a static pod.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_manifest(path: &Path) -> Result<Self, ManifestError> {
        let manifest = Manifest::read(path)?;
        Ok(Self {
            origin: path.display().to_string(),
            flags: Flags::parse(&manifest.arguments),
            files: Files::Mounted(manifest.mounts),
        })
    }

    /// Where a file that a flag names is on this host; `None` if it is not there.
    #[must_use]
    pub fn host_path(&self, path: &str) -> Option<PathBuf> {
        let path = Path::new(path);
        match &self.files {
            Files::Below(root) => Some(root.join(path.strip_prefix("/").ok()?)),
            Files::Mounted(mounts) => {
                let inside = |(mount, _): &&(PathBuf, PathBuf)| path.starts_with(mount);
                let deepest = mounts.iter().filter(inside);
                let (mount, host) = deepest.max_by_key(|(mount, _)| mount.components().count())?;
                let rest = path.strip_prefix(mount).ok()?;
                // A mounted file has no rest, and joining nothing would make a folder of it.
                match rest.as_os_str().is_empty() {
                    true => Some(host.clone()),
                    false => Some(host.join(rest)),
                }
            }
        }
    }
}
