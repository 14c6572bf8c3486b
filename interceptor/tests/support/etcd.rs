//! A real etcd as a child process of a test.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::Client;
use tempfile::TempDir;

use super::{PATIENCE, end_of};

/// Flags of programs that speak TLS.
#[derive(Debug, Clone)]
pub(crate) struct TlsFlags {
    /// Of etcd.
    pub(crate) etcd: Vec<String>,
    /// Of etcdctl.
    pub(crate) etcdctl: Vec<String>,
}

/// What a test wants different from etcd's defaults.
#[derive(Debug, Clone)]
pub(crate) struct EtcdOptions {
    /// Further command-line arguments, such as `--max-request-bytes=10485760`.
    pub(crate) arguments: Vec<String>,
    /// The cluster id is made from this token and the peer address: another token, another id.
    pub(crate) cluster_token: String,
    /// TLS towards clients, who must show a certificate.
    pub(crate) tls: Option<TlsFlags>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            arguments: Vec::new(),
            cluster_token: "test".to_owned(),
            tls: None,
        }
    }
}

/// The content of a data folder, set aside by [`Etcd::save_data`].
#[derive(Debug)]
pub(crate) struct SavedData(TempDir);

/// One etcd member with a data folder of its own. It is killed, and its data removed, on drop.
///
/// Ports stay the same across restarts. Starting blocks until the member answers `/health` with
/// success, which etcd does once it has a leader and linearizable reads work.
#[derive(Debug)]
pub(crate) struct Etcd {
    options: EtcdOptions,
    folder: TempDir,
    ports: Ports,
    /// Peer ports of all members of the cluster; empty for one that stands alone.
    cluster: Vec<u16>,
    child: Option<Child>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    peer: u16,
    /// For `/health` without TLS.
    metrics: u16,
}

impl Etcd {
    /// Starts an empty etcd.
    pub(crate) fn start() -> Self {
        Self::start_with(EtcdOptions::default())
    }

    /// Starts an empty etcd with options.
    pub(crate) fn start_with(options: EtcdOptions) -> Self {
        let mut etcd = Self {
            options,
            folder: TempDir::with_prefix("cascade-etcd-").expect("a temporary folder"),
            ports: Ports::choose(),
            cluster: Vec::new(),
            child: None,
        };
        // Another process can take a port between the look and the start.
        for _ in 0..10 {
            match etcd.launch() {
                Ok(()) => return etcd,
                Err(failure) if failure.contains("address already in use") => {
                    etcd.ports = Ports::choose();
                    etcd.remove_data();
                }
                Err(failure) => panic!("etcd did not start: {failure}"),
            }
        }
        panic!("etcd did not start: no free ports in ten attempts");
    }

    /// Starts the members of an empty cluster.
    pub(crate) fn start_cluster(members: usize) -> Vec<Self> {
        let ports: Vec<Ports> = (0..members).map(|_| Ports::choose()).collect();
        let cluster: Vec<u16> = ports.iter().map(|ports| ports.peer).collect();
        let mut members: Vec<Self> = ports
            .into_iter()
            .map(|ports| Self {
                options: EtcdOptions::default(),
                folder: TempDir::with_prefix("cascade-etcd-").expect("a temporary folder"),
                ports,
                cluster: cluster.clone(),
                child: None,
            })
            .collect();
        Self::run_together(&mut members);
        members
    }

    /// Starts those members that are not running; without enough of the others none gets healthy.
    pub(crate) fn run_together(members: &mut [Self]) {
        let mut started: Vec<&mut Self> = members
            .iter_mut()
            .filter(|member| member.child.is_none())
            .collect();
        for member in &mut started {
            member.spawn();
        }
        for member in started {
            if let Err(failure) = member.wait_until_healthy() {
                panic!("a member did not start: {failure}");
            }
        }
    }

