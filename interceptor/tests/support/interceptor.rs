//! The interceptor itself as a child process of a test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use etcd_client::Client;

use super::pki::Pki;
use super::{PATIENCE, Target, end_of, eventually};

/// The program under test, without any setting from the environment.
pub(crate) fn interceptor_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cascade-interceptor"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The same with a limit on open files that the program cannot raise.
pub(crate) fn limited_command(open_files: u32) -> Command {
    let mut command = Command::new("sh");
    command
        .env_clear()
        .stdin(Stdio::null())
        .args(["-c", "ulimit -n \"$0\" && exec \"$@\""])
        .arg(open_files.to_string())
        .arg(env!("CARGO_BIN_EXE_cascade-interceptor"));
    command
}

/// A running interceptor; killed on drop.
#[derive(Debug)]
pub(crate) struct Interceptor {
    child: Child,
    listeners: Vec<SocketAddr>,
    collectors: Vec<(String, SocketAddr)>,
    metrics: SocketAddr,
    log: Arc<Mutex<String>>,
    /// Ends when the log was read to its end.
    reader: Option<JoinHandle<()>>,
    pki: Option<Arc<Pki>>,
}

impl Interceptor {
    /// `serve` in front of `etcd` on ports of its own choice, once it listens; with TLS on both
    /// legs if `etcd` speaks TLS.
    pub(crate) fn serve(etcd: &impl Target, trace_dir: &Path, arguments: &[&str]) -> Self {
        let trace_dir = trace_dir.to_str().expect("a folder name in UTF-8");
        let mut all = vec!["--trace-dir", trace_dir];
        all.extend(arguments);
        Self::in_front_of(etcd, &all)
    }

    /// The same without recording anything.
    pub(crate) fn relay(etcd: &impl Target) -> Self {
        Self::in_front_of(etcd, &["--ledger=off", "--observe=off"])
    }

    fn in_front_of(etcd: &impl Target, arguments: &[&str]) -> Self {
        let endpoint = etcd.etcd().endpoint();
        let flags = etcd
            .certificates()
            .map(|pki| [pki.listen_flags(), pki.upstream_flags()].concat());
        let flags = flags.unwrap_or_default();
        let mut all = vec!["serve", "--listen=127.0.0.1:0", "--etcd", &endpoint];
        all.extend(flags.iter().map(String::as_str));
        all.extend(arguments);
        let mut interceptor = Self::start(&all);
        interceptor.pki = etcd.certificates().cloned();
        interceptor
    }

    /// Any command that serves, once it listens.
    ///
    /// # Panics
    /// With the log when the program ends before that.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::launch(interceptor_command(), arguments)
    }

    /// The same with a limit on open files that the program cannot raise.
    pub(crate) fn limited(open_files: u32, arguments: &[&str]) -> Self {
        Self::launch(limited_command(open_files), arguments)
    }

    /// The same, started by another command.
    pub(crate) fn launch(mut command: Command, arguments: &[&str]) -> Self {
        let mut child = command
            .args(arguments)
            .args(["--metrics-listen=127.0.0.1:0", "--log-format=json"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the interceptor can be started");
        let stderr = child.stderr.take().expect("a pipe");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, addresses) = mpsc::channel();
        let written = Arc::clone(&log);
        // Reads for as long as the child lives, so that it never waits for room in the pipe.
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = written.lock().expect("no reader panics");
                log.push_str(&line);
                log.push('\n');
                drop(log);
                let Ok(entry) = serde_json::from_str::<serde_json::Value>(&line) else {
                    continue;
                };
                let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
                if let Ok(address) = text("address").parse::<SocketAddr>() {
                    // Nobody listens any more once the start is over.
                    let _ = sender.send((text("message"), address));
                }
            }
        });
        let mut listeners = Vec::new();
        let mut collectors = Vec::new();
        loop {
            match addresses.recv_timeout(PATIENCE) {
                Ok((message, address)) if message == "relaying" => listeners.push(address),
                Ok((message, metrics)) if message == "serving metrics" => {
                    return Self {
                        child,
                        listeners,
                        collectors,
                        metrics,
                        log,
                        reader: Some(reader),
                        pki: None,
                    };
                }
                Ok(collector) => collectors.push(collector),
                Err(_) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let log = log.lock().expect("the reader does not panic");
                    panic!("the interceptor did not start:\n{log}");
                }
            }
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        *self.listeners.first().expect("a listener")
    }

    /// Where clients connect, as a URL.
    pub(crate) fn endpoint(&self) -> String {
        match self.pki {
            None => format!("http://{}", self.address()),
            Some(_) => format!("https://{}", self.address()),
        }
    }

    /// Where metrics are served.
    pub(crate) fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Addresses of all listeners.
    pub(crate) fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// Where the collector listens that says `message` in the log when it starts.
    pub(crate) fn collector(&self, message: &str) -> SocketAddr {
        let mut collectors = self.collectors.iter();
        let found = collectors.find(|(said, _)| said == message);
        found.expect("a collector that said so").1
    }

    /// A client of its own connection.
    pub(crate) async fn client(&self) -> Client {
        let endpoint = self.endpoint();
        let client = match &self.pki {
            None => Client::connect([endpoint], None).await,
            Some(pki) => pki.connect(&endpoint).await,
        };
        client.expect("a client through the interceptor")
    }

    /// Status and body of a page of the metrics server.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        http_get(self.metrics, path)
    }

    /// Switches observation `on` or `off`; status and body of the answer.
    pub(crate) fn switch(&self, to: &str) -> (u16, String) {
        http_exchange(self.metrics, "PUT", "/observation", to)
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.page("/metrics");
        let mut values = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .peekable();
        assert!(values.peek().is_some(), "no metric {name} in\n{text}");
        values.sum()
    }

    /// A metric with a label of this value; 0 as long as there is none.
    pub(crate) fn labelled_metric(&self, name: &str, label: &str) -> f64 {
        let (_, text) = self.page("/metrics");
        let labelled = |line: &&str| {
            line.starts_with(&format!("{name}{{")) && line.contains(&format!("=\"{label}\""))
        };
        let line = text.lines().find(labelled);
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_default()
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn ready(&self) {
        let mut last = String::new();
        let ready = eventually("the interceptor is ready", async || {
            let (status, body) = self.page("/readyz");
            last = body;
            (status == 200).then_some(())
        });
        ready.await;
    }

    /// Waits until the ledger has handed a revision to the store.
    pub(crate) async fn ledger_reached(&self, revision: i64) {
        eventually("the ledger has seen the last revision", async || {
            (self.metric("cascade_ledger_revision") >= revision as f64).then_some(())
        })
        .await;
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("the reader does not panic").clone()
    }

    /// Sends a signal by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("the program kill runs");
        assert!(
            status.success(),
            "the interceptor could not be sent SIG{name}"
        );
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        end_of(&mut self.child, "the interceptor")
    }

    /// Waits for the end, and returns the log with it.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("the end of the interceptor");
        let reader = self.reader.take().expect("joined only here");
        reader.join().expect("the reader does not panic");
        (status, self.log())
    }

    /// Stops it as an administrator would (SIGTERM).
    pub(crate) fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the interceptor can be killed");
        end_of(&mut self.child, "the killed interceptor");
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of a page, in plain HTTP/1.1.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    http_exchange(address, "GET", path, "")
}

/// Status and body of the answer to a request with a body, in plain HTTP/1.1.
fn http_exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("a listening server");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("a server that reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("not an answer: {answer}"));
    let body = answer
        .split_once("\r\n\r\n")
        .map_or_else(String::new, |(_, body)| body.to_owned());
    (status, body)
}
