//! A real PgBouncer in front of a test database.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use db_core::{Connect, ConnectError, ConnectFailure, DatabaseUrl, Endpoint};
use db_testkit::{TestDatabase, until};
use diesel_async::{AsyncConnection, AsyncPgConnection};

/// PgBouncer in front of one database; ended with the value.
pub(crate) struct PgBouncer {
    child: Child,
    pub(crate) url: String,
    _directory: tempfile::TempDir,
}

impl PgBouncer {
    pub(crate) async fn start(database: &TestDatabase, settings: &str) -> PgBouncer {
        let server: DatabaseUrl = database.url().parse().unwrap();
        let host = server.hosts()[0].clone();
        let config = server.postgres_config(&host);
        let password = String::from_utf8(config.get_password().unwrap_or_default().to_vec()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={} port={} user={} password={password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\nunix_socket_dir =\n{settings}\n",
            host.host(),
            host.port(),
            server.user()
        );
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("pgbouncer");
        // It refuses to run as root, as PostgreSQL does.
        if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
            command.args(["-u", "nobody"]);
        }
        let child = command.arg("-q").arg(&file).spawn();
        let child = child.unwrap_or_else(|error| panic!("pgbouncer is needed here, install it: {error}"));
        let url = format!("postgres://{}@127.0.0.1:{port}/{}", server.user(), database.name());
        until("PgBouncer listens", async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        PgBouncer { child, url, _directory: directory }
    }

    pub(crate) async fn connect(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.url).await.unwrap()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens connections to a URL.
pub(crate) struct To(pub(crate) String);

impl Connect for To {
    async fn connect(&self, endpoint: &Endpoint) -> db_core::Result<AsyncPgConnection> {
        AsyncPgConnection::establish(&self.0).await.map_err(|error| {
            let failure = ConnectFailure::Other;
            ConnectError::new(endpoint.clone(), ("", ""), failure, Default::default(), error.to_string())
                .into()
        })
    }
}
