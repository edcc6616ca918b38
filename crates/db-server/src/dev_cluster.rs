//! The development cluster: it outlives the command that started it, and keeps its data until it is reset.
//!
//! Its state is a file beside the data. A process is recorded with the moment it started, so that `down`
//! after a reboot never ends a stranger that got the same pid. What the data are, the data say: without the
//! state file, the cluster starts on them all the same, and only `remove` ever deletes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fetch::locked;
use crate::password::write_private;
use crate::process::{self, Signal, Stamp};
use crate::{
    ClusterBuilder, DATABASE, Error, Password, Place, Redis, RedisProgram, Result, cluster, redis, server,
};

const END_LIMIT: Duration = Duration::from_secs(30);

/// The one development cluster of a workspace.
#[derive(Debug, Clone)]
pub struct DevCluster {
    dir: PathBuf,
}

/// One recorded server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevNode {
    /// `node1`, `node2`, … or `redis`.
    pub name: String,
    /// Its process.
    pub stamp: Stamp,
    /// Its loopback port.
    pub port: u16,
}

/// What is recorded of a development cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevState {
    /// The bin directory it runs from.
    pub bin: PathBuf,
    /// The major version of its data.
    pub major: u16,
    /// The primary, then the standbys.
    pub nodes: Vec<DevNode>,
    /// Redis, if there is one.
    pub redis: Option<DevNode>,
    /// The superuser's password, unless the file beside the data is gone.
    pub password: Option<Password>,
    /// Redis' password, likewise.
    pub redis_password: Option<Password>,
}

/// What the data of a development cluster say about themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevData {
    /// Their major version.
    pub major: u16,
    /// How many standbys they have.
    pub standbys: usize,
    /// The port of each node at its last start, from the first node on; 0 where none is known.
    ports: Vec<u16>,
}

/// What [`DevCluster::down`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DevDown {
    /// The servers that it ended, each with its pid.
    pub ended: Vec<String>,
    /// The state file that could not be read, which is gone now.
    pub forgotten: Option<PathBuf>,
}

impl DevState {
    /// Whether every recorded server runs, and it is known how to log in.
    pub fn is_up(&self) -> bool {
        let run = self.nodes.iter().chain(&self.redis).all(|node| node.stamp.is_alive());
        run && self.password.is_some() && (self.redis.is_none() || self.redis_password.is_some())
    }

    /// The settings that lead a program to this cluster, with its passwords: never log them.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if let Some(password) = &self.password {
            let mut urls = self.nodes.iter().map(|node| server::url(node.port, password, DATABASE));
            settings.push(("DATABASE_URL", urls.next().unwrap_or_default()));
            settings.push(("DATABASE_READ_URLS", urls.collect::<Vec<_>>().join(",")));
        }
        if let (Some(redis), Some(password)) = (&self.redis, &self.redis_password) {
            settings.push(("REDIS_URL", redis::url(redis.port, password)));
        }
        settings.retain(|(_, value)| !value.is_empty());
        settings
    }
}

impl DevCluster {
    /// The cluster of this place, running or not.
    pub fn of(place: &Place) -> DevCluster {
        DevCluster { dir: place.dev_cluster() }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is recorded, if anything.
    ///
    /// # Errors
    /// When the file cannot be read; [`DevCluster::down`] removes it.
    pub fn state(&self) -> Result<Option<DevState>> {
        let path = self.state_file();
        if !path.exists() {
            return Ok(None);
        }
        let bad = |reason: String| Error::State { path: path.clone(), reason };
        let text = fs::read_to_string(&path).map_err(|error| bad(error.to_string()))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let mut state = parse(&value).ok_or_else(|| bad("a field is missing".to_owned()))?;
        state.password = Password::kept(&cluster::password_file(&self.data_dir()))?;
        state.redis_password = Password::kept(&redis::password_file(&self.redis_dir()))?;
        Ok(Some(state))
    }

    /// What its data say about themselves, recorded or not; `None` where there are none.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn data(&self) -> Result<Option<DevData>> {
        let first = self.node_dir(1);
        if !first.exists() {
            return Ok(None);
        }
        let bad = |reason: String| Error::Data { dir: self.data_dir(), reason };
        let path = first.join("PG_VERSION");
        let text = fs::read_to_string(&path).map_err(|error| bad(format!("{}: {error}", path.display())))?;
        let unknown = || bad(format!("{} holds {text:?}, which is no version", path.display()));
        let major = text.trim().parse().map_err(|_| unknown())?;
        let nodes = (1..).take_while(|number| self.node_dir(*number).exists());
        let ports: Vec<u16> = nodes.map(|number| last_port(&self.node_dir(number)).unwrap_or(0)).collect();
        Ok(Some(DevData { major, standbys: ports.len() - 1, ports }))
    }

