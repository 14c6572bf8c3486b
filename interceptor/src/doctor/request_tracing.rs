//! Whether kube-apiserver sends its spans here.

use std::fs;
use std::net::ToSocketAddrs;

use serde::Deserialize;

use super::Subject;
use super::report::{Check, Finding, Report, Severity};
use crate::apiserver::Apiserver;
use crate::run::ListenAddress;

/// Of a million requests.
const ALL: i64 = 1_000_000;
/// Where spans are received unless another address is given.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:4317";

/// What kube-apiserver's tracing is told (`TracingConfiguration`).
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct TracingConfiguration {
    /// `localhost:4317` if it is not there.
    endpoint: Option<String>,
    /// None if it is not there.
    sampling_rate_per_million: Option<i64>,
}

/// Looks at what each kube-apiserver is told.
pub(super) fn examine(subject: &Subject, apiservers: &[Apiserver], report: &mut Report) {
    if apiservers.is_empty() {
        report.not_checked(
            Check::RequestTracing,
            "no kube-apiserver is known (--apiserver-manifest FILE)",
        );
    }
    for apiserver in apiservers {
        let Some(path) = apiserver.flags.get("tracing-config-file") else {
            off(subject, apiserver, report);
            continue;
        };
        let content = apiserver.host_path(path).map(fs::read_to_string);
        let configuration = match content {
            Some(Ok(content)) => {
                serde_saphyr::from_str::<TracingConfiguration>(&content).map_err(|error| {
                    error
                        .to_string()
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                })
            }
            Some(Err(error)) => Err(error.to_string()),
            None => Err("no folder of the host is mounted there".to_owned()),
        };
        match configuration {
            Ok(configuration) => compare(subject, apiserver, &configuration, report),
            Err(error) => report.not_checked(
                Check::RequestTracing,
                format!(
                    "{}: --tracing-config-file {path}: {error}",
                    apiserver.origin
                ),
            ),
        }
    }
}

/// kube-apiserver sends no spans.
fn off(subject: &Subject, apiserver: &Apiserver, report: &mut Report) {
    let (severity, first) = match &subject.otlp_listen {
        Some(_) => (Severity::Warning, String::new()),
        None => (
            Severity::Hint,
            format!("start the interceptor with --otlp-listen {DEFAULT_ENDPOINT}; "),
        ),
    };
    report.find(Finding {
        severity,
        check: Check::RequestTracing,
        place: apiserver.origin.clone(),
        what: "kube-apiserver sends no spans, so the trace does not know the request behind a change: \
               which controller loop or user asked, and how long admission took"
            .to_owned(),
        advice: format!("{first}{}", switch_on(subject)),
    });
}

/// How spans are switched on.
fn switch_on(subject: &Subject) -> String {
    let endpoint = match &subject.otlp_listen {
        Some(listen) => listen.as_str(),
        None => DEFAULT_ENDPOINT,
    };
    format!(
        "give kube-apiserver --tracing-config-file=FILE (in a folder that its pod mounts) with\n\
         apiVersion: apiserver.config.k8s.io/v1beta1\n\
         kind: TracingConfiguration\n\
         endpoint: {endpoint}\n\
         samplingRatePerMillion: {ALL}\n\
         and the environment that docs/requests.md names"
    )
}

fn compare(
    subject: &Subject,
    apiserver: &Apiserver,
    configuration: &TracingConfiguration,
    report: &mut Report,
) {
    let mut find = |severity, what: String, advice: String| {
        report.find(Finding {
            severity,
            check: Check::RequestTracing,
            place: apiserver.origin.clone(),
            what,
            advice,
        });
    };
    let endpoint = configuration
        .endpoint
        .as_deref()
        .unwrap_or("localhost:4317");
    let Some(listen) = &subject.otlp_listen else {
        find(
            Severity::Hint,
            format!("kube-apiserver sends spans to {endpoint}, and the interceptor takes none"),
            "let it send them to --otlp-listen, or let a collector pass them on to there \
             (docs/requests.md)"
                .to_owned(),
        );
        return;
    };
    if !leads_to(endpoint, listen) {
        find(
            Severity::Warning,
            format!("kube-apiserver sends its spans to {endpoint}, not to --otlp-listen {listen}"),
            "nothing, if a collector passes them on without compression; otherwise set the endpoint \
             in its --tracing-config-file"
                .to_owned(),
        );
    }
    let rate = configuration.sampling_rate_per_million.unwrap_or(0);
    if rate < ALL {
        find(
            Severity::Warning,
            format!(
                "kube-apiserver samples {rate} of a million requests: the others have no request in the trace"
            ),
            format!("set samplingRatePerMillion: {ALL} in its --tracing-config-file"),
        );
    }
}

/// Whether spans sent to `endpoint` arrive at `listen`, as far as this host can tell.
fn leads_to(endpoint: &str, listen: &ListenAddress) -> bool {
    let addresses = |text: &str| {
        let addresses = text.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        addresses.unwrap_or_default()
    };
    let ours = addresses(listen.as_str());
    addresses(endpoint).iter().any(|theirs| {
        ours.iter().any(|ours| {
            let host = ours.ip() == theirs.ip() || ours.ip().is_unspecified();
            host && ours.port() == theirs.port()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_spans_go() {
        let listen = |text: &str| text.parse::<ListenAddress>().unwrap();
        assert!(leads_to("localhost:4317", &listen("127.0.0.1:4317")));
        assert!(leads_to("10.0.0.1:4317", &listen("0.0.0.0:4317")));
        assert!(!leads_to("127.0.0.1:4318", &listen("127.0.0.1:4317")));
        assert!(!leads_to("10.0.0.1:4317", &listen("127.0.0.1:4317")));
        assert!(!leads_to("nonsense", &listen("127.0.0.1:4317")));
    }

    #[test]
    fn a_tracing_configuration() {
        let read = |text: &str| serde_saphyr::from_str::<TracingConfiguration>(text).unwrap();
        let configuration = read(
            "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: TracingConfiguration\n\
             endpoint: 127.0.0.1:4317\nsamplingRatePerMillion: 1000000\n",
        );
        assert_eq!(configuration.endpoint.as_deref(), Some("127.0.0.1:4317"));
        assert_eq!(configuration.sampling_rate_per_million, Some(ALL));
        assert_eq!(read("kind: TracingConfiguration").endpoint, None);
    }
}
