//! What is of interest of one audit event (audit.k8s.io/v1).

use std::collections::HashMap;

use serde::Deserialize;

/// Longest list of groups that is kept.
const MAX_GROUPS: usize = 256;
/// Annotation with the decision of the authorizer.
const DECISION: &str = "authorization.k8s.io/decision";

/// Who made a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditEvent {
    /// Audit id; a client may choose it.
    pub audit_id: String,
    /// Path and query of the request.
    pub request_uri: Option<String>,
    /// User agent of the client.
    pub user_agent: Option<String>,
    /// Request received, nanoseconds since the Unix epoch, kube-apiserver's clock.
    pub received_unix_nano: Option<i64>,
    /// The authenticated user, not one that is impersonated.
    pub user: Option<String>,
    /// Groups of the user.
    pub groups: Option<Vec<String>>,
    /// First source address: the client's, when no proxy is trusted.
    pub source_ip: Option<String>,
    /// Decision of the authorizer: `allow` or `forbid`.
    pub decision: Option<String>,
}

/// Why a line is no audit event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not JSON, or not of the form of an event.
    #[error("not an audit event: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON of another kind.
    #[error("not an event of audit.k8s.io/v1")]
    Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    kind: String,
    api_version: String,
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: Option<String>,
    user: Option<User>,
    #[serde(rename = "sourceIPs")]
    source_ips: Option<Vec<String>>,
    user_agent: Option<String>,
    request_received_timestamp: Option<String>,
    annotations: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct User {
    username: Option<String>,
    groups: Option<Vec<String>>,
}

/// Reads a line. `None` for an event of an earlier stage of its request, which is told of again.
///
/// # Errors
/// [`EventError`] when it is no event.
pub fn read(line: &[u8]) -> Result<Option<AuditEvent>, EventError> {
    let line: Line = serde_json::from_slice(line)?;
    if line.kind != "Event" || line.api_version != "audit.k8s.io/v1" {
        return Err(EventError::Kind);
    }
    if !matches!(line.stage.as_str(), "ResponseComplete" | "Panic") {
        return Ok(None);
    }
    let (user, groups) = match line.user {
        Some(user) => (user.username, user.groups),
        None => (None, None),
    };
    let received = line.request_received_timestamp;
    Ok(Some(AuditEvent {
        audit_id: line.audit_id,
        request_uri: line.request_uri,
        user_agent: line.user_agent,
        received_unix_nano: received.as_deref().and_then(unix_nano),
        user,
        groups: groups.map(|mut groups| {
            groups.truncate(MAX_GROUPS);
            groups
        }),
        source_ip: line.source_ips.and_then(|ips| ips.into_iter().next()),
        decision: line
            .annotations
            .and_then(|mut annotations| annotations.remove(DECISION)),
    }))
}

fn unix_nano(timestamp: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(timestamp)
        .ok()?
        .timestamp_nanos_opt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse",
        "auditID":"cf26be89-631c-43b1-a4e3-72264777c6c3","stage":"ResponseComplete",
        "requestURI":"/apis/networking.k8s.io/v1/ipaddresses","verb":"create",
        "user":{"username":"system:apiserver","uid":"a9775c90","groups":["system:authenticated","system:masters"],"extra":{"a":["b"]}},
        "sourceIPs":["127.0.0.1","10.0.0.1"],"userAgent":"kube-apiserver/v1.34.4 (linux/amd64) kubernetes/unknown",
        "objectRef":{"resource":"ipaddresses","name":"10.96.0.1"},"responseStatus":{"metadata":{},"code":201},
        "requestObject":{"kind":"IPAddress"},"requestReceivedTimestamp":"2026-11-24T13:42:47.404221Z",
        "stageTimestamp":"2026-11-24T13:42:47.406520Z",
        "annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}"#;

    #[test]
    fn an_event_is_read() {
        let event = read(LINE.as_bytes()).unwrap().unwrap();
        assert_eq!(
            event,
            AuditEvent {
                audit_id: "cf26be89-631c-43b1-a4e3-72264777c6c3".into(),
                request_uri: Some("/apis/networking.k8s.io/v1/ipaddresses".into()),
                user_agent: Some("kube-apiserver/v1.34.4 (linux/amd64) kubernetes/unknown".into()),
                received_unix_nano: Some(1_795_527_767_404_221_000),
                user: Some("system:apiserver".into()),
                groups: Some(vec!["system:authenticated".into(), "system:masters".into()]),
                source_ip: Some("127.0.0.1".into()),
                decision: Some("allow".into()),
            }
        );
    }

    #[test]
    fn earlier_stages_are_passed_over() {
        let started = LINE.replace("ResponseComplete", "ResponseStarted");
        assert_eq!(read(started.as_bytes()).unwrap(), None);
        let panicked = LINE.replace("ResponseComplete", "Panic");
        assert!(read(panicked.as_bytes()).unwrap().is_some());
    }

    #[test]
    fn other_json_is_refused() {
        assert!(matches!(read(b"{}"), Err(EventError::Json(_))));
        assert!(matches!(read(b""), Err(EventError::Json(_))));
        let other = LINE.replace("audit.k8s.io/v1", "audit.k8s.io/v1beta1");
        assert!(matches!(read(other.as_bytes()), Err(EventError::Kind)));
    }

    #[test]
    fn what_is_missing_is_missing() {
        let line = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","stage":"ResponseComplete",
            "user":{},"sourceIPs":[],"annotations":null,"requestReceivedTimestamp":"soon"}"#;
        let expected = AuditEvent {
            audit_id: "a".into(),
            ..AuditEvent::default()
        };
        assert_eq!(read(line.as_bytes()).unwrap(), Some(expected));
    }

    proptest! {
        #[test]
        fn no_line_is_too_much(line in any::<Vec<u8>>()) {
            let _ = read(&line);
        }

        #[test]
        fn no_change_of_an_event_is_too_much(at in 0..LINE.len(), byte in any::<u8>()) {
            let mut line = LINE.as_bytes().to_vec();
            line[at] = byte;
            let _ = read(&line);
        }
    }
}