    /// Where clients connect, as a URL.
    pub(crate) fn endpoint(&self) -> String {
        match self.options.tls {
            None => format!("http://{}", self.address()),
            Some(_) => format!("https://{}", self.address()),
        }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.client))
    }

    /// A client of its own connection, without TLS.
    pub(crate) async fn client(&self) -> Client {
        Client::connect([self.endpoint()], None)
            .await
            .expect("a client for the test's etcd")
    }

    /// Whether the process was started and not stopped by this test.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts the stopped etcd again, with the same ports and data.
    pub(crate) fn run(&mut self) {
        assert!(self.child.is_none(), "etcd is running already");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.launch() {
                Ok(()) => return,
                // Connections of the previous run can hold the port for a moment.
                Err(failure)
                    if failure.contains("address already in use") && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(failure) => panic!("etcd did not start again: {failure}"),
            }
        }
    }

    /// Stops etcd as an administrator would (SIGTERM) and waits for its end.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let mut child = self.child.take().expect("etcd is running");
        end_of(&mut child, "etcd");
    }

    /// Kills etcd (SIGKILL) and waits for its end.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("etcd is running");
        child.kill().expect("etcd can be killed");
        end_of(&mut child, "etcd");
    }

    /// Stops and starts again.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.run();
    }

    /// Kills and starts again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.run();
    }

    /// Freezes the process (SIGSTOP): connections stay open and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        // The signal has been sent; until all threads stand still, they answer.
        let child = self.child.as_ref().expect("etcd is running");
        let deadline = Instant::now() + PATIENCE;
        while !stands_still(child.id()) {
            assert!(Instant::now() < deadline, "etcd does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Undoes [`Etcd::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Copies the data folder of a stopped etcd. Put back later with [`Etcd::replace_data`], it is
    /// what restoring a backup is: the same cluster id with an older history.
    pub(crate) fn save_data(&self) -> SavedData {
        assert!(self.child.is_none(), "stop etcd before copying its data");
        let saved = TempDir::with_prefix("cascade-etcd-saved-").expect("a temporary folder");
        copy_folder(&self.data_folder(), &saved.path().join("data"));
        SavedData(saved)
    }

    /// Replaces the data folder of a stopped etcd.
    pub(crate) fn replace_data(&mut self, saved: &SavedData) {
        self.remove_data();
        copy_folder(&saved.0.path().join("data"), &self.data_folder());
    }

    /// Removes the data folder of a stopped etcd: it will start as a new, empty cluster. Its id is
    /// the same as before unless `cluster_token` is another.
    pub(crate) fn forget_data(&mut self, cluster_token: &str) {
        self.remove_data();
        self.options.cluster_token = cluster_token.to_owned();
    }

    /// Compacts the history up to `revision`, physically, so that it is gone on return.
    pub(crate) async fn compact(&self, revision: i64) {
        let options = etcd_client::CompactionOptions::new().with_physical();
        self.client()
            .await
            .compact(revision, Some(options))
            .await
            .expect("etcd compacts");
    }

    /// Runs `etcdctl` against this etcd and returns its standard output.
    pub(crate) fn etcdctl(&self, arguments: &[&str]) -> String {
        self.etcdctl_at(&self.endpoint(), arguments)
    }

    /// Runs `etcdctl` against an endpoint that leads to this etcd.
    pub(crate) fn etcdctl_at(&self, endpoint: &str, arguments: &[&str]) -> String {
        let flags = self.options.tls.iter().flat_map(|flags| &flags.etcdctl);
        let mut all: Vec<&str> = flags.map(String::as_str).collect();
        all.extend(arguments);
        etcdctl(endpoint, &all)
    }

    fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn remove_data(&self) {
        assert!(self.child.is_none(), "stop etcd before changing its data");
        match fs::remove_dir_all(self.data_folder()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                panic!("the data folder cannot be removed: {error}")
            }
            _ => {}
        }
    }

    fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("etcd is running");
        let status = Command::new("kill")
            .args([format!("-{name}"), child.id().to_string()])
            .status()
            .expect("the program kill runs");
        assert!(status.success(), "etcd could not be sent SIG{name}");
    }

    /// Starts the process and waits until it is healthy; otherwise the end of its log.
    fn launch(&mut self) -> Result<(), String> {
        self.spawn();
        self.wait_until_healthy()
    }

    fn spawn(&mut self) {
        let client = self.endpoint();
        let peer = format!("http://127.0.0.1:{}", self.ports.peer);
        let (members, timing): (&[u16], &[&str]) = if self.cluster.is_empty() {
            // A lone member waits an election timeout before it leads.
            let fast = &["--heartbeat-interval=20", "--election-timeout=200"];
            (&[self.ports.peer], fast)
        } else {
            (&self.cluster, &[])
        };
        let initial_cluster: Vec<String> = members
            .iter()
            .map(|port| format!("{}=http://127.0.0.1:{port}", member_name(*port)))
            .collect();
        let initial_cluster = initial_cluster.join(",");
        let log = File::create(self.log_file()).expect("etcd's log file");
        let child = Command::new(program("etcd", "CASCADE_TEST_ETCD"))
            .arg(format!("--name={}", member_name(self.ports.peer)))
            .arg(format!("--data-dir={}", self.data_folder().display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster={initial_cluster}"))
            .arg(format!(
                "--initial-cluster-token={}",
                self.options.cluster_token
            ))
            // Tests kill processes, not machines: what was written is there without fsync.
            .arg("--unsafe-no-fsync=true")
            .args(self.options.tls.iter().flat_map(|flags| &flags.etcd))
            .arg(format!(
                "--listen-metrics-urls=http://127.0.0.1:{}",
                self.ports.metrics
            ))
            .args(timing)
            .args(&self.options.arguments)
            // etcd reads flags from ETCD_… too; a developer's must not leak in.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd can be started");
        self.child = Some(child);
    }

    fn wait_until_healthy(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.metrics));
        while !is_healthy(address) {
            let child = self.child.as_mut().expect("etcd was just started");
            let ended = child.try_wait().expect("the state of etcd");
            if ended.is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            let mut child = self.child.take().expect("etcd was just started");
            let _ = child.kill();
            let _ = child.wait();
            let log = fs::read_to_string(self.log_file()).unwrap_or_default();
            let start = log.len().saturating_sub(4_000);
            let end_of_log = log.get(start..).unwrap_or(&log);
            return Err(format!(
                "ended as {ended:?}, waited {PATIENCE:?} at most; its log ends:\n{end_of_log}"
            ));
        }
        Ok(())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ports {
    /// Two ports that nothing listens on, from below the range that systems use for outgoing
    /// connections: a port from that range could be taken while etcd restarts.
    fn choose() -> Self {
        Self {
            client: free_port(),
            peer: free_port(),
            metrics: free_port(),
        }
    }
}

/// Name of the member with this peer port.
fn member_name(peer_port: u16) -> String {
    format!("member-{peer_port}")
}

fn free_port() -> u16 {
    for _ in 0..1_000 {
        let random = uuid::Uuid::new_v4().as_u128();
        let port = 15_000 + u16::try_from(random % 15_000).expect("less than 15,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 15,000 and 30,000");
}

/// Asks `/health` in plain HTTP/1.1.
/// Whether every thread of a process is stopped, as /proc tells it (proc(5)).
fn stands_still(process: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the threads of a child");
    tasks.filter_map(Result::ok).all(|task| {
        // A thread that has ended meanwhile does nothing any more.
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, after)| after);
        state.is_none_or(|after| after.starts_with('T'))
    })
}

