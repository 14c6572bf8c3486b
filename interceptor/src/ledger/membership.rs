//! Which cluster a member belongs to.

use etcd_client::Client;

use super::cluster_id_text;
use super::config::ConnectSettings;
use super::connection::reason;

/// Asks the member at a URL for its cluster, as tables have it. Needs neither a leader nor a user.
///
/// # Errors
/// What went wrong, as text: the member does not answer in time, or not at all.
pub async fn cluster_id(endpoint: &str, settings: &ConnectSettings) -> Result<String, String> {
    let asking = async {
        let channel = settings
            .channel(endpoint)
            .map_err(|error| error.to_string())?;
        let channel = etcd_client::Channel::Tonic(channel);
        let client = Client::from_channel(channel, None).await;
        let mut client = client.map_err(|error| reason(&error))?;
        let status = client.status().await.map_err(|error| reason(&error))?;
        let header = status.header().ok_or("the answer has no header")?;
        Ok(cluster_id_text(header.cluster_id()))
    };
    let answered = tokio::time::timeout(settings.call_timeout, asking).await;
    answered.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}
