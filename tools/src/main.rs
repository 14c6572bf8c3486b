//! `cascade-tools`: record and replay what goes between kube-apiserver and etcd.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use cascade_tools::capture::capture;
use cascade_tools::extract::extract_calls;
use cascade_tools::fuzz::write_seeds;
use cascade_tools::generate::{GenerateOptions, generate};
use cascade_tools::load::{LoadKind, LoadOptions, TlsFiles, load};
use cascade_tools::otlp_load::{OtlpLoadOptions, Templates, otlp_load};
use cascade_tools::recording::{Chunk, RecordedCall, RecordingReader, RecordingWriter};
use cascade_tools::replay::{ReplayOptions, replay};
use cascade_tools::truth::watch_all;
use clap::{Parser, Subcommand};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Record and replay what goes between kube-apiserver and etcd.
#[derive(Parser)]
#[command(name = "cascade-tools", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Relay connections to an empty etcd and keep every byte, until SIGTERM or SIGINT.
    ///
    /// Writes FOLDER/connections.zst (bytes in both directions, with times) and FOLDER/calls.zst
    /// (every mutating call in commit order), and fails if a revision was made by neither a
    /// recorded call nor the expiry of a lease.
    ///
    /// Example: cascade-tools record --listen 127.0.0.1:2479 --etcd 127.0.0.1:2379 --output recording
    Record {
        /// Address to accept connections on.
        #[arg(long)]
        listen: SocketAddr,
        /// Address of etcd's client port, without TLS.
        #[arg(long)]
        etcd: SocketAddr,
        /// Folder to write; created if missing.
        #[arg(long)]
        output: PathBuf,
    },
    /// Send a recording's mutating calls into an empty etcd, one after the other.
    ///
    /// Ends with an error at the first answer whose revision is not the recorded one.
    ///
    /// Example: cascade-tools replay --calls testdata/rollout/calls.zst --etcd http://127.0.0.1:2379
    Replay {
        /// The recording.
        #[arg(long)]
        calls: PathBuf,
        /// Where to send it: etcd, or an interceptor in front of it.
        #[arg(long)]
        etcd: String,
        /// How many times faster than recorded; `inf` sends without pauses.
        #[arg(long, default_value_t = 1.0)]
        speed: f64,
    },
    /// Update keys as kube-apiserver does, or list or watch, as fast as the answers come or at a given
    /// rate, and print what was measured as a JSON object.
    ///
    /// Examples: cascade-tools load --etcd http://127.0.0.1:2379 --connections 8 --workers 64
    /// cascade-tools load --etcd http://127.0.0.1:2379 --connections 8 --workers 64 --rate 5000
    Load(LoadArguments),
    /// Relay connections byte by byte and nothing else, until it is killed: what any proxy costs.
    ///
    /// Example: cascade-tools tcp-relay --listen 127.0.0.1:2479 --target 127.0.0.1:2379
    TcpRelay {
        /// Address to accept connections on.
        #[arg(long)]
        listen: SocketAddr,
        /// Where to connect to for each of them.
        #[arg(long)]
        target: SocketAddr,
    },
    /// Send spans as kube-apiserver does, at a fixed rate of requests, and print what was measured as
    /// a JSON object.
    ///
    /// Example: cascade-tools otlp-load --receiver http://127.0.0.1:4317 --rate 2000
    OtlpLoad {
        /// Where to send them: an interceptor's --otlp-listen.
        #[arg(long)]
        receiver: String,
        /// Folder with recorded messages, of whose requests copies are sent.
        #[arg(long, default_value = "testdata/otlp")]
        messages: PathBuf,
        /// Requests per second.
        #[arg(long, default_value_t = 2000.0)]
        rate: f64,
        /// Seconds to send.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// Spans of a message.
        #[arg(long, default_value_t = 512)]
        batch: usize,
    },
    /// Make a large trace out of recorded ones: what happened in them happens over and over, to other
    /// objects. Prints what was made as a JSON object.
    ///
    /// Beside the copies there are a ReplicaSet with very many Pods, very many Services in one
    /// namespace, and an object that is written all the time; how many of each follows from --changes.
    ///
    /// Example: cascade-tools generate --from testdata/traces/mixed --changes 1000000 --output large
    Generate {
        /// Trace folders to copy, in turn.
        #[arg(long, required = true, num_args = 1..)]
        from: Vec<PathBuf>,
        /// Trace folder to write; must not exist.
        #[arg(long)]
        output: PathBuf,
        /// Number of changes.
        #[arg(long)]
        changes: u64,
        /// How many copies are under way at any moment.
        #[arg(long, default_value_t = 16)]
        concurrency: u32,
        /// Pods of the large ReplicaSet; one of 200 changes without it, 0 for none.
        #[arg(long)]
        owner_pods: Option<u32>,
        /// Services in the large namespace; one of 2,000 changes without it, 0 for none.
        #[arg(long)]
        services: Option<u32>,
        /// Revisions of the object that is written all the time; one of 10 changes without it, 0 for none.
        #[arg(long)]
        object_revisions: Option<u32>,
    },
    /// Write the inputs that the fuzzer begins with, a folder per target.
    ///
    /// Example: cascade-tools fuzz-seeds --output fuzz/corpus
    FuzzSeeds {
        /// Folder they are made from.
        #[arg(long, default_value = "testdata")]
        testdata: PathBuf,
        /// Folder to write; created if missing.
        #[arg(long)]
        output: PathBuf,
    },
}

