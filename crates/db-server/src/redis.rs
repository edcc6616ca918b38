//! One Redis (or Valkey) server on a loopback port, with no persistence unless asked for.

use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::home::{Home, Medium};
use crate::password::write_private;
use crate::process::{self, Signal, Stamp};
use crate::{Error, Origin, Password, Result, ports, redis_protocol, wait_until};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const NAME: &str = "redis";
const SETTINGS: &str = "redis.conf";

/// The program of a Redis or Valkey, as [`find_redis`](crate::find_redis) finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisProgram {
    /// Where it is: `redis-server` or `valkey-server`.
    pub path: PathBuf,
    /// How it was come by.
    pub origin: Origin,
}

/// A running server. Dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct Redis {
    program: RedisProgram,
    name: String,
    dir: PathBuf,
    password: Password,
    more: Vec<(String, String)>,
    state: Mutex<State>,
    detached: AtomicBool,
    home: Option<Home>,
}

#[derive(Debug, Default)]
struct State {
    port: u16,
    running: Option<(Child, Stamp)>,
}

impl Redis {
    /// Starts a server with nothing in it that forgets everything when it ends.
    pub fn start(program: &RedisProgram) -> Result<Redis> {
        Redis::start_with(program, &[])
    }

    /// The same with more settings of redis.conf, which win.
    pub fn start_with(program: &RedisProgram, settings: &[(&str, &str)]) -> Result<Redis> {
        let home = Home::throw_away(None, Medium::Fast)?;
        let mut redis = Redis::in_directory(program, home.dir(), NAME, Password::random()?, settings)?;
        redis.home = Some(home);
        redis.run()?;
        Ok(redis)
    }

    /// One whose password is kept in its directory, and serves again when it is started there again.
    pub(crate) fn staying(program: &RedisProgram, dir: &Path, port: Option<u16>) -> Result<Redis> {
        let home = Home::staying(dir, None)?;
        let password = match Password::kept(&password_file(home.dir()))? {
            Some(password) => password,
            None => Password::random()?,
        };
        password.keep(&password_file(home.dir()), None)?;
        let mut redis = Redis::in_directory(program, home.dir(), NAME, password, &[])?;
        redis.home = Some(home);
        if let Some(port) = port.filter(|port| ports::is_free(*port)) {
            redis.state().port = port;
        }
        redis.run()?;
        Ok(redis)
    }

    /// A server, not started yet, in a directory of its own below one that somebody else guards.
    pub(crate) fn in_directory(
        program: &RedisProgram,
        home: &Path,
        name: &str,
        password: Password,
        more: &[(&str, &str)],
    ) -> Result<Redis> {
        let dir = home.join(name);
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        Ok(Redis {
            program: program.clone(),
            name: name.to_owned(),
            dir,
            password,
            more: more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            state: Mutex::default(),
            detached: AtomicBool::new(false),
            home: None,
        })
    }

    /// The loopback port, the same for the server's whole life.
    pub fn port(&self) -> u16 {
        self.state().port
    }

    /// The server's URL, with its password: never log it.
    pub fn url(&self) -> String {
        url(self.port(), &self.password)
    }

    pub(crate) fn password(&self) -> &Password {
        &self.password
    }

    /// Sends one command and returns its answer, for administration and not for load.
    ///
    /// # Errors
    /// When it does not answer within five seconds, or refuses.
    pub fn ask(&self, command: &[&str]) -> Result<String> {
        redis_protocol::ask(self.port(), &self.password, command)
            .map_err(|source| Error::Redis { server: self.name.clone(), source })
    }