    /// Starts it, on the data it has if there are any. If it runs already, that is all there is to do.
    ///
    /// # Errors
    /// When the state file cannot be read, the data are of another version or cannot be read, or a server
    /// does not start. The data stay as they are.
    pub fn up(
        &self,
        mut builder: ClusterBuilder,
        redis: Option<&RedisProgram>,
        progress: &dyn Fn(&str),
    ) -> Result<DevState> {
        fs::create_dir_all(&self.dir).map_err(Error::io("create", &self.dir))?;
        let _lock = locked(&self.dir.join("lock"))?;
        if let Some(state) = self.state()?.filter(DevState::is_up) {
            return Ok(state);
        }
        self.end_all()?;
        if let Some(data) = self.data()? {
            let wanted = builder.major();
            if data.major != wanted {
                return Err(Error::OtherMajor { dir: self.data_dir(), found: data.major, wanted });
            }
            builder = builder.standbys(data.standbys);
            builder.ports = data.ports;
        }
        builder.stays_in = Some(self.data_dir());
        let cluster = builder.start_with(progress)?;
        let old_port = redis::last_port(&self.redis_dir());
        let redis = redis.map(|program| Redis::staying(program, &self.redis_dir(), old_port)).transpose()?;
        let node = |name: &str, stamp: Option<Stamp>, port| {
            let server = name.to_owned();
            let stamp = stamp.ok_or_else(|| Error::NotRunning { server: server.clone() })?;
            Ok::<_, Error>(DevNode { name: server, stamp, port })
        };
        let state = DevState {
            bin: cluster.install().bin.clone(),
            major: cluster.install().version.major,
            nodes: std::iter::once(cluster.primary())
                .chain(cluster.standbys())
                .map(|server| node(server.name(), server.stamp(), server.port()))
                .collect::<Result<_>>()?,
            redis: redis.as_ref().map(|redis| node("redis", redis.stamp(), redis.port())).transpose()?,
            password: Some(cluster.primary().password().clone()),
            redis_password: redis.as_ref().map(|redis| redis.password().clone()),
        };
        self.record(&state)?;
        cluster.detach();
        if let Some(redis) = redis {
            redis.detach();
        }
        Ok(state)
    }

