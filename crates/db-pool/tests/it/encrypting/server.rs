//! A server whose certificate and pg_hba.conf a test chooses, and the files that a client names.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use db_core::{Connect, DatabaseUrl, Error};
use db_pool::{ConnectConfig, Connector};
use db_testkit::{Cluster, skip};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tempfile::TempDir;

use super::authority::{Authority, Issued};

/// Anyone with a password, encrypted or not.
pub(super) const WITH_PASSWORD: &str = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

#[derive(QueryableByName)]
struct Library {
    #[diesel(sql_type = Text)]
    name: String,
}

pub(super) struct Server {
    cluster: Cluster,
    files: TempDir,
}

impl Server {
    /// `None` where the programs were built without TLS: then the test is skipped.
    pub(super) async fn start() -> Option<Self> {
        Server::of(Cluster::builder().start().await.unwrap()).await
    }

    /// One of this major version; `None` also where that is not to be had.
    pub(super) async fn start_version(major: u16) -> Option<Self> {
        Server::of(skip::without(Cluster::builder().version(major).start().await)?).await
    }

    async fn of(cluster: Cluster) -> Option<Self> {
        let mut conn = cluster.connect(0).await.unwrap();
        let library = sql_query("SELECT current_setting('ssl_library') AS name");
        if library.get_result::<Library>(&mut conn).await.unwrap().name.is_empty() {
            skip::this_test("the server's programs were built without TLS");
            return None;
        }
        Some(Server { cluster, files: TempDir::new().unwrap() })
    }

    /// From now on encrypts with this certificate, or not at all.
    pub(super) async fn show(&self, certificate: Option<&Issued>) {
        self.demand(certificate, None, WITH_PASSWORD).await;
    }

    /// From now on also knows clients by certificates of this authority, and lets in whom pg_hba.conf says.
    pub(super) async fn demand(&self, shown: Option<&Issued>, clients: Option<&Authority>, hba: &str) {
        let mut settings = shown.map_or_else(String::new, |shown| self.keep(shown));
        if let Some(authority) = clients {
            self.write("clients.crt", &authority.pem());
            settings.push_str("ssl_ca_file = 'clients.crt'\n");
        }
        self.restart_with(&settings, hba).await;
    }

    /// From now on encrypts as nobody should any more.
    pub(super) async fn show_its_age(&self, certificate: &Issued) {
        let settings = "ssl_min_protocol_version = 'TLSv1'\nssl_max_protocol_version = 'TLSv1.1'\n";
        self.restart_with(&(self.keep(certificate) + settings), WITH_PASSWORD).await;
    }

    /// Stores a certificate; what to set so that it is used.
    fn keep(&self, Issued { certificate, key }: &Issued) -> String {
        self.write("server.crt", certificate);
        self.write("server.key", key);
        "ssl = on\n".to_owned()
    }

    async fn restart_with(&self, settings: &str, hba: &str) {
        self.write("postgresql.auto.conf", settings);
        self.write("pg_hba.conf", hba);
        self.cluster.restart(0).await.unwrap();
    }

    /// Writes a file that only the server's account can read.
    fn write(&self, name: &str, text: &str) {
        let data = self.cluster.dir().join("node1");
        let (path, owner) = (data.join(name), fs::metadata(&data).unwrap());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// A file of the client's that only its owner can read.
    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(super) fn socket_dir(&self) -> &Path {
        self.cluster.dir()
    }

    pub(super) fn port(&self) -> u16 {
        self.cluster.address_of(0).unwrap().port()
    }

    /// The server under a name of its own, which is not looked up.
    pub(super) fn url(&self, host: &str, params: &str) -> String {
        self.url_at(host, self.port(), params)
    }

    pub(super) fn url_at(&self, host: &str, port: u16, params: &str) -> String {
        let password = db_testkit::password();
        format!("postgres://postgres:{password}@{host}:{port}/app?hostaddr=127.0.0.1&{params}")
    }
}

pub(super) async fn connect(url: &str) -> Result<AsyncPgConnection, Error> {
    let url: DatabaseUrl = url.parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    Connector::new(url, ConnectConfig::default()).connect(&endpoint).await
}
