//! A server on a data directory that was restored.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use db_server::process::{Signal, Stamp};

/// How long the log may be replayed.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A server that has not ended by then has not got the signal.
const SIGNAL_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A server that runs on restored data, listens on a socket in its directory only, and is stopped when it is
/// dropped.
///
/// ```no_run
/// use db_testkit::Restored;
///
/// let mut server = Restored::start("/tmp/restored".as_ref(), "app");
/// assert_eq!(server.text("SELECT count(*) FROM users"), "1000");
/// ```
#[derive(Debug)]
pub struct Restored {
    child: Child,
    bin: PathBuf,
    data: PathBuf,
    database: String,
}

impl Restored {
    /// Starts a server of the directory's own version, as the account of servers. Queries go to `database`.
    ///
    /// # Panics
    /// Where there is no such version, or it cannot be started; the text says why.
    pub fn start(data: &Path, database: &str) -> Self {
        let said =
            |error: &dyn std::fmt::Display| -> ! { panic!("{} cannot be started: {error}", data.display()) };
        let major = fs::read_to_string(data.join("PG_VERSION")).unwrap_or_else(|error| said(&error));
        let major = major.trim().parse().unwrap_or_else(|error| said(&error));
        let bin = db_server::find(Some(major), &|_| ()).unwrap_or_else(|error| said(&error)).bin;
        let account = db_server::Account::for_servers().unwrap_or_else(|error| said(&error));
        let logs = || fs::File::options().create(true).append(true).open(log_of(data));
        let (out, errors) = (logs().unwrap_or_else(|e| said(&e)), logs().unwrap_or_else(|e| said(&e)));
        let mut command = Command::new(bin.join("postgres"));
        command.arg("-D").arg(data).current_dir(data).env("LC_ALL", "C");
        command.args(["-c", "listen_addresses=", "-c", "port=5432", "-c"]);
        command.arg(format!("unix_socket_directories={}", data.display()));
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid);
        }
        let child = command.spawn().unwrap_or_else(|error| said(&error));
        Restored { child, bin, data: data.to_owned(), database: database.to_owned() }
    }

    /// Waits until it takes writes.
    ///
    /// # Errors
    /// Its log, where it ends before, or takes longer than 90 s.
    pub fn ready(&mut self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let status = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            if status.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let has_ended = !matches!(self.child.try_wait(), Ok(None));
            if has_ended || began.elapsed() > READY_WITHIN {
                return Err(self.log());
            }
            db_server::wait_until(Duration::from_millis(20), || false);
        }
    }

    /// The answer to a query, as psql prints it, once the server takes writes.
    ///
    /// # Panics
    /// Where it does not, with its log, or the query fails.
    pub fn text(&mut self, sql: &str) -> String {
        self.ready().unwrap_or_else(|log| panic!("it takes no writes: {log}"));
        self.psql(sql)
    }

    /// The answer to a query, whether the server takes writes or not.
    ///
    /// # Panics
    /// Where the query fails.
    pub fn psql(&self, sql: &str) -> String {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.env("PGPASSWORD", crate::password()).arg("-h").arg(&self.data);
        psql.args(["-U", "postgres", "-d", &self.database, "-XAtqc", sql]);
        let output = psql.output().unwrap_or_else(|error| panic!("psql cannot be run: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(log_of(&self.data)).unwrap_or_default()
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        // One that has only just been started may lose a signal, and run for ever.
        while matches!(self.child.try_wait(), Ok(None)) {
            if let Some(stamp) = Stamp::of(self.child.id()) {
                stamp.signal(Signal::Quit);
            }
            db_server::wait_until(SIGNAL_AGAIN_AFTER, || !matches!(self.child.try_wait(), Ok(None)));
        }
    }
}

fn log_of(data: &Path) -> PathBuf {
    data.with_extension("log")
}
