//! The operator: watches, reconciles, until it is asked to stop.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::runtime::controller::ReconcileRequest;
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, applier, controller};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};

use crate::client;
use crate::desired::OWNED_SELECTOR;
use crate::reconcile::{Operator, reconcile, retry};
use crate::report::{self, Reporter};
use crate::resource::App;
use crate::world::{Watched, World};
use crate::write_log::WriteLog;

/// How to run. See the flags of `app-operator run`.
pub(crate) struct RunConfig {
    pub(crate) namespace: Option<String>,
    pub(crate) keep_ancestors: usize,
    pub(crate) mergelog_url: Option<String>,
    pub(crate) log: WriteLog,
    pub(crate) debounce: Duration,
    pub(crate) flush_timeout: Duration,
}

/// Runs until SIGTERM or SIGINT, then ends the reconciles under way and delivers what waits for the
/// trace server.
///
/// # Errors
/// There is no cluster to connect to, or records for the trace server were lost.
pub(crate) async fn run(config: RunConfig) -> anyhow::Result<()> {
    let client = client::connect(concat!("app-operator/", env!("CARGO_PKG_VERSION"))).await?;
    let server = config
        .mergelog_url
        .as_deref()
        .map(report::trace_server)
        .transpose()?;
    let (reporter, delivery) = report::start(server);
    let stop = stop_signal()?;
    serve(
        &config.namespace,
        client,
        reporter,
        config.log,
        config.keep_ancestors,
        config.debounce,
        stop,
    )
    .await;
    let lost = delivery.finish(config.flush_timeout).await;
    anyhow::ensure!(
        lost == 0,
        "{lost} records for the trace server were lost; each is in the log"
    );
    tracing::info!("stopped");
    Ok(())
}

async fn serve(
    namespace: &Option<String>,
    client: Client,
    reporter: Reporter,
    log: WriteLog,
    keep_ancestors: usize,
    debounce: Duration,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let operator = Arc::new(Operator {
        client: client.clone(),
        world: Arc::new(World::default()),
        log,
        reporter,
        keep_ancestors,
    });
    // What kube needs to know which Apps there are. The objects that count are in the World, which
    // has always taken in an event before.
    let (apps, mut writer) = store::<App>();
    let owned = watcher::Config::default().labels(OWNED_SELECTOR);
    let requests = stream::select_all([
        requests::<App>(
            api(&client, namespace),
            watcher::Config::default(),
            &operator,
            move |event| {
                writer.apply_watcher_event(event);
            },
        ),
        requests::<ConfigMap>(api(&client, namespace), owned.clone(), &operator, |_| ()),
        requests::<Service>(api(&client, namespace), owned.clone(), &operator, |_| ()),
        requests::<Deployment>(api(&client, namespace), owned, &operator, |_| ()),
    ]);
    // Changes that come within a moment meet in one reconcile.
    let schedule = controller::Config::default().debounce(debounce);
    tracing::info!(keep_ancestors, "watching");
    applier(
        |app, operator| reconcile(app, operator).boxed(),
        retry,
        operator,
        apps,
        requests.take_until(Box::pin(stop)),
        schedule,
    )
    .for_each(|result| async move {
        match result {
            Ok((app, _)) => tracing::debug!(%app, "reconciled"),
            // Events of what an App had owned, after the App itself.
            Err(controller::Error::ObjectNotFound(app)) => tracing::debug!(%app, "is gone"),
            Err(error) => tracing::warn!(%error, "will try again"),
        }
    })
    .await;
}

fn api<K>(client: &Client, namespace: &Option<String>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

type Requests = BoxStream<'static, Result<ReconcileRequest<App>, watcher::Error>>;

/// Watches one kind. Every event goes to the [`World`], then to `then`, and only then does it ask
/// for a reconcile.
fn requests<K>(
    api: Api<K>,
    config: watcher::Config,
    operator: &Arc<Operator>,
    mut then: impl FnMut(&Event<K>) + Send + 'static,
) -> Requests
where
    K: Watched + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let operator = Arc::clone(operator);
    watcher(api, config)
        .default_backoff()
        .map_ok(move |event| {
            if let Event::Delete(object) = &event {
                operator.log.gone(&K::kind(&()), object);
            }
            let keys = operator.world.record(&event);
            then(&event);
            let requests = keys.into_iter().map(|key| {
                Ok(ReconcileRequest::from(
                    ObjectRef::<App>::new(&key.name).within(&key.namespace),
                ))
            });
            stream::iter(requests)
        })
        .try_flatten()
        .boxed()
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}