    /// The server's pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.stamp().map(|stamp| stamp.pid)
    }

    /// The identity of the server process, while it runs.
    pub fn stamp(&self) -> Option<Stamp> {
        self.state().alive()
    }

    /// Starts it (again) on its port and waits until it answers; nothing happens if it runs.
    pub fn run(&self) -> Result<()> {
        let mut state = self.state();
        if state.alive().is_some() {
            return Ok(());
        }
        let fresh = state.port == 0;
        for last in [false, false, false, true] {
            if fresh {
                state.port = ports::free_port()?;
            }
            match self.launch(&mut state) {
                Err(Error::Ended { .. }) if fresh && !last => {}
                result => return result,
            }
        }
        Err(Error::NoPort { tried: 4 })
    }

    /// Stops it politely and waits until it has ended.
    pub fn stop(&self) -> Result<()> {
        self.end(Signal::Terminate)
    }

    /// Kills it and waits until it has ended.
    pub fn kill(&self) -> Result<()> {
        self.end(Signal::Kill)
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.running()?.signal(Signal::Stop);
        Ok(())
    }

    /// Thaws it.
    pub fn resume(&self) -> Result<()> {
        self.running()?.signal(Signal::Continue);
        Ok(())
    }

    pub(crate) fn detach(self) {
        self.detached.store(true, Ordering::Relaxed);
        if let Some(home) = &self.home {
            home.detach();
        }
    }

    fn launch(&self, state: &mut State) -> Result<()> {
        let path = self.dir.join("log");
        let log = File::options().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        // In a file, and not among the arguments: those every user of the machine can read.
        write_private(&self.dir.join(SETTINGS), &self.settings(state.port), None)?;
        let mut command = Command::new(&self.program.path);
        command.arg(SETTINGS);
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        let mut child = process::spawn(&mut command)?;
        let pid = child.id();
        let stamp = Stamp::of(pid);
        let mut ended = None;
        let ready = wait_until(START_LIMIT, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || self.answers(state.port, pid)
        });
        let tail = || process::last_lines(&String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()), 12);
        let server = self.name.clone();
        match (ended, stamp) {
            (Some(status), _) => return Err(Error::Ended { server, status, tail: tail(), log: path }),
            (None, Some(stamp)) => state.running = Some((child, stamp)),
            (None, None) => return Err(Error::NotRunning { server }),
        }
        if ready {
            Ok(())
        } else {
            Err(Error::NotReady { server, waited: START_LIMIT, tail: tail(), log: path })
        }
    }

    fn settings(&self, port: u16) -> String {
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass {}\ndaemonize no\npidfile redis.pid\nsave \"\"\nappendonly no\n",
            self.password.reveal()
        );
        for (name, value) in &self.more {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} {value}");
        }
        text
    }

    /// Whether the process with this pid answers there: another server may have won the port.
    fn answers(&self, port: u16, pid: u32) -> bool {
        let said = redis_protocol::ask(port, &self.password, &["INFO", "server"]);
        said.is_ok_and(|said| said.lines().any(|line| line == format!("process_id:{pid}")))
    }

    fn end(&self, signal: Signal) -> Result<()> {
        let mut state = self.state();
        let Some(stamp) = state.alive() else { return Ok(()) };
        stamp.signal(Signal::Continue);
        stamp.signal(signal);
        if wait_until(STOP_LIMIT, || state.alive().is_none()) {
            return Ok(());
        }
        Err(Error::TimedOut { what: format!("the end of {}", self.name), waited: STOP_LIMIT })
    }

    fn running(&self) -> Result<Stamp> {
        self.stamp().ok_or_else(|| Error::NotRunning { server: self.name.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn alive(&mut self) -> Option<Stamp> {
        let (child, stamp) = self.running.as_mut()?;
        match child.try_wait() {
            Ok(None) => Some(*stamp),
            _ => {
                self.running = None;
                None
            }
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if !self.detached.load(Ordering::Relaxed) {
            drop(self.kill());
        }
    }
}

/// Where a server that stays keeps its password.
pub(crate) fn password_file(dir: &Path) -> PathBuf {
    dir.join("password")
}

/// The port in the settings that were written for the last start of a server that stays.
pub(crate) fn last_port(dir: &Path) -> Option<u16> {
    let text = fs::read_to_string(dir.join(NAME).join(SETTINGS)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("port "))?.parse().ok()
}

/// The URL of a server on a loopback port, with its password: never log it.
pub(crate) fn url(port: u16, password: &Password) -> String {
    format!("redis://:{}@127.0.0.1:{port}", password.reveal())
}
