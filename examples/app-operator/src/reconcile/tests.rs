//! Reconciles against an API that stores what is applied and can be told to refuse: conflicts come
//! as they are wanted only here. The real kube-apiserver is in `scripts/checks/app-operator`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Mutex;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use kube::runtime::watcher::Event;
use serde_json::Value;
use tower::{Layer, Service};

use super::*;
use crate::baggage::BaggageLayer;
use crate::report;

/// A write that arrived.
#[derive(Debug, Clone, PartialEq)]
struct Arrived {
    method: Method,
    path: String,
    baggage: Option<String>,
}

#[derive(Default)]
struct Stored {
    objects: BTreeMap<String, Value>,
    revision: u64,
    arrived: Vec<Arrived>,
    /// Paths whose next write is refused as a conflict.
    conflicts: Vec<String>,
}

/// As little of kube-apiserver as the operator uses.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<Stored>>);

impl Api {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let mut stored = self.0.lock().unwrap();
        let path = parts.uri.path().trim_end_matches("/status").to_owned();
        if parts.method != Method::GET {
            let baggage = parts.headers.get("baggage");
            let arrived = Arrived {
                method: parts.method.clone(),
                path: path.clone(),
                baggage: baggage.map(|value| value.to_str().unwrap().to_owned()),
            };
            stored.arrived.push(arrived);
            if let Some(index) = stored.conflicts.iter().position(|refused| *refused == path) {
                stored.conflicts.remove(index);
                return Ok(failure(StatusCode::CONFLICT, "Conflict"));
            }
        }
        let answer = match parts.method {
            Method::GET => stored.objects.get(&path).cloned(),
            Method::DELETE => stored.objects.remove(&path),
            _ => {
                stored.revision += 1;
                let revision = stored.revision;
                let object = stored.objects.entry(path).or_insert(Value::Null);
                merge_json(object, &serde_json::from_slice(&body).unwrap());
                object["metadata"]["resourceVersion"] = json!(revision.to_string());
                Some(object.clone())
            }
        };
        Ok(answer.map_or_else(
            || failure(StatusCode::NOT_FOUND, "NotFound"),
            |object| Response::new(Body::from(object.to_string().into_bytes())),
        ))
    }
}

impl Service<Request<Body>> for Api {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().answer(request).boxed()
    }
}

fn failure(code: StatusCode, reason: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
        "message": "test", "code": code.as_u16()});
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = code;
    response
}