    /// Stops every server of it, however it was left, and keeps the data.
    ///
    /// A state file that cannot be read is removed: the servers are found by the directories they work in.
    pub fn down(&self) -> Result<DevDown> {
        if !self.dir.exists() {
            // `cargo clean` may have removed the directory and left the servers.
            return Ok(DevDown { ended: self.end_all()?, forgotten: None });
        }
        let _lock = locked(&self.dir.join("lock"))?;
        let ended = self.end_all()?;
        let (path, mut forgotten) = (self.state_file(), None);
        if let Err(Error::State { .. }) = self.state() {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io("remove", &path))?;
            forgotten = Some(path);
        }
        Ok(DevDown { ended, forgotten })
    }

    /// Stops it and forgets its data.
    pub fn remove(&self) -> Result<DevDown> {
        let down = self.down()?;
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).map_err(Error::io("remove", &self.dir))?;
        }
        Ok(down)
    }

    fn end_all(&self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        for node in self.recorded_and_found() {
            for child in node.stamp.children() {
                child.signal(Signal::Continue);
            }
            node.stamp.signal(Signal::Continue);
            let children = node.stamp.children();
            let polite = if node.name == "redis" { Signal::Terminate } else { Signal::Interrupt };
            if !node.stamp.signal(polite) {
                continue;
            }
            let gone = node.stamp.wait_gone(END_LIMIT) || {
                node.stamp.signal(Signal::Quit);
                node.stamp.wait_gone(END_LIMIT) || {
                    node.stamp.signal(Signal::Kill);
                    node.stamp.wait_gone(END_LIMIT)
                }
            };
            for child in children {
                child.signal(Signal::Kill);
            }
            if !gone {
                return Err(Error::TimedOut {
                    what: format!("the end of {}", node.name),
                    waited: 3 * END_LIMIT,
                });
            }
            ended.push(format!("{} (pid {})", node.name, node.stamp.pid));
        }
        self.sweep()?;
        Ok(ended)
    }

    /// Ends backends whose postmaster is gone, and only then removes its lock files.
    ///
    /// PostgreSQL does the same when it starts, except where nobody reaps the dead postmaster (a container
    /// without an init): then it takes the dead process for a running one.
    fn sweep(&self) -> Result<()> {
        let left = process::servers_below(&self.dir);
        for found in &left {
            found.stamp.signal(Signal::Continue);
            found.stamp.signal(Signal::Kill);
        }
        if !left.iter().all(|found| found.stamp.wait_gone(END_LIMIT)) {
            let what = format!("the end of what ran in {}", self.dir.display());
            return Err(Error::TimedOut { what, waited: END_LIMIT });
        }
        for entry in fs::read_dir(self.data_dir()).into_iter().flatten().flatten() {
            let is_socket = entry.file_name().to_string_lossy().starts_with(".s.PGSQL.");
            let file = if is_socket { entry.path() } else { entry.path().join("postmaster.pid") };
            if file.exists() {
                fs::remove_file(&file).map_err(Error::io("remove", &file))?;
            }
        }
        Ok(())
    }

    /// The standbys come last in the record and first here, so that none complains of a lost primary.
    fn recorded_and_found(&self) -> Vec<DevNode> {
        let mut nodes = Vec::new();
        if let Ok(Some(state)) = self.state() {
            nodes.extend(state.redis);
            nodes.extend(state.nodes.into_iter().rev());
        }
        // Servers of an `up` that died before it recorded them, or whose directory `cargo clean` removed.
        for found in process::leaders(&process::servers_below(&self.dir)) {
            if !nodes.iter().any(|node: &DevNode| node.stamp == found.stamp) {
                let name = found.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
                nodes.push(DevNode { name, stamp: found.stamp, port: 0 });
            }
        }
        nodes
    }

    fn record(&self, state: &DevState) -> Result<()> {
        let node = |node: &DevNode| json!({ "name": node.name, "pid": node.stamp.pid, "started": node.stamp.started, "port": node.port });
        let value = json!({
            "bin": state.bin,
            "major": state.major,
            "nodes": state.nodes.iter().map(node).collect::<Vec<_>>(),
            "redis": state.redis.as_ref().map(node),
        });
        write_private(&self.state_file(), &format!("{value:#}\n"), None)
    }

    fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn node_dir(&self, number: usize) -> PathBuf {
        self.data_dir().join(format!("node{number}"))
    }

    fn redis_dir(&self) -> PathBuf {
        self.dir.join("redis")
    }
}

/// The port in the settings that were written for a node's last start.
fn last_port(node: &Path) -> Option<u16> {
    let text = fs::read_to_string(node.join("postgresql.conf")).ok()?;
    let port = text.lines().find_map(|line| line.strip_prefix("port = '"))?;
    port.trim_end_matches('\'').parse().ok()
}

fn parse(value: &Value) -> Option<DevState> {
    let node = |value: &Value| {
        let pid = value.get("pid")?.as_u64()?.try_into().ok()?;
        Some(DevNode {
            name: value.get("name")?.as_str()?.to_owned(),
            stamp: Stamp { pid, started: value.get("started")?.as_u64()? },
            port: value.get("port")?.as_u64()?.try_into().ok()?,
        })
    };
    let redis = value.get("redis")?;
    let nodes: Vec<DevNode> = value.get("nodes")?.as_array()?.iter().map(node).collect::<Option<_>>()?;
    // Without a primary it is no cluster.
    nodes.first()?;
    Some(DevState {
        bin: value.get("bin")?.as_str()?.into(),
        major: value.get("major")?.as_u64()?.try_into().ok()?,
        nodes,
        redis: if redis.is_null() { None } else { Some(node(redis)?) },
        password: None,
        redis_password: None,
    })
}
