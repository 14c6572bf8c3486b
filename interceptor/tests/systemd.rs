//! What systemd gives a service and wants to be told by it.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use support::{Etcd, Interceptor, http_get};
use tempfile::TempDir;

#[test]
fn a_socket_is_inherited_and_the_service_manager_is_told() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let told = || {
        let mut buffer = [0; 200];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    fcntl_setfd(&listener, FdFlags::empty()).unwrap();
    // As systemd does it: the sockets are 3, 4, …, and meant for this process id.
    let mut command = Command::new("sh");
    command
        .env_clear()
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "20000")
        .stdin(Stdio::null())
        .arg("-c")
        .arg(format!(
            "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&{}",
            listener.as_raw_fd()
        ))
        .args(["sh", env!("CARGO_BIN_EXE_cascade-interceptor")]);
    let endpoint = etcd.endpoint();
    let interceptor = Interceptor::launch(
        command,
        &[
            "serve",
            "--listen=systemd:0",
            "--etcd",
            &endpoint,
            "--ledger=off",
            "--observe=off",
        ],
    );
    assert_eq!(interceptor.address(), address);
    assert!(told().starts_with("READY=1\n"));
    assert_eq!(told(), "WATCHDOG=1");
    assert_eq!(http_get(address, "/health").0, 200);
    interceptor.signal("TERM");
    let stopping = std::iter::repeat_with(told).find(|state| state != "WATCHDOG=1");
    assert!(stopping.unwrap().starts_with("STOPPING=1\n"));
    assert_eq!(interceptor.wait().code(), Some(0));
}
