//! Tells systemd how the service does (sd_notify(3), sd_watchdog_enabled(3)).

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Who started this process and wants to know how it does, if there is somebody.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    pub(super) fn of_this_process() -> Self {
        Self::named_by(&|name| std::env::var_os(name), std::process::id())
    }

    fn named_by(variable: &dyn Fn(&str) -> Option<OsString>, process: u32) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let socket = address(&name).and_then(|address| Ok((UnixDatagram::unbound()?, address)));
        match socket {
            Ok(socket) => Self {
                socket: Some(socket),
                watchdog: watchdog(variable, process),
            },
            Err(error) => {
                tracing::warn!(
                    socket = %name.display(),
                    %error,
                    "cannot tell the service manager how this service does"
                );
                Self::default()
            }
        }
    }

    /// Everything listens.
    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=relaying");
    }

    /// The shutdown has begun.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=waiting for calls in flight, then sealing the trace");
    }

    /// Tells, twice in the time that the supervisor allows, that `is_alive`. Never ends.
    pub(super) async fn reassure(&self, is_alive: impl Fn() -> bool) -> Infallible {
        let Some(interval) = self.watchdog else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(interval / 2);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if is_alive() {
                self.tell("WATCHDOG=1");
            }
        }
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::debug!(%error, state, "the service manager does not listen");
        }
    }
}

/// An absolute path, or after an `@` a name that is no file (unix(7)).
fn address(name: &OsStr) -> Result<SocketAddr, io::Error> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "only Unix sockets are supported",
        )),
    }
}

/// The time within which the supervisor wants a sign of life.
fn watchdog(variable: &dyn Fn(&str) -> Option<OsString>, process: u32) -> Option<Duration> {
    let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
    let for_another = number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(process));
    let interval = number("WATCHDOG_USEC").filter(|interval| *interval > 1 && !for_another)?;
    Some(Duration::from_micros(interval))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn named(variables: &[(&str, &str)]) -> Supervisor {
        let variable = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| OsString::from(value))
        };
        Supervisor::named_by(&variable, 7)
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn it_is_told_at_a_file_and_at_an_abstract_name() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let file = UnixDatagram::bind(&path).unwrap();
        let name = format!("cascade-{}", uuid::Uuid::new_v4());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_socket = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, name) in [
            (&file, path.to_str().unwrap().to_owned()),
            (&abstract_socket, format!("@{name}")),
        ] {
            let supervisor = named(&[("NOTIFY_SOCKET", &name)]);
            supervisor.ready();
            assert!(received(socket).starts_with("READY=1\n"));
            supervisor.stopping();
            assert!(received(socket).starts_with("STOPPING=1\n"));
        }
    }

    #[tokio::test]
    async fn a_watchdog_gets_a_sign_of_life_as_long_as_there_is_life() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = named(&[
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", "2000"),
            ("WATCHDOG_PID", "7"),
        ]);
        let lives = std::cell::Cell::new(3);
        let asked = tokio::sync::Notify::new();
        let reassuring = supervisor.reassure(|| {
            lives.set(lives.get() - 1);
            if lives.get() < -1 {
                asked.notify_one();
            }
            lives.get() >= 0
        });
        tokio::select! {
            never = reassuring => match never {},
            () = asked.notified() => {}
        }
        socket.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            assert_eq!(received(&socket), "WATCHDOG=1");
        }
        let nothing = socket.recv(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_watchdog_of_another_process_is_none() {
        let watchdog = |variables: &[(&str, &str)]| {
            let all = [&[("NOTIFY_SOCKET", "/run/notify")], variables].concat();
            named(&all).watchdog
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "1000000")]), second);
        let other = [("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "8")];
        assert_eq!(watchdog(&other), None);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "soon")]), None);
        assert_eq!(watchdog(&[]), None);
        assert!(named(&[]).socket.is_none());
        assert!(named(&[("NOTIFY_SOCKET", "vsock:2:1234")]).socket.is_none());
        // Nobody listens; that is no trouble.
        named(&[("NOTIFY_SOCKET", "/nowhere/notify")]).ready();
    }
}
