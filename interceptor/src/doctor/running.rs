//! The interceptor that runs, by its metrics: whether changes come that nobody asked for through it.

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::report::{Check, Finding, Report, Severity};
use super::{PATIENCE, Subject, http};

/// So many changes without a call are no proof: calls are counted a little after their changes.
const NEGLIGIBLE: f64 = 20.0;
/// Nor is so small a share.
const NEGLIGIBLE_SHARE: f64 = 0.01;

/// Asks the interceptor that listens where this one would.
pub(super) async fn examine(subject: &Subject, report: &mut Report) {
    if subject.routes.is_empty() {
        return;
    }
    let address = subject.metrics_listen.as_str();
    let asking = async {
        let stream = TcpStream::connect(address).await?;
        http::get(stream, address, "/metrics").await
    };
    let page = match timeout(PATIENCE, asking).await {
        Ok(Ok(page)) if page.status == 200 => page,
        _ => {
            report.not_checked(
                Check::Path,
                format!(
                    "no interceptor serves metrics at {address}, so nothing is known of its traffic"
                ),
            );
            return;
        }
    };
    match Counts::read(&page.body) {
        None => report.not_checked(
            Check::Path,
            format!("what answers at {address} is no interceptor that both relays and records"),
        ),
        Some(counts) => past(address, counts, report),
    }
}

fn past(address: &str, counts: Counts, report: &mut Report) {
    let missing = counts.written - counts.committed;
    if missing <= NEGLIGIBLE.max(counts.written * NEGLIGIBLE_SHARE) {
        return;
    }
    let nobody = match counts.open > 0.0 {
        true => "",
        false => ", and no client is connected to its listeners",
    };
    report.find(Finding {
        severity: Severity::Warning,
        check: Check::Path,
        place: format!("the interceptor at {address}"),
        what: format!(
            "since it started, etcd made {} creates and updates, and only {} calls that changed \
             something came through it{nobody}: at least {missing} writes went past it",
            counts.written, counts.committed
        ),
        advice: "set --etcd-servers of every kube-apiserver to listeners of interceptors, each of \
                 which has its own listener and trace; other writers than kube-apiserver (etcdctl, \
                 another apiserver) look the same"
            .to_owned(),
    });
}

/// What the metrics say.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counts {
    /// Creates and updates. Deletes are left out: etcd deletes what expires by itself.
    written: f64,
    /// Calls seen that changed something. kube-apiserver changes one key with each.
    committed: f64,
    /// Connections that are open.
    open: f64,
}

impl Counts {
    /// Reads the metrics of an interceptor; `None` if they are not those of one that relays and
    /// records.
    fn read(text: &str) -> Option<Self> {
        let sum = |name: &str, label: &str| {
            let values = text.lines().filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let (found, labels) = series.split_once('{').unwrap_or((series, ""));
                (found == name && labels.contains(label)).then(|| value.parse::<f64>().ok())?
            });
            values.sum::<f64>()
        };
        let observes = text.contains("\ncascade_observer_open_calls ");
        let records = text.contains("\ncascade_ledger_connected 1");
        let changes = "cascade_ledger_changes_total";
        (observes && records).then(|| Self {
            written: sum(changes, "op=\"create\"") + sum(changes, "op=\"update\""),
            committed: sum("cascade_observer_calls_total", "outcome=\"committed\""),
            open: sum("cascade_relay_connections_open", ""),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_are_those_of_the_metrics() {
        let text = "# TYPE x counter\ncascade_observer_open_calls 0\ncascade_ledger_connected 1\n\
            cascade_ledger_changes_total{op=\"create\"} 3\ncascade_ledger_changes_total{op=\"update\"} 4\n\
            cascade_ledger_changes_total{op=\"delete\"} 50\n\
            cascade_observer_calls_total{outcome=\"committed\"} 5\n\
            cascade_observer_calls_total{outcome=\"conflict\"} 9\ncascade_relay_connections_open 2\n";
        assert_eq!(
            Counts::read(text),
            Some(Counts {
                written: 7.0,
                committed: 5.0,
                open: 2.0
            })
        );
        assert_eq!(Counts::read("cascade_ledger_connected 1\n"), None);
        assert_eq!(Counts::read(""), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = Counts::read(&text);
        }
    }
}
