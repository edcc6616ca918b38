//! One Redis (or Valkey) server on a loopback port, with no persistence unless asked for.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::home::{Home, Medium};
use crate::process::{self, Signal, Stamp};
use crate::{Error, Result, apt, ports, wait_until};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The programs of a Redis or Valkey installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisPrograms {
    /// `redis-server` or `valkey-server`.
    pub server: PathBuf,
    /// `redis-cli` or `valkey-cli`, if it is there.
    pub client: Option<PathBuf>,
}

impl RedisPrograms {
    /// Looks on PATH.
    pub fn find() -> Result<RedisPrograms> {
        RedisPrograms::find_with(&crate::environment)
    }

    /// Looks on the PATH that `lookup` knows.
    pub fn find_with(lookup: &dyn Fn(&str) -> Option<String>) -> Result<RedisPrograms> {
        let path = lookup("PATH").unwrap_or_default();
        let program =
            |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
        ["redis", "valkey"]
            .into_iter()
            .find_map(|kind| {
                let server = program(&format!("{kind}-server"))?;
                Some(RedisPrograms { server, client: program(&format!("{kind}-cli")) })
            })
            .ok_or(Error::NoRedis)
    }

    /// Finds the programs, or installs them with apt-get when this process is root on a Debian.
    pub fn find_or_install(progress: &dyn Fn(&str)) -> Result<RedisPrograms> {
        apt::find_or_install("redis-server", RedisPrograms::find, progress)
    }
}

/// A running server. Dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct Redis {
    programs: RedisPrograms,
    name: String,
    dir: PathBuf,
    arguments: Vec<String>,
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
    pub fn start(programs: &RedisPrograms) -> Result<Redis> {
        Redis::start_with(programs, &[])
    }

    /// The same with more `--name value` arguments.
    pub fn start_with(programs: &RedisPrograms, arguments: &[&str]) -> Result<Redis> {
        let home = Home::throw_away(None, Medium::Fast)?;
        let mut redis = Redis::in_directory(programs, home.dir(), "redis", arguments)?;
        redis.home = Some(home);
        redis.run()?;
        Ok(redis)
    }

    pub(crate) fn staying(programs: &RedisPrograms, dir: &Path, port: Option<u16>) -> Result<Redis> {
        let home = Home::staying(dir, None)?;
        let mut redis = Redis::in_directory(programs, home.dir(), "redis", &[])?;
        redis.home = Some(home);
        if let Some(port) = port.filter(|port| ports::is_free(*port)) {
            redis.state().port = port;
        }
        redis.run()?;
        Ok(redis)
    }

    /// A server, not started yet, in a directory of its own below one that somebody else guards.
    pub(crate) fn in_directory(
        programs: &RedisPrograms,
        home: &Path,
        name: &str,
        more: &[&str],
    ) -> Result<Redis> {
        let dir = home.join(name);
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        Ok(Redis {
            programs: programs.clone(),
            name: name.to_owned(),
            dir,
            arguments: more.iter().map(|argument| (*argument).to_owned()).collect(),
            state: Mutex::default(),
            detached: AtomicBool::new(false),
            home: None,
        })
    }

    /// The loopback port, the same for the server's whole life.
    pub fn port(&self) -> u16 {
        self.state().port
    }

    /// The server's URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
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
        let port = state.port.to_string();
        let mut command = Command::new(&self.programs.server);
        command.args(["--port", &port, "--bind", "127.0.0.1", "--daemonize", "no", "--pidfile", "redis.pid"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&self.dir).args(&self.arguments);
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        let mut child = process::spawn(&mut command)?;
        let pid = child.id();
        let stamp = Stamp::of(pid);
        let mut ended = None;
        let ready = wait_until(START_LIMIT, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || answers(state.port, pid)
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

/// Whether the process with this pid answers there: another server may have won the port.
fn answers(port: u16, pid: u32) -> bool {
    let wanted = format!("process_id:{pid}\r\n");
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"INFO server\r\n")?;
        let mut buffer = [0; 4096];
        let mut said = String::new();
        while !said.contains(&wanted) {
            match stream.read(&mut buffer)? {
                0 => return Ok(false),
                read => said.push_str(&String::from_utf8_lossy(&buffer[..read])),
            }
        }
        Ok(true)
    };
    ask().unwrap_or(false)
}
