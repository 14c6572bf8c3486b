//! Connections, with TLS or without.

use std::path::{Path, PathBuf};

use anyhow::Context;
use etcd_client::Client;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// Certificates, all PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Of the authority that the server's certificate must be of.
    pub ca: PathBuf,
    /// Of the client.
    pub certificate: PathBuf,
    /// The client's private key.
    pub key: PathBuf,
}

/// A client with a connection of its own.
pub(super) async fn connect(endpoint: &str, tls: Option<&TlsFiles>) -> anyhow::Result<Client> {
    let mut channel = Endpoint::from_shared(endpoint.to_owned())
        .with_context(|| format!("{endpoint} is no URL"))?
        .tcp_nodelay(true)
        // As large as Go's, so that lists flow as they do to kube-apiserver.
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    if let Some(files) = tls {
        let identity = Identity::from_pem(read(&files.certificate)?, read(&files.key)?);
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(&files.ca)?))
            .identity(identity);
        channel = channel.tls_config(config).context("the certificates")?;
    }
    let channel = channel
        .connect()
        .await
        .with_context(|| format!("cannot connect to {endpoint}"))?;
    Ok(Client::from_channel(etcd_client::Channel::Tonic(channel), None).await?)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
