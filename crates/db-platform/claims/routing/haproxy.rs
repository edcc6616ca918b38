//! HAProxy before servers, for claims on names behind which servers take turns.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// Passes connections on by turns; it ends with the value.
pub(crate) struct Haproxy {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Haproxy {
    /// None where there is no HAProxy and none can be installed: the claim then says that it left it out.
    pub(crate) fn start(servers: &[SocketAddr]) -> Option<Self> {
        if !is_there() && !install() {
            eprintln!("haproxy is not in PATH and cannot be installed: what goes through it is left out");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let backends: Vec<_> =
            servers.iter().enumerate().map(|(n, server)| format!("  server s{n} {server}")).collect();
        let settings = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             frontend front\n  bind 127.0.0.1:{port}\n  default_backend back\n\
             backend back\n  balance roundrobin\n{}\n",
            backends.join("\n")
        );
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, settings).unwrap();
        let process = Command::new("haproxy").arg("-db").arg("-f").arg(&file).stderr(Stdio::null()).spawn();
        let haproxy = Haproxy { process: process.unwrap(), port, _directory: directory };
        let listens =
            db_server::wait_until(STARTS_WITHIN, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(listens, "haproxy does not listen");
        Some(haproxy)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_there() -> bool {
    let asked = Command::new("haproxy").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Takes root, and Debian.
fn install() -> bool {
    eprintln!("haproxy is not in PATH: installing it with apt-get");
    let script = "export DEBIAN_FRONTEND=noninteractive; apt-get update && \
                  apt-get install --yes --no-install-recommends haproxy";
    let installed =
        Command::new("sh").args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    installed.is_ok_and(|status| status.success()) && is_there()
}