fn merge_json(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge_json(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const APP: &str = "/apis/example.cascade.dev/v1/namespaces/demo/apps/shop";
const CONFIG_MAP: &str = "/api/v1/namespaces/demo/configmaps/shop";
const SERVICE: &str = "/api/v1/namespaces/demo/services/shop";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/demo/deployments/shop";

/// An operator, its API and its log.
struct Bench {
    operator: Arc<Operator>,
    api: Api,
    lines: Lines,
}

impl Bench {
    /// With an App that carries this CPID, and that the operator has seen.
    fn new(cpid: Option<&str>) -> Self {
        let (api, lines) = (Api::default(), Lines::default());
        let operator = Arc::new(Operator {
            client: Client::new(BaggageLayer.layer(api.clone()), "demo"),
            world: Arc::default(),
            log: WriteLog::to(Box::new(lines.clone())),
            reporter: report::start(None).0,
            keep_ancestors: 0,
        });
        let app = json!({
            "apiVersion": "example.cascade.dev/v1", "kind": "App",
            "metadata": {"name": "shop", "namespace": "demo", "uid": "u-1", "generation": 1, "resourceVersion": "0"},
            "spec": {"image": "shop:1", "port": 8080, "config": {"COLOUR": "red"}},
        });
        let bench = Self {
            operator,
            api,
            lines,
        };
        bench.edit(APP, &app);
        if let Some(cpid) = cpid {
            bench.annotate(APP, cpid);
        }
        bench.watch();
        bench
    }

    /// Changes a stored object, as somebody else.
    fn edit(&self, path: &str, patch: &Value) {
        let mut stored = self.api.0.lock().unwrap();
        stored.revision += 1;
        let revision = stored.revision.to_string();
        let object = stored.objects.entry(path.to_owned()).or_insert(Value::Null);
        merge_json(object, patch);
        object["metadata"]["resourceVersion"] = json!(revision);
    }

    /// Gives the App another image, as its user.
    fn set_image(&self) {
        let patch = json!({"spec": {"image": "shop:2"}, "metadata": {"generation": 2}});
        self.edit(APP, &patch);
    }

    /// Has the next write of an object meet a conflict.
    fn refuse_once(&self, path: &str) {
        self.api.0.lock().unwrap().conflicts.push(path.to_owned());
    }

    fn annotate(&self, path: &str, cpid: &str) {
        let context = ChangeContext {
            cpid: cpid.to_owned(),
            ancestors: Vec::new(),
        };
        let mut patch = json!({});
        annotate(&mut patch, &context).unwrap();
        self.edit(path, &patch);
    }

    fn stored(&self, path: &str) -> Option<Value> {
        self.api.0.lock().unwrap().objects.get(path).cloned()
    }

    /// The watches deliver what is stored now.
    fn watch(&self) {
        self.deliver::<App>(APP);
        self.deliver::<ConfigMap>(CONFIG_MAP);
        self.deliver::<k8s_openapi::api::core::v1::Service>(SERVICE);
        self.deliver::<k8s_openapi::api::apps::v1::Deployment>(DEPLOYMENT);
    }

    fn deliver<K: crate::world::Watched + DeserializeOwned>(&self, path: &str) {
        let world = &self.operator.world;
        match self.stored(path) {
            Some(object) => {
                world.record::<K>(&Event::Apply(serde_json::from_value(object).unwrap()))
            }
            // The deletion's event has the object as it last was; here the next list shows it.
            None => {
                world.record::<K>(&Event::Init);
                world.record::<K>(&Event::InitDone)
            }
        };
    }

    /// One reconcile, and the writes that it sent.
    async fn reconcile(&self) -> (Result<Action, ReconcileError>, Vec<Arrived>) {
        self.api.0.lock().unwrap().arrived.clear();
        let app = serde_json::from_value(self.stored(APP).unwrap()).unwrap();
        let result = reconcile(Arc::new(app), Arc::clone(&self.operator)).await;
        (result, self.api.0.lock().unwrap().arrived.clone())
    }

    fn merges(&self) -> usize {
        let text = self.lines.0.lock().unwrap().clone();
        String::from_utf8(text)
            .unwrap()
            .matches(r#""event":"merge""#)
            .count()
    }

    /// The log since it was last asked for: of each write its verb and kind, what it came of, and what that overtook.
    fn logged(&self) -> Vec<(String, Vec<String>, Vec<String>)> {
        let text = std::mem::take(&mut *self.lines.0.lock().unwrap());
        let texts = |value: &Value| -> Vec<String> {
            let values = value.as_array().unwrap().iter();
            values
                .map(|value| value.as_str().unwrap().to_owned())
                .collect()
        };
        let lines = String::from_utf8(text).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["event"] == "write")
            .map(|line| {
                let what = format!(
                    "{} {}",
                    line["verb"].as_str().unwrap(),
                    line["kind"].as_str().unwrap()
                );
                (what, texts(&line["triggers"]), texts(&line["overtaken"]))
            })
            .collect()
    }

    /// The revision that an object has now.
    fn revision(&self, path: &str) -> String {
        let object = self.stored(path).unwrap();
        object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn cpid(&self, path: &str) -> Option<String> {
        let object = self.stored(path)?;
        let text = object["metadata"]["annotations"][KOC_ANNOTATION].as_str()?;
        Some(koc::read(text).unwrap().unwrap().cpid)
    }
}

fn paths(arrived: &[Arrived]) -> Vec<&str> {
    arrived.iter().map(|write| write.path.as_str()).collect()
}

#[tokio::test]
async fn everything_is_created_with_the_apps_cpid_and_then_nothing_is_written() {
    let bench = Bench::new(Some("root"));
    let (result, arrived) = bench.reconcile().await;
    result.unwrap();
    // Finalizer, owned objects, status.
    assert_eq!(paths(&arrived), [APP, CONFIG_MAP, SERVICE, DEPLOYMENT, APP]);
    assert!(
        arrived
            .iter()
            .all(|write| write.baggage.as_deref() == Some("cpid=root"))
    );
    for path in [CONFIG_MAP, SERVICE, DEPLOYMENT] {
        assert_eq!(bench.cpid(path).as_deref(), Some("root"));
    }
    bench.watch();
    let (result, arrived) = bench.reconcile().await;
    result.unwrap();
    assert_eq!(arrived, []);
}

#[tokio::test]
async fn a_cpid_alone_is_not_written() {
    let bench = Bench::new(Some("root"));
    bench.reconcile().await.0.unwrap();
    bench.watch();
    bench.annotate(APP, "other");
    bench.watch();
    assert_eq!(bench.reconcile().await.1, []);
    assert_eq!(
        (bench.cpid(DEPLOYMENT).as_deref(), bench.merges()),
        (Some("root"), 0)
    );
}

#[tokio::test]
async fn an_untraced_app_gets_no_cpid() {
    let bench = Bench::new(None);
    let (result, arrived) = bench.reconcile().await;
    result.unwrap();
    assert_eq!(arrived.len(), 5);
    assert!(arrived.iter().all(|write| write.baggage.is_none()));
    assert_eq!(bench.cpid(DEPLOYMENT), None);
}

/// No ancestors are kept, so nothing but the operator's memory tells the retry what the CPID that it
/// made covers.
#[tokio::test]
async fn a_conflict_is_retried_with_the_same_cpid_and_one_mergelog() {
    let bench = Bench::new(Some("root"));
    bench.reconcile().await.0.unwrap();
    bench.watch();
    bench.reconcile().await.0.unwrap();

    bench.annotate(CONFIG_MAP, "entry");
    bench.edit(CONFIG_MAP, &json!({"data": {"ADDED": "1"}}));
    bench.annotate(APP, "image");
    bench.set_image();
    bench.watch();
    bench.refuse_once(DEPLOYMENT);
    let (result, refused) = bench.reconcile().await;
    assert!(
        matches!(&result, Err(ReconcileError::Kube(error)) if is_conflict(error)),
        "{result:?}"
    );
    assert_eq!(bench.cpid(DEPLOYMENT).as_deref(), Some("root"));

    let (result, arrived) = bench.reconcile().await;
    result.unwrap();
    let made = bench.cpid(DEPLOYMENT).unwrap();
    assert!(!["root", "entry", "image"].contains(&made.as_str()));
    for write in refused.iter().chain(&arrived) {
        assert_eq!(write.baggage, Some(format!("cpid={made}")));
    }
    assert_eq!(bench.merges(), 1);
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_not_taken() {
    let bench = Bench::new(Some("root"));
    let foreign = json!({"metadata": {"name": "shop", "namespace": "demo", "uid": "u-9"}, "data": {"A": "1"}});
    bench.edit(CONFIG_MAP, &foreign);
    let (result, arrived) = bench.reconcile().await;
    assert!(
        matches!(result, Err(ReconcileError::NotOurs { .. })),
        "{result:?}"
    );
    assert_eq!(paths(&arrived), [APP], "the finalizer");
    assert_eq!(bench.stored(CONFIG_MAP).unwrap()["data"], json!({"A": "1"}));
}

#[tokio::test]
async fn a_deleted_app_goes_after_what_it_owned() {
    let bench = Bench::new(Some("root"));
    bench.reconcile().await.0.unwrap();
    bench.edit(
        APP,
        &json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}),
    );
    bench.watch();
    let (result, arrived) = bench.reconcile().await;
    result.unwrap();
    assert_eq!(paths(&arrived), [DEPLOYMENT, SERVICE, CONFIG_MAP]);
    assert!(arrived.iter().all(|write| write.method == Method::DELETE));
    assert!(
        arrived
            .iter()
            .all(|write| write.baggage.as_deref() == Some("cpid=root"))
    );

    bench.watch();
    let (result, arrived) = bench.reconcile().await;
    result.unwrap();
    assert_eq!(paths(&arrived), [APP]);
    assert_eq!(
        bench.stored(APP).unwrap()["metadata"]["finalizers"],
        json!([])
    );
}

/// A write of the log that came of these revisions, and overtook none.
fn because_of(what: &str, triggers: &[&String]) -> (String, Vec<String>, Vec<String>) {
    let triggers = triggers.iter().map(|trigger| (*trigger).clone()).collect();
    (what.to_owned(), triggers, Vec::new())
}

#[tokio::test]
async fn the_log_says_which_versions_each_write_came_of() {
    let bench = Bench::new(None);
    let created = bench.revision(APP);
    bench.reconcile().await.0.unwrap();
    let expected = [
        "finalizer App",
        "apply ConfigMap",
        "apply Service",
        "apply Deployment",
        "status App",
    ];
    assert_eq!(
        bench.logged(),
        expected.map(|what| because_of(what, &[&created]))
    );
    bench.watch();
    bench.reconcile().await.0.unwrap();

    // Three changes meet: of the App, of its ConfigMap, and one of the Service that asks for nothing.
    bench.edit(CONFIG_MAP, &json!({"data": {"COLOUR": "blue"}}));
    let by_hand = bench.revision(CONFIG_MAP);
    bench.set_image();
    let image = bench.revision(APP);
    bench.edit(SERVICE, &json!({"metadata": {"labels": {"note": "hello"}}}));
    bench.watch();
    bench.reconcile().await.0.unwrap();
    assert_eq!(
        bench.logged(),
        [
            because_of("apply ConfigMap", &[&by_hand]),
            because_of("apply Deployment", &[&image]),
            because_of("status App", &[&image]),
        ]
    );
}

#[tokio::test]
async fn a_newer_version_of_an_object_overtakes_an_older_one() {
    let bench = Bench::new(None);
    bench.reconcile().await.0.unwrap();
    bench.watch();
    bench.reconcile().await.0.unwrap();
    bench.logged();
    let ready = |count: i32| json!({"status": {"readyReplicas": count}});
    bench.edit(DEPLOYMENT, &ready(1));
    let first = bench.revision(DEPLOYMENT);
    bench.watch();
    bench.edit(DEPLOYMENT, &ready(2));
    let second = bench.revision(DEPLOYMENT);
    bench.watch();
    // Says nothing that the status tells.
    bench.edit(
        DEPLOYMENT,
        &json!({"metadata": {"labels": {"note": "hello"}}}),
    );
    bench.watch();
    bench.reconcile().await.0.unwrap();
    let expected = ("status App".to_owned(), vec![second], vec![first]);
    assert_eq!(bench.logged(), [expected]);
}

#[tokio::test]
async fn a_retry_still_knows_what_it_came_of() {
    let bench = Bench::new(None);
    bench.reconcile().await.0.unwrap();
    bench.watch();
    bench.reconcile().await.0.unwrap();
    bench.logged();
    bench.set_image();
    let image = bench.revision(APP);
    bench.watch();
    bench.refuse_once(DEPLOYMENT);
    bench.reconcile().await.0.unwrap_err();
    bench.reconcile().await.0.unwrap();
    assert_eq!(
        bench.logged(),
        [
            because_of("apply Deployment", &[&image]),
            because_of("status App", &[&image])
        ]
    );
}
