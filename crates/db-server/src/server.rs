//! One PostgreSQL server process: started as our child, watched, stopped, killed, paused.
//!
//! The `postgres` program is started itself, and not through pg_ctl, so that its pid is known from the first
//! moment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::account::run_as;
use crate::process::{self, Signal, Stamp};
use crate::replication::Follow;
use crate::{Account, Error, Install, Password, Result, SUPERUSER, ServerSettings, ports, wait_until};

const START_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const KILL_LIMIT: Duration = Duration::from_secs(15);
const PORT_TRIES: u32 = 5;

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Wait for every client to leave.
    Smart,
    /// Disconnect clients, roll back, write a checkpoint.
    Fast,
    /// Drop everything; the next start recovers.
    Immediate,
}

/// One node of a cluster.
///
/// All methods take `&self`, so that a test can hold a cluster in an `Arc` and break it from another thread.
#[derive(Debug)]
pub struct Server {
    name: String,
    install: Install,
    account: Option<Account>,
    data: PathBuf,
    log: PathBuf,
    settings: ServerSettings,
    password: Password,
    state: Mutex<State>,
    detached: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    port: u16,
    /// The port was given out already, so a restart must not change it.
    port_is_known: bool,
    follow: Option<Follow>,
    running: Option<Running>,
    /// The System V segment of a killed server, removed at the end unless a restart has taken it over.
    segment: Option<String>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    stamp: Stamp,
}

impl Server {
    pub(crate) fn new(
        install: &Install,
        account: Option<&Account>,
        home: &Path,
        name: String,
        settings: ServerSettings,
        password: Password,
    ) -> Server {
        Server {
            data: home.join(&name),
            log: home.join(format!("{name}.log")),
            install: install.clone(),
            account: account.cloned(),
            settings,
            password,
            state: Mutex::default(),
            detached: AtomicBool::new(false),
            name,
        }
    }

    /// The node's name: `node1`, `node2`, …
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The loopback port, the same for the server's whole life.
    pub fn port(&self) -> u16 {
        self.state().port
    }

    /// The postmaster's pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.stamp().map(|stamp| stamp.pid)
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Whether it has data, whole ones: copies get their name last.
    pub(crate) fn has_data(&self) -> bool {
        self.data.join("PG_VERSION").is_file()
    }

    /// The log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The programs it runs from.
    pub fn install(&self) -> &Install {
        &self.install
    }

    /// Whether it streams from another node, as far as the kit itself arranged.
    pub fn is_standby(&self) -> bool {
        self.state().follow.is_some()
    }

    /// Whether the server process runs (paused counts).
    pub fn is_running(&self) -> bool {
        self.stamp().is_some()
    }

    /// A URL of one of its databases, with the password in it: never log it.
    pub fn url(&self, database: &str) -> String {
        url(self.port(), &self.password, database)
    }

    /// The superuser's password: the same on every node of a cluster, and another one in every cluster.
    pub fn password(&self) -> &Password {
        &self.password
    }

