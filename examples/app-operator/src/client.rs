//! The connection to kube-apiserver.

use anyhow::Context;
use cascade_cpid::ChangeContext;
use cascade_cpid::carriers::{CarrierError, KOC_ANNOTATION, koc};
use http::{HeaderValue, header};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use serde_json::{Value, json};
use tower::buffer::BufferLayer;

use crate::baggage::BaggageLayer;

/// How many requests may wait for a free connection.
const WAITING_REQUESTS: usize = 1024;

/// Connects as KUBECONFIG, `~/.kube/config` or the pod's service account says. Writes carry the CPID
/// of [`crate::baggage::with_cpid`]. `user_agent` is how traces of kube-apiserver name the writer.
///
/// # Errors
/// There is no configuration, or it is not valid.
pub(crate) async fn connect(user_agent: &str) -> anyhow::Result<Client> {
    let mut config = Config::infer()
        .await
        .context("no cluster is configured: set KUBECONFIG")?;
    let user_agent =
        HeaderValue::from_str(user_agent).context("the user agent is no header value")?;
    config.headers.push((header::USER_AGENT, user_agent));
    Ok(ClientBuilder::try_from(config)
        .context("the cluster's configuration cannot be used")?
        // The layer above needs a service that can be cloned.
        .with_layer(&BufferLayer::new(WAITING_REQUESTS))
        .with_layer(&BaggageLayer)
        .build())
}

/// Puts a CPID on an object that is to be applied.
///
/// # Errors
/// The context is not valid, which no result of a merge is.
pub(crate) fn annotate(object: &mut Value, context: &ChangeContext) -> Result<(), CarrierError> {
    object["metadata"]["annotations"][KOC_ANNOTATION] = json!(koc::write(context)?);
    Ok(())
}

/// Whether kube-apiserver refused a write because the object had changed meanwhile.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether kube-apiserver does not know the object.
pub(crate) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
