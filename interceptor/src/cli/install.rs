//! `install`: what is to be put where, printed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Failure, print};
use crate::install::{self, Kubeadm, Part};
use crate::run::ListenAddress;

/// Arguments of `install`.
#[derive(Debug, Args)]
pub(super) struct InstallArguments {
    /// For what.
    #[command(subcommand)]
    target: Target,
}

/// What can be installed on.
#[derive(Debug, Subcommand)]
enum Target {
    /// A control-plane node that kubeadm has set up
    #[command(after_help = "\
Examples:
  cascade-interceptor install kubeadm --manifest /etc/kubernetes/manifests/kube-apiserver.yaml --print
  cascade-interceptor install kubeadm --manifest kube-apiserver.yaml --print --only apiserver |
      patch --directory=/ --strip=1

docs/kubeadm.md has the steps, and the way back.")]
    Kubeadm(KubeadmArguments),
}

/// Flags of `install kubeadm`.
#[derive(Debug, Args)]
struct KubeadmArguments {
    /// Manifest of kube-apiserver's static pod
    #[arg(
        long,
        env = "CASCADE_MANIFEST",
        value_name = "FILE",
        default_value = "/etc/kubernetes/manifests/kube-apiserver.yaml"
    )]
    manifest: PathBuf,
    /// Print what is to be done; nothing is changed, and nothing else can be asked for
    #[arg(long, required = true)]
    print: bool,
    /// Print one part alone, as a patch
    #[arg(
        long,
        env = "CASCADE_ONLY",
        value_name = "interceptor|apiserver",
        hide_possible_values = true
    )]
    only: Option<OnlyPart>,
    /// Where the interceptor listens; further members of etcd get the ports that follow
    #[arg(
        long,
        env = "CASCADE_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:2479"
    )]
    listen: ListenAddress,
    /// Run the interceptor as a static pod of this image [default: as a systemd service]
    #[arg(long, env = "CASCADE_IMAGE", value_name = "IMAGE")]
    image: Option<String>,
    /// Certificate to show to kube-apiserver [default: server.crt beside --etcd-cafile]
    #[arg(long, env = "CASCADE_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, env = "CASCADE_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// A part of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnlyPart {
    /// Files of the interceptor.
    Interceptor,
    /// kube-apiserver's manifest.
    Apiserver,
}

/// Prints what is to be done.
pub(super) fn install(arguments: InstallArguments) -> Result<(), Failure> {
    let Target::Kubeadm(arguments) = arguments.target;
    let wanted = Kubeadm {
        manifest: arguments.manifest,
        listen: arguments.listen,
        image: arguments.image,
        server: arguments.cert.zip(arguments.key),
        only: arguments.only.map(|part| match part {
            OnlyPart::Interceptor => Part::Interceptor,
            OnlyPart::Apiserver => Part::Apiserver,
        }),
    };
    let text = install::kubeadm(&wanted).map_err(|error| Failure::usage(error.to_string()))?;
    print(text.as_bytes())
}
