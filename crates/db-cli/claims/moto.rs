//! S3 by moto, for hosts that may do everything and for those that may not.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use db_testkit::until;

use crate::front::{answer, front};

const BUCKET: &str = "backups";

/// A running emulator; it ends when it is dropped.
pub(crate) struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    /// With a bucket; `None` where the program is not installed.
    pub(crate) async fn start() -> Option<Moto> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let moto = Moto { child, port };
        until("moto listens", async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        let first = format!("PUT /{BUCKET} HTTP/1.1\r\n");
        let made = answer(port, &first, &["Host: 127.0.0.1\r\n".to_owned()], b"").unwrap();
        assert!(made.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&made));
        Some(moto)
    }

    /// Where it is, for somebody who may do everything.
    pub(crate) fn settings(&self) -> String {
        settings(self.port)
    }

    /// Where it is for somebody who may use these verbs only.
    pub(crate) fn front(&self, verbs: &'static [&'static str]) -> String {
        settings(front(self.port, verbs))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(port: u16) -> String {
    format!(
        "CLOUD_STORAGE_PROVIDER=s3\nAWS_S3_BACKUP_BUCKET={BUCKET}\nBACKUP_STORE_ENDPOINT=http://127.0.0.1:{port}\n\
         BACKUP_STORE_DEADLINE=60s\nAWS_REGION=us-east-1\nAWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=test\n"
    )
}
