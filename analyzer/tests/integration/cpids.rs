//! What became of CPIDs: transitions, reports, and the graph of mergelogs.

use cascade_proto::tables::{Change, Object, Owner, Writer};

use crate::catalog::{open, rows};
use crate::program::cascade as cascade_program;
use crate::support::{
    Random, TraceFolder, call, carrying, change, delete, mergelog, state, update, without_cpid,
};

/// An object of a kind, written by a field manager.
pub(crate) fn by(mut change: Change, kind: &str, manager: &str) -> Change {
    let api_group = match kind {
        "Deployment" | "ReplicaSet" => "apps",
        "App" => "example.io",
        _ => "",
    };
    change.object = Object {
        api_group: Some(api_group.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some("shop".to_owned()),
        name: Some("web".to_owned()),
        uid: Some(format!("uid-{kind}")),
        writers: Some(vec![Writer {
            manager: manager.to_owned(),
            operation: "Update".to_owned(),
            subresource: None,
            time: None,
        }]),
        ..Object::default()
    };
    change
}

/// The same, owned by an object of a kind.
pub(crate) fn owned_by(mut change: Change, kind: &str) -> Change {
    change.object.owners = Some(vec![Owner {
        kind: kind.to_owned(),
        name: "web".to_owned(),
        uid: format!("uid-{kind}"),
        controller: true,
        ..Owner::default()
    }]);
    change
}

/// An App is applied with CPID `x`, an operator that reports mergelogs carries it to a Deployment, whose
/// ReplicaSet gets it by a copy; then a second change `y` of the App meets the first one.
pub(crate) fn cascade() -> TraceFolder {
    const KCM: &str = "kube-controller-manager";
    let app = carrying(by(change(10, "app"), "App", "kubectl"), None, "x");
    let deployment = by(change(11, "deployment"), "Deployment", "app-operator");
    let deployment = owned_by(carrying(deployment, None, "x"), "App");
    let replica_set = carrying(by(change(12, "rs"), "ReplicaSet", KCM), None, "x");
    let replica_set = owned_by(replica_set, "Deployment");
    let pod = owned_by(by(change(13, "pod"), "Pod", KCM), "ReplicaSet");
    let status = by(update(14, &deployment), "Deployment", KCM);
    let status = owned_by(carrying(status, Some("x"), "x"), "App");
    let again = by(update(15, &status), "Deployment", "app-operator");
    let again = owned_by(carrying(again, Some("x"), "x"), "App");
    let second = carrying(by(update(16, &app), "App", "kubectl"), Some("x"), "y");
    let merged = by(update(17, &again), "Deployment", "app-operator");
    let merged = owned_by(carrying(merged, Some("x"), "z"), "App");
    let dropped = without_cpid(by(update(18, &replica_set), "ReplicaSet", "janitor"), "x");
    let deleted = without_cpid(by(delete(19, &merged), "Deployment", "app-operator"), "z");
    let ended = without_cpid(by(delete(20, &second), "App", "kubectl"), "y");
    let on_call = by(change(21, "config"), "ConfigMap", "curl");
    let mut called = call(&deleted);
    called.cpid = Some("z".to_owned());
    let mut sent = call(&on_call);
    sent.cpid = Some("w".to_owned());
    let mut trace = TraceFolder::new();
    trace.write(&[
        app,
        deployment,
        replica_set,
        pod,
        status,
        again,
        second,
        merged,
        dropped,
        deleted,
        ended,
        on_call,
    ]);
    trace.write(&[called, sent]);
    trace.write(&[
        mergelog(10, "x", &[], "kubectl-trace"),
        mergelog(16, "y", &[], "kubectl-trace"),
        mergelog(17, "z", &["y", "x"], "app-operator"),
        mergelog(17, "z", &["x", "y"], "app-operator"),
    ]);
    trace
}

#[tokio::test]
async fn transitions_and_reports_use_the_whole_trace() {
    let trace = cascade();
    let session = open(&[&trace]).await;
    let query =
        "SELECT revision, kind, cpid_transition, cpid_reported FROM changes ORDER BY revision";
    let expected = [
        "10|App|start|x",
        "11|Deployment|adopt|x",
        // Copied by a controller that knows nothing of CPIDs.
        "12|ReplicaSet|adopt|",
        "13|Pod||",
        // Kept by the same.
        "14|Deployment|carry|",
        // Kept by an operator that reports mergelogs: it says so.
        "15|Deployment|carry|x",
        "16|App|replace|y",
        // Its ancestor list does not name x, the mergelog does.
        "17|Deployment|merge|z",
        "18|ReplicaSet|drop|",
        "19|Deployment|end|z",
        "20|App|end|",
        "21|ConfigMap||w",
    ];
    assert_eq!(rows(&session, query).await, expected);
    let raw = "SELECT revision, cpid_transition FROM raw.changes WHERE revision IN (10, 11, 17) \
        ORDER BY revision";
    assert_eq!(
        rows(&session, raw).await,
        ["10|set", "11|set", "17|replace"]
    );
    let merges = "SELECT new_cpid, source_cpids, revision, ordinal, origin FROM merges WHERE origin = 'reported'";
    assert_eq!(rows(&session, merges).await, ["z|[x, y]|17|0|reported"]);
}

#[tokio::test]
async fn a_merge_may_be_several_mergelogs_away() {
    let first = carrying(by(change(10, "app"), "App", "kubectl"), None, "a");
    let merged = carrying(by(update(11, &first), "App", "operator"), Some("a"), "n");
    let foreign = carrying(by(update(12, &merged), "App", "operator"), Some("n"), "o");
    let mut trace = TraceFolder::new();
    trace.write(&[first, merged, foreign]);
    trace.write(&[
        mergelog(10, "m", &["a", "b"], "other"),
        mergelog(11, "n", &["m", "c"], "operator"),
        mergelog(12, "o", &["m", "b"], "operator"),
    ]);
    let session = open(&[&trace]).await;
    let query = "SELECT revision, cpid_transition FROM changes ORDER BY revision";
    let expected = ["10|start", "11|merge", "12|replace"];
    assert_eq!(rows(&session, query).await, expected);
}

#[tokio::test]
async fn a_cpid_from_before_the_trace_is_adopted() {
    let before = carrying(by(change(5, "app"), "App", "kubectl"), None, "x");
    let adopted = carrying(
        by(change(11, "deployment"), "Deployment", "operator"),
        None,
        "x",
    );
    let started = carrying(by(change(12, "other"), "Deployment", "operator"), None, "n");
    let mut trace = TraceFolder::new();
    trace.write(&[state(10, &before)]);
    trace.write(&[adopted, started]);
    let session = open(&[&trace]).await;
    let query = "SELECT revision, cpid_transition FROM changes ORDER BY revision";
    assert_eq!(rows(&session, query).await, ["11|adopt", "12|start"]);
}

/// `Test_descendantCPIDs` of the trace server of arXiv:2411.01336.
#[tokio::test]
async fn the_authors_fixture_for_descendants() {
    let logs: [(&str, &[&str]); 13] = [
        ("1", &[]),
        ("2", &[]),
        ("3", &["1", "2"]),
        ("4", &[]),
        ("5", &["2", "4"]),
        ("6", &["3", "5"]),
        ("7", &[]),
        ("8", &["3", "7"]),
        ("9", &[]),
        ("10", &[]),
        ("11", &["9", "10"]),
        ("12", &[]),
        ("13", &[]),
    ];
    let mut trace = TraceFolder::new();
    let logs: Vec<_> = logs
        .iter()
        .enumerate()
        .map(|(millis, (made, sources))| {
            mergelog(i64::try_from(millis).unwrap(), made, sources, "test")
        })
        .collect();
    trace.write(&logs);
    let session = open(&[&trace]).await;
    for (cpid, expected) in [
        ("1", vec!["1|0", "3|1", "6|2", "8|2"]),
        ("2", vec!["2|0", "3|1", "5|1", "6|2", "8|2"]),
        ("4", vec!["4|0", "5|1", "6|2"]),
        ("7", vec!["7|0", "8|1"]),
        ("12", vec!["12|0"]),
    ] {
        let query = format!("SELECT cpid, depth FROM descendants('{cpid}')");
        assert_eq!(rows(&session, &query).await, expected, "{cpid}");
    }
    let ancestors = rows(&session, "SELECT cpid, depth FROM ancestors('6')").await;
    assert_eq!(ancestors, ["6|0", "3|1", "5|1", "1|2", "2|2", "4|2"]);
    // As part of a larger query, with an argument that is computed.
    let query = "SELECT count(*) FROM mergelogs AS m JOIN descendants(concat('', '2')) AS d \
        ON d.cpid = m.new_cpid WHERE d.depth > 0";
    assert_eq!(rows(&session, query).await, ["4"]);
    for wrong in ["descendants()", "descendants('a', 'b')", "ancestors(1)"] {
        let query = format!("SELECT * FROM {wrong}");
        let error = session.query(&query).await.unwrap_err().to_string();
        assert!(error.contains("CPID"), "{wrong}: {error}");
    }
}

/// The functions against a recursive query over the raw table.
#[tokio::test]
async fn the_functions_agree_with_a_recursive_query() {
    let mut random = Random::new(23);
    let mut logs = Vec::new();
    for made in 0..120_u64 {
        let sources: Vec<String> = (0..random.below(4))
            .map(|_| format!("c{}", random.below(made + 1)))
            .filter(|source| *source != format!("c{made}"))
            .collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        logs.push(mergelog(
            i64::try_from(random.below(1_000)).unwrap(),
            &format!("c{made}"),
            &sources,
            "test",
        ));
    }
    let mut trace = TraceFolder::new();
    trace.write(&logs);
    let session = open(&[&trace]).await;
    for start in (0..120).step_by(17) {
        for (function, from, to) in [
            ("descendants", "source", "new_cpid"),
            ("ancestors", "new_cpid", "source"),
        ] {
            let oracle = format!(
                "WITH RECURSIVE edges AS (
                    SELECT new_cpid, unnest(source_cpids) AS source FROM raw.mergelogs
                ), found AS (
                    SELECT 'c{start}' AS cpid, 0 AS depth
                    UNION
                    SELECT edges.{to}, found.depth + 1 FROM found JOIN edges ON edges.{from} = found.cpid
                    WHERE found.depth < 20
                )
                SELECT cpid, min(depth) AS depth FROM found GROUP BY cpid ORDER BY depth, cpid"
            );
            let ours =
                format!("SELECT cpid, depth FROM {function}('c{start}') ORDER BY depth, cpid");
            assert_eq!(
                rows(&session, &ours).await,
                rows(&session, &oracle).await,
                "{function} of c{start}"
            );
        }
    }
}