fn is_healthy(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200 "))
    };
    ask().unwrap_or(false)
}

/// Runs `etcdctl` against an endpoint and returns its standard output.
pub(crate) fn etcdctl(endpoint: &str, arguments: &[&str]) -> String {
    let output = Command::new(program("etcdctl", "CASCADE_TEST_ETCDCTL"))
        .arg(format!("--endpoints={endpoint}"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("etcdctl runs");
    assert!(
        output.status.success(),
        "etcdctl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("etcdctl prints UTF-8")
}

/// The path of `etcd` or `etcdctl`: from the environment, else from PATH, else what `scripts/test`
/// put into the cache folder.
fn program(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let path_folders = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path_folders).map(|folder| folder.join(name));
    if let Some(found) = on_path.into_iter().find(|candidate| candidate.is_file()) {
        return found;
    }
    newest_in_cache(name).unwrap_or_else(|| {
        panic!(
            "this test needs {name}: set {variable}, put it on PATH, or run scripts/test, \
             which gets one"
        )
    })
}

fn newest_in_cache(name: &str) -> Option<PathBuf> {
    let from_environment = |variable: &str| {
        let value: Option<OsString> = std::env::var_os(variable).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let cache = from_environment("CASCADE_CACHE").or_else(|| {
        from_environment("XDG_CACHE_HOME")
            .or_else(|| from_environment("HOME").map(|home| home.join(".cache")))
            .map(|folder| folder.join("cascade"))
    })?;
    fs::read_dir(cache.join("bin"))
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("etcd-"))
        .map(|entry| entry.path().join(name))
        .filter(|path| path.is_file())
        .max_by_key(|path| {
            let metadata = fs::metadata(path).and_then(|metadata| metadata.modified());
            metadata.ok()
        })
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder to copy into");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("an entry of a folder");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a file type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a copied file");
        }
    }
}
