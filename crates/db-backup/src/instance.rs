//! A server on restored data: started for a while, reached by its own account alone, and gone with its value.
//!
//! It listens on a socket in a directory that nobody else may enter, and asks the kernel who is there
//! (`peer`).

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use db_core::{DatabaseUrl, Endpoint};
use db_server::process::{self, Signal, Stamp};

use crate::physical_error::PhysicalError;
use crate::programs::Programs;
use crate::restore::Owner;
use crate::session::{Plain, Session, SessionError};

/// The number in the socket's name; nothing listens on TCP.
const PORT: u16 = 5432;

/// The longest that an end by a fast shutdown takes before it is made an end by force.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A running server.
pub(crate) struct Instance {
    child: Child,
    stamp: Option<Stamp>,
    data: PathBuf,
    home: PathBuf,
    log: PathBuf,
    superuser: String,
    owner: Option<Owner>,
    programs: Programs,
}

impl Instance {
    /// Starts a server on `data`. `home` is an empty directory of its own, for its socket, settings and log.
    pub(crate) fn start(
        programs: &Programs,
        data: &Path,
        home: &Path,
        superuser: &str,
        owner: Option<Owner>,
    ) -> Result<Instance, PhysicalError> {
        let log = home.join("server.log");
        settings(home, superuser, owner)?;
        let file = File::create(&log).map_err(PhysicalError::at("create", &log))?;
        fs::set_permissions(home, Permissions::from_mode(0o700)).map_err(PhysicalError::at("own", home))?;
        if let Some(owner) = owner {
            owner.own_all(home)?;
        }
        let same = file.try_clone().map_err(PhysicalError::at("open", &log))?;
        let mut command = programs.command("postgres", owner);
        command.arg("-D").arg(data).current_dir(data);
        for (name, value) in arguments(home) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdin(Stdio::null()).stdout(file).stderr(same);
        let child = process::spawn(&mut command).map_err(|error| PhysicalError::Program {
            program: "postgres".to_owned(),
            said: error.to_string(),
        })?;
        Ok(Instance {
            stamp: Stamp::of(child.id()),
            child,
            data: data.to_owned(),
            home: home.to_owned(),
            log,
            superuser: superuser.to_owned(),
            owner,
            programs: programs.clone(),
        })
    }

    /// Waits until it takes writes. While it replays it may let nobody in, though its pid file calls it a
    /// standby.
    ///
    /// # Errors
    /// [`PhysicalError::Program`] where it ended before, with the end of its log;
    /// [`PhysicalError::NotReady`].
    pub(crate) async fn ready(&mut self, within: Duration) -> Result<(), PhysicalError> {
        let began = Instant::now();
        loop {
            if let Ok(Some(_)) = self.child.try_wait() {
                return Err(PhysicalError::Program {
                    program: "postgres".to_owned(),
                    said: self.complaints(),
                });
            }
            let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            let own = text.lines().next().is_some_and(|pid| pid.trim() == self.child.id().to_string());
            if own && text.lines().nth(7).is_some_and(|status| status.trim() == "ready") {
                return Ok(());
            }
            if began.elapsed() >= within {
                return Err(PhysicalError::NotReady { waited: within, said: self.complaints() });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A session as the superuser.
    pub(crate) async fn session(&self, database: &str) -> Result<Session, SessionError> {
        Session::open_for_sql(&self.url(database), &Plain).await
    }

    pub(crate) fn url(&self, database: &str) -> DatabaseUrl {
        let endpoint = Endpoint::new(self.home.to_string_lossy(), PORT);
        DatabaseUrl::from_parts(vec![endpoint], self.superuser.as_str(), None, database)
    }

    /// One of PostgreSQL's programs, connected to it.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = self.programs.command(program, self.owner);
        command.arg("-h").arg(&self.home).args(["-p", &PORT.to_string(), "-U", &self.superuser]);
        command
    }

    /// What its log says of errors, the newest lines.
    pub(crate) fn complaints(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let weighs =
            |line: &&str| ["FATAL", "PANIC", "ERROR", "WARNING"].iter().any(|word| line.contains(word));
        let mut lines: Vec<&str> = log.lines().filter(weighs).collect();
        if lines.is_empty() {
            lines = log.lines().collect();
        }
        lines[lines.len().saturating_sub(6)..].join("; ")
    }

    /// The lines of its log that hold a text.
    pub(crate) fn log_lines(&self, text: &str) -> Vec<String> {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(stamp) = self.stamp else { return };
        stamp.signal(Signal::Interrupt);
        if !stamp.wait_gone(STOP_WITHIN) {
            for child in stamp.children() {
                child.signal(Signal::Kill);
            }
            stamp.signal(Signal::Kill);
        }
        let _ = self.child.wait();
    }
}

/// What must hold whatever the restored settings say.
fn arguments(home: &Path) -> Vec<(&'static str, String)> {
    let file = |name: &str| home.join(name).display().to_string();
    let said = |text: &str| text.to_owned();
    vec![
        ("config_file", file("postgresql.conf")),
        ("hba_file", file("pg_hba.conf")),
        ("ident_file", file("pg_ident.conf")),
        ("port", PORT.to_string()),
        ("listen_addresses", said("")),
        ("unix_socket_directories", home.display().to_string()),
        ("unix_socket_permissions", said("0700")),
        ("external_pid_file", said("")),
        ("archive_mode", said("off")),
        ("autovacuum", said("off")),
        ("fsync", said("off")),
        ("cluster_name", said("rehearsal")),
        ("huge_pages", said("off")),
        ("log_destination", said("stderr")),
        ("logging_collector", said("off")),
        ("log_min_messages", said("info")),
        ("lc_messages", said("C")),
        ("shared_preload_libraries", said("")),
        ("ssl", said("off")),
        ("synchronous_standby_names", said("")),
    ]
}

fn settings(home: &Path, superuser: &str, owner: Option<Owner>) -> Result<(), PhysicalError> {
    let own = rustix::process::geteuid().as_raw();
    let mut names: Vec<String> =
        [Some(own), owner.map(|owner| owner.uid)].into_iter().flatten().filter_map(name_of).collect();
    names.dedup();
    let quoted = superuser.replace('"', "\"\"");
    let map: String = names.iter().map(|name| format!("rehearsal \"{name}\" \"{quoted}\"\n")).collect();
    let files = [
        ("postgresql.conf", String::new()),
        ("pg_hba.conf", "local all all peer map=rehearsal\n".to_owned()),
        ("pg_ident.conf", map),
    ];
    for (name, text) in files {
        let path = home.join(name);
        fs::write(&path, text).map_err(PhysicalError::at("write", &path))?;
    }
    Ok(())
}

/// The name of an account.
fn name_of(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}
