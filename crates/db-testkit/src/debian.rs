//! A cluster as Debian's pg_createcluster makes it: configuration in /etc/postgresql, data elsewhere.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that Debian 12 has.
const MAJOR: &str = "15";

/// A running cluster in Debian's layout, which is dropped with its value.
///
/// ```no_run
/// use db_testkit::Debian;
///
/// # let home = std::path::Path::new("/tmp");
/// if !Debian::is_possible() {
///     return db_testkit::skip::this_test("it needs root on a Debian with PostgreSQL 15");
/// }
/// let debian = Debian::create(home);
/// assert!(debian.url().starts_with("postgres://postgres:"));
/// ```
#[derive(Debug)]
pub struct Debian {
    name: String,
    port: u16,
    data: PathBuf,
}

impl Debian {
    /// Whether this is root on a Debian that has the version: nobody else may make clusters.
    pub fn is_possible() -> bool {
        db_server::Account::for_servers().is_ok_and(|account| account.is_some())
            && Path::new("/usr/bin/pg_createcluster").exists()
            && Path::new("/usr/lib/postgresql").join(MAJOR).join("bin/initdb").exists()
    }

    /// Makes and starts one. Its data and its socket are below `home`, into which its account must be able to
    /// write.
    ///
    /// # Panics
    /// Where Debian's programs fail; the text says why.
    pub fn create(home: &Path) -> Debian {
        let said =
            |error: &dyn std::fmt::Display| -> ! { panic!("no cluster below {}: {error}", home.display()) };
        let port = db_server::free_port().unwrap_or_else(|error| said(&error));
        let passwords = home.join("password");
        std::fs::write(&passwords, crate::password()).unwrap_or_else(|error| said(&error));
        std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o644))
            .unwrap_or_else(|error| said(&error));
        let name = format!("dbplatform{}x{port}", std::process::id());
        let debian = Debian { name, port, data: home.join("data") };
        let mut create = Command::new("/usr/bin/pg_createcluster");
        create.args([MAJOR, &debian.name, "--port", &port.to_string(), "--datadir"]).arg(&debian.data);
        create.arg("--socketdir").arg(home);
        create.args(["--", "--auth=scram-sha-256", "--data-checksums", "--pwfile"]).arg(passwords);
        run(&mut create);
        debian.ctl("start");
        debian
    }

    /// Runs pg_ctlcluster, which refuses where the server does not.
    ///
    /// # Panics
    /// Where it fails; the text says why.
    pub fn ctl(&self, action: &str) {
        run(Command::new("/usr/bin/pg_ctlcluster").args([MAJOR, &self.name, action]));
    }

    /// The superuser's URL, by TCP.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/postgres", crate::password(), self.port)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The directory of its configuration.
    pub fn configuration(&self) -> PathBuf {
        Path::new("/etc/postgresql").join(MAJOR).join(&self.name)
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/pg_dropcluster").args(["--stop", MAJOR, &self.name]).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