#[derive(clap::Args)]
struct LoadArguments {
    /// Where to send it: etcd, or something in front of it.
    #[arg(long)]
    etcd: String,
    /// What to do.
    #[arg(long, value_enum, default_value_t = LoadKind::Update)]
    kind: LoadKind,
    /// Authority of etcd's certificate, PEM; with the next two, TLS is spoken.
    #[arg(long, requires_all = ["cert", "key"])]
    ca: Option<PathBuf>,
    /// Certificate of the client, PEM.
    #[arg(long, requires = "ca")]
    cert: Option<PathBuf>,
    /// Private key of the client, PEM.
    #[arg(long, requires = "ca")]
    key: Option<PathBuf>,
    /// Number of objects that are listed (--kind list).
    #[arg(long, default_value_t = 5000)]
    objects: usize,
    /// Number of connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Number of workers, each with one call in flight.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds to run before measuring.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// File with the value to store; 1 KiB of text without it.
    #[arg(long)]
    value: Option<PathBuf>,
    /// Transactions per second of all workers together (--kind update); latencies are from when each
    /// was due. Without it, as fast as the answers come.
    #[arg(long)]
    rate: Option<f64>,
    /// File to write a line to for each measured transaction (--kind update): revision, when it was
    /// sent and when it was answered, both in nanoseconds since 1970.
    #[arg(long)]
    written: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let done = match Arguments::parse().command {
        Command::Record {
            listen,
            etcd,
            output,
        } => record(listen, etcd, output).await,
        Command::Replay { calls, etcd, speed } => {
            replay_file(
                calls,
                ReplayOptions {
                    endpoint: etcd,
                    speed,
                },
            )
            .await
        }
        Command::TcpRelay { listen, target } => tcp_relay(listen, target).await,
        Command::Load(arguments) => give_load(arguments).await,
        Command::OtlpLoad {
            receiver,
            messages,
            rate,
            seconds,
            batch,
        } => give_otlp_load(receiver, &messages, rate, seconds, batch).await,
        Command::Generate {
            from,
            output,
            changes,
            concurrency,
            owner_pods,
            services,
            object_revisions,
        } => {
            let share = |given: Option<u32>, of: u64| {
                given.unwrap_or_else(|| u32::try_from(changes / of).unwrap_or(u32::MAX))
            };
            generate_trace(GenerateOptions {
                from,
                output,
                changes,
                concurrency,
                owner_pods: share(owner_pods, 200),
                services: share(services, 2_000),
                object_revisions: share(object_revisions, 10),
            })
            .await
        }
        Command::FuzzSeeds { testdata, output } => write_seeds(&testdata, &output)
            .map(|seeds| info!(seeds, folder = %output.display(), "written")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn record(listen: SocketAddr, etcd: SocketAddr, output: PathBuf) -> anyhow::Result<()> {
    std::fs::create_dir_all(&output)
        .with_context(|| format!("cannot create {}", output.display()))?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let begun = Instant::now();
    let shutdown = CancellationToken::new();
    let truth = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { watch_all(&format!("http://{etcd}"), begun, shutdown).await }
    });
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            if stop_signal().await.is_ok() {
                shutdown.cancel();
            }
        }
    });
    info!(%listen, %etcd, "recording; stop with SIGTERM or SIGINT");
    let connections = output.join("connections.zst");
    capture(listener, etcd, &connections, begun, shutdown).await?;
    let truth = truth.await.context("the watch failed")??;

    let chunks: Vec<Chunk> =
        RecordingReader::<Chunk>::open(&connections)?.collect::<Result<_, _>>()?;
    let calls = extract_calls(chunks, &truth)?;
    let path = output.join("calls.zst");
    let mut writer = RecordingWriter::create(&path)?;
    for call in &calls {
        writer.write(call)?;
    }
    writer.finish()?;
    let revision = truth.last_key_value().map_or(1, |(revision, _)| *revision);
    info!(calls = calls.len(), revision, path = %path.display(), "recorded");
    Ok(())
}