    /// Starts the server and waits until it accepts connections; nothing happens if it runs.
    pub fn start(&self) -> Result<()> {
        let mut state = self.state();
        if state.alive().is_some() {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            tries += 1;
            if !state.port_is_known {
                state.port = ports::free_port()?;
            } else if !wait_until(Duration::from_secs(5), || ports::is_free(state.port)) {
                return Err(Error::NoPort { tried: 1 });
            }
            match self.launch(&mut state) {
                Err(Error::Ended { tail, .. })
                    if tries < PORT_TRIES && !state.port_is_known && tail.contains("could not bind") => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    state.port_is_known = true;
                    state.segment = None;
                    return Ok(());
                }
            }
        }
    }

    /// Stops the server and waits until it has ended; nothing happens if it does not run.
    pub fn stop(&self, how: Stop) -> Result<()> {
        let signal = match how {
            Stop::Smart => Signal::Terminate,
            Stop::Fast => Signal::Interrupt,
            Stop::Immediate => Signal::Quit,
        };
        let mut state = self.state();
        let Some(stamp) = state.alive() else { return Ok(()) };
        each(&stamp.children(), Signal::Continue);
        stamp.signal(Signal::Continue);
        stamp.signal(signal);
        if !wait_until(STOP_LIMIT, || state.alive().is_none()) {
            return Err(Error::TimedOut {
                what: format!("the {how:?} stop of {}", self.name),
                waited: STOP_LIMIT,
            });
        }
        Ok(())
    }

    /// Stops and starts it; the port stays.
    pub fn restart(&self) -> Result<()> {
        self.stop(Stop::Fast)?;
        self.start()
    }

    /// Ends the server as a crash of its machine would: every process of it at once, with no chance to tidy
    /// up.
    ///
    /// When this returns, none of them is left and the server can be started again.
    pub fn kill(&self) -> Result<()> {
        let mut state = self.state();
        let Some(stamp) = state.alive() else { return Ok(()) };
        state.segment =
            self.pid_file_line(7).and_then(|line| line.split_whitespace().last().map(str::to_owned));
        // A stopped postmaster starts no further child behind our back.
        stamp.signal(Signal::Stop);
        let children = stamp.children();
        stamp.signal(Signal::Kill);
        each(&children, Signal::Kill);
        let gone =
            wait_until(KILL_LIMIT, || state.alive().is_none() && !children.iter().any(Stamp::is_alive));
        if gone {
            Ok(())
        } else {
            Err(Error::TimedOut { what: format!("the end of {}", self.name), waited: KILL_LIMIT })
        }
    }

    /// Freezes the server with all of its backends: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        let stamp = self.running()?;
        stamp.signal(Signal::Stop);
        // A process that it forked in the instant of the signal shows a moment later: it would go on serving.
        let mut stopped = None;
        wait_until(STOP_LIMIT, || {
            let children = stamp.children();
            each(&children, Signal::Stop);
            stopped.replace(children.clone()).is_some_and(|before| before == children)
        });
        Ok(())
    }

    /// Thaws a paused server.
    pub fn resume(&self) -> Result<()> {
        let stamp = self.running()?;
        each(&stamp.children(), Signal::Continue);
        stamp.signal(Signal::Continue);
        Ok(())
    }

    /// Makes a standby the primary of its own timeline and waits until it accepts writes.
    pub fn promote(&self) -> Result<()> {
        if !self.is_standby() {
            return Err(Error::WrongRole {
                server: self.name.clone(),
                reason: "is not a standby and cannot be promoted",
            });
        }
        self.sql("SELECT pg_promote(true, 60)")?;
        self.state().follow = None;
        Ok(())
    }

    /// Runs statements as the superuser in the database `postgres`; rows come back unaligned, one a line.
    ///
    /// It starts psql and is meant for administration, not for load.
    pub fn sql(&self, statements: &str) -> Result<String> {
        self.sql_in("postgres", statements)
    }

    /// The same in another database.
    pub fn sql_in(&self, database: &str, statements: &str) -> Result<String> {
        self.running()?;
        let output = process::run(self.psql(database).args(["-v", "ON_ERROR_STOP=1", "-XAtqc", statements]));
        match output {
            Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            Err(Error::Program { said, .. }) => Err(Error::Sql { server: self.name.clone(), said }),
            Err(error) => Err(error),
        }
    }

    /// A psql command that is connected to one of the databases.
    pub fn psql(&self, database: &str) -> Command {
        let mut psql = self.install.command("psql");
        psql.env("PGPASSWORD", self.password.reveal()).env("PGCONNECT_TIMEOUT", "10");
        psql.args(["-h", "127.0.0.1", "-p", &self.port().to_string(), "-U", SUPERUSER, "-d", database]);
        psql
    }

    /// The identity of the postmaster, while it runs.
    pub fn stamp(&self) -> Option<Stamp> {
        self.state().alive()
    }

    /// From now on (after the next start, or at once if `reload` is called) streams from there.
    pub(crate) fn set_follow(&self, follow: Option<Follow>) {
        self.state().follow = follow;
    }

    /// The port that an earlier life of this data directory had: kept if nobody else has it now.
    pub(crate) fn prefer_port(&self, port: u16) {
        if port != 0 && ports::is_free(port) {
            let mut state = self.state();
            (state.port, state.port_is_known) = (port, true);
        }
    }

    /// Writes the settings again and has the running server read them.
    pub(crate) fn reload(&self) -> Result<()> {
        let stamp = self.running()?;
        self.write_configuration(&self.state())?;
        stamp.signal(Signal::HangUp);
        Ok(())
    }

    pub(crate) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
    }

    fn launch(&self, state: &mut State) -> Result<()> {
        self.write_configuration(state)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::io("open", &self.log))?;
        let same = log.try_clone().map_err(Error::io("open", &self.log))?;
        let mut postgres = self.install.command("postgres");
        // The working directory is how the guardian recognises the server, even before it has written its
        // pid.
        postgres.arg("-D").arg(&self.data).current_dir(&self.data);
        postgres.stdin(Stdio::null()).stdout(log).stderr(same);
        run_as(self.account.as_ref(), &mut postgres);
        apart_from_the_last();
        let mut child = process::spawn(&mut postgres)?;
        let pid = child.id();
        let stamp = Stamp::of(pid);
        let mut ended: Option<ExitStatus> = None;
        let ready = wait_until(START_LIMIT, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || self.is_ready(pid)
        });
        if let Some(status) = ended {
            let (server, log, tail) = (self.name.clone(), self.log.clone(), self.log_tail());
            return Err(Error::Ended { server, status, log, tail });
        }
        let Some(stamp) = stamp else { return Err(Error::NotRunning { server: self.name.clone() }) };
        state.running = Some(Running { child, stamp });
        if ready {
            return Ok(());
        }
        let (server, log, tail) = (self.name.clone(), self.log.clone(), self.log_tail());
        Err(Error::NotReady { server, waited: START_LIMIT, log, tail })
    }

    // A pid file of an earlier life may still be there, so its pid must be the one just started.
    fn is_ready(&self, pid: u32) -> bool {
        let Ok(text) = fs::read_to_string(self.data.join("postmaster.pid")) else { return false };
        let lines: Vec<&str> = text.lines().collect();
        let own = lines.first().is_some_and(|first| first.trim() == pid.to_string());
        own && lines.get(7).is_some_and(|status| matches!(status.trim(), "ready" | "standby"))
    }

    fn pid_file_line(&self, number: usize) -> Option<String> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        text.lines().nth(number - 1).map(str::to_owned)
    }

    fn write_configuration(&self, state: &State) -> Result<()> {
        let sockets = self.data.parent().unwrap_or(&self.data).display().to_string();
        // The kernel takes 108 bytes with the file's own name; a longer path means TCP only.
        let sockets = if sockets.len() < 85 { sockets } else { String::new() };
        let mut settings = self
            .settings
            .clone()
            .with("cluster_name", &self.name)
            .with("port", state.port.to_string())
            .with("unix_socket_directories", sockets);
        let signal = self.data.join("standby.signal");
        if let Some(follow) = &state.follow {
            settings = follow.add_to(settings);
            self.write(&signal, "")?;
        } else if signal.exists() {
            fs::remove_file(&signal).map_err(Error::io("remove", &signal))?;
        }
        self.write(&self.data.join("postgresql.conf"), &settings.render())
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        fs::write(path, text).map_err(Error::io("write", path))?;
        match &self.account {
            Some(account) => account.own(path),
            None => Ok(()),
        }
    }

    fn log_tail(&self) -> String {
        process::last_lines(&String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()), 12)
    }

    fn running(&self) -> Result<Stamp> {
        self.stamp().ok_or_else(|| Error::NotRunning { server: self.name.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    /// The running postmaster; one that has ended is reaped on the way.
    fn alive(&mut self) -> Option<Stamp> {
        let running = self.running.as_mut()?;
        match running.child.try_wait() {
            Ok(None) => Some(running.stamp),
            _ => {
                self.running = None;
                None
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.detached.load(Ordering::Relaxed) {
            return;
        }
        let stamp = self.stamp();
        if let Some(stamp) = stamp {
            each(&stamp.children(), Signal::Continue);
            stamp.signal(Signal::Continue);
            stamp.signal(Signal::Quit);
            // Immediate shutdown takes milliseconds; a postmaster that hangs in it is not waited for
            // politely.
            let mut state = self.state();
            if !wait_until(Duration::from_secs(5), || state.alive().is_none()) {
                drop(state);
                drop(self.kill());
            }
        }
        let segment = self.state().segment.take();
        if let Some(segment) = segment {
            drop(process::run(Command::new("ipcrm").args(["-m", &segment])));
        }
    }
}

/// The URL of a database on a loopback port, with the superuser's password: never log it.
pub(crate) fn url(port: u16, password: &Password, database: &str) -> String {
    format!("postgres://{SUPERUSER}:{}@127.0.0.1:{port}/{database}", password.reveal())
}

fn each(stamps: &[Stamp], signal: Signal) {
    for stamp in stamps {
        stamp.signal(signal);
    }
}
/// Waits until the last launch is some milliseconds ago: a server is told from others by the microsecond in
/// which it started, and two that two threads launch at once shared it in two of a hundred runs.
fn apart_from_the_last() {
    const APART: Duration = Duration::from_millis(5);
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    wait_until(APART, || last.is_none_or(|last| last.elapsed() >= APART));
    *last = Some(Instant::now());
}