#[tokio::test]
async fn mergelogs_that_break_the_rules_are_named_and_followed() {
    let mut trace = TraceFolder::new();
    trace.write(&[
        mergelog(1, "twice", &["a", "b"], "test"),
        mergelog(2, "twice", &["a", "c"], "test"),
        mergelog(3, "one", &["a"], "test"),
        mergelog(4, "k", &["l", "a"], "test"),
        mergelog(5, "l", &["k", "a"], "test"),
        mergelog(6, "", &["a", "b"], "test"),
    ]);
    let session = open(&[&trace]).await;
    let query = "SELECT rule, cpids FROM mergelog_violations ORDER BY rule";
    let expected = [
        "cycle|[k, l]",
        "made_twice|[twice]",
        "no_cpid|[]",
        "one_source|[one]",
    ];
    assert_eq!(rows(&session, query).await, expected);
    let query = "SELECT cpid FROM descendants('k') ORDER BY cpid";
    assert_eq!(rows(&session, query).await, ["k", "l"]);
}

#[tokio::test]
async fn reported_cpids_are_compared_with_the_causes_that_are_found() {
    const KCM: &str = "kube-controller-manager";
    let of_app = |revision: i64, kind: &str, manager: &str| {
        let key = kind.to_lowercase();
        owned_by(by(change(revision, &key), kind, manager), "App")
    };
    let app = carrying(by(change(10, "app"), "App", "kubectl"), None, "x");
    let config = carrying(of_app(20, "ConfigMap", "app-operator"), None, "x");
    let deployment = carrying(of_app(21, "Deployment", "app-operator"), None, "x");
    let replica_set = by(change(30, "rs"), "ReplicaSet", KCM);
    let replica_set = owned_by(replica_set, "Deployment");
    let foreign = carrying(of_app(40, "Secret", "other-operator"), None, "elsewhere");
    let merged = carrying(of_app(41, "Job", "app-operator"), None, "z");
    let alone = by(change(5_000, "alone"), "Service", "kubectl");
    let mut trace = TraceFolder::new();
    trace.write(&[app, config, deployment, replica_set, foreign, merged, alone]);
    trace.write(&[mergelog(41, "z", &["x", "y"], "app-operator")]);
    let session = open(&[&trace]).await;
    let query =
        "SELECT revision, cpid_reported, reported_roots, derived_roots, verdict FROM cpid_agreement
        ORDER BY revision";
    let expected = [
        "20|x|[x]|[x]|agrees",
        "21|x|[x]|[x]|agrees",
        "30||[]|[x]|missing",
        "40|elsewhere|[elsewhere]|[x]|contradicts",
        "41|z|[x, y]|[x]|partly",
    ];
    assert_eq!(rows(&session, query).await, expected);
    let derived = "SELECT count(*) FROM cpid_agreement a JOIN cpids c USING (cluster_id, epoch, revision, ordinal)
        WHERE a.cpid_derived = c.cpid";
    assert_eq!(rows(&session, derived).await, ["5"]);

    let answer = cascade_program(&["report", &trace.argument(), "--section", "coverage"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    for text in [
        "2 of 4 changes (50.00 %) that something set off and that report a CPID name the same roots",
        "1 more report none",
    ] {
        assert!(answer.stdout.contains(text), "{text}\n{}", answer.stdout);
    }
}

/// Other keys have other text; the columns beside it stay where they belong, whatever is filtered.
#[tokio::test]
async fn every_change_has_one_cpid_and_its_key() {
    let trace = cascade();
    let session = open(&[&trace]).await;
    let query = "SELECT c.revision, c.key, p.key, p.origin, p.root_count > 0, p.cpid <> '' FROM raw.changes c
        JOIN cpids p USING (cluster_id, epoch, revision, ordinal) WHERE c.key <> p.key OR p.root_count = 0";
    assert_eq!(rows(&session, query).await, [""; 0]);
    assert_eq!(rows(&session, "SELECT count(*) FROM cpids").await, ["12"]);
    let all = rows(
        &session,
        "SELECT revision, key, cpid, is_root FROM cpids ORDER BY revision",
    )
    .await;
    let of_app: Vec<String> = all
        .into_iter()
        .filter(|row| row.contains("|app|"))
        .collect();
    let filtered =
        "SELECT revision, key, cpid, is_root FROM cpids WHERE key = 'app' ORDER BY revision";
    assert_eq!(rows(&session, filtered).await, of_app);
    assert_eq!(of_app.len(), 3);
    let only_derived = "SELECT count(DISTINCT cpid) > 1 FROM cpids WHERE is_root";
    assert_eq!(rows(&session, only_derived).await, ["true"]);
}