async fn tcp_relay(listen: SocketAddr, target: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        let (mut client, _) = listener.accept().await.context("cannot accept")?;
        tokio::spawn(async move {
            let relayed = async {
                let mut server = TcpStream::connect(target).await?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            };
            if let Err(error) = relayed.await {
                info!(%error, "a connection ended");
            }
        });
    }
}

async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

async fn replay_file(calls: PathBuf, options: ReplayOptions) -> anyhow::Result<()> {
    let mut methods = BTreeMap::<String, u64>::new();
    let mut reported = Instant::now();
    let replayed = replay(&calls, &options, |call: &RecordedCall| {
        *methods.entry(call.method.clone()).or_default() += 1;
        if reported.elapsed() >= Duration::from_secs(5) {
            reported = Instant::now();
            info!(revision = call.revision, "replaying");
        }
    })
    .await?;
    info!(
        calls = replayed.calls,
        revision = replayed.revision,
        ?methods,
        "replayed"
    );
    Ok(())
}

async fn give_otlp_load(
    receiver: String,
    messages: &std::path::Path,
    rate: f64,
    seconds: f64,
    batch: usize,
) -> anyhow::Result<()> {
    let templates = Templates::read(messages)?;
    info!(
        spans_per_request = templates.spans_per_request(),
        "sending spans"
    );
    let options = OtlpLoadOptions {
        receiver,
        rate,
        duration: Duration::try_from_secs_f64(seconds).context("--seconds")?,
        batch,
    };
    let result = otlp_load(&options, &templates).await?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&result)?)?;
    Ok(())
}

async fn generate_trace(options: GenerateOptions) -> anyhow::Result<()> {
    let made = generate(&options).await?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&made)?)?;
    Ok(())
}

async fn give_load(arguments: LoadArguments) -> anyhow::Result<()> {
    let value = match &arguments.value {
        Some(path) => std::fs::read(path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .into(),
        None => vec![b'x'; 1024].into(),
    };
    let tls = match (arguments.ca, arguments.cert, arguments.key) {
        (Some(ca), Some(certificate), Some(key)) => Some(TlsFiles {
            ca,
            certificate,
            key,
        }),
        _ => None,
    };
    let options = LoadOptions {
        endpoint: arguments.etcd,
        tls,
        kind: arguments.kind,
        connections: arguments.connections,
        workers: arguments.workers,
        objects: arguments.objects,
        duration: Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?,
        warm_up: Duration::try_from_secs_f64(arguments.warm_up).context("--warm-up")?,
        value,
        rate: arguments.rate,
        written: arguments.written,
    };
    let result = load(&options).await?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&result)?)?;
    Ok(())
}
