//! The development cluster: it outlives the command that started it, and keeps its data until it is reset.
//!
//! Its state is a file beside the data. A process is recorded with the moment it started, so that `down` after a
//! reboot never ends a stranger that got the same pid.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fetch::locked;
use crate::process::{self, Signal, Stamp};
use crate::{ClusterBuilder, DATABASE, Error, PASSWORD, Place, Redis, RedisPrograms, Result, SUPERUSER};

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
}

impl DevState {
    /// Whether every recorded server runs.
    pub fn is_up(&self) -> bool {
        self.nodes.iter().chain(&self.redis).all(|node| node.stamp.is_alive())
    }

    /// The settings that lead a program to this cluster.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let url =
            |node: &DevNode| format!("postgres://{SUPERUSER}:{PASSWORD}@127.0.0.1:{}/{DATABASE}", node.port);
        let mut urls = self.nodes.iter().map(url);
        let mut settings = vec![("DATABASE_URL", urls.next().unwrap_or_default())];
        settings.push(("DATABASE_READ_URLS", urls.collect::<Vec<_>>().join(",")));
        if let Some(redis) = &self.redis {
            settings.push(("REDIS_URL", format!("redis://127.0.0.1:{}", redis.port)));
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
    pub fn state(&self) -> Result<Option<DevState>> {
        let path = self.state_file();
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let bad = |reason: String| Error::State { path: path.clone(), reason };
        let value: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        parse(&value).map(Some).ok_or_else(|| bad("a field is missing".to_owned()))
    }

    /// Starts it, on the data it has if there are any. If it runs already, that is all there is to do.
    pub fn up(
        &self,
        mut builder: ClusterBuilder,
        redis: Option<&RedisPrograms>,
        progress: &dyn Fn(&str),
    ) -> Result<DevState> {
        fs::create_dir_all(&self.dir).map_err(Error::io("create", &self.dir))?;
        let _lock = locked(&self.dir.join("lock"))?;
        let before = self.state().ok().flatten();
        if let Some(state) = before.clone().filter(DevState::is_up) {
            return Ok(state);
        }
        self.end_all()?;
        if before.is_none() && self.data().exists() {
            // A start that died before it was recorded: nothing in there was ever given out.
            fs::remove_dir_all(self.data()).map_err(Error::io("remove", &self.data()))?;
        }
        builder.stays_in = Some(self.data());
        builder.ports = before.iter().flat_map(|state| &state.nodes).map(|node| node.port).collect();
        let cluster = builder.start_with(progress)?;
        let old_port = before.as_ref().and_then(|state| Some(state.redis.as_ref()?.port));
        let redis =
            redis.map(|programs| Redis::staying(programs, &self.dir.join("redis"), old_port)).transpose()?;
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
        };
        self.record(&state)?;
        cluster.detach();
        if let Some(redis) = redis {
            redis.detach();
        }
        Ok(state)
    }

    /// Stops every server of it, however it was left, and keeps the data. Says what it ended.
    pub fn down(&self) -> Result<Vec<String>> {
        if !self.dir.exists() {
            // `cargo clean` may have removed the directory and left the servers.
            return self.end_all();
        }
        let _lock = locked(&self.dir.join("lock"))?;
        self.end_all()
    }

    /// Stops it and forgets its data.
    pub fn remove(&self) -> Result<Vec<String>> {
        let ended = self.down()?;
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir).map_err(Error::io("remove", &self.dir))?;
        }
        Ok(ended)
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
    /// PostgreSQL does the same when it starts, except where nobody reaps the dead postmaster (a container without
    /// an init): then it takes the dead process for a running one.
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
        for entry in fs::read_dir(self.data()).into_iter().flatten().flatten() {
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
        let (path, new) = (self.state_file(), self.dir.join("state.json.new"));
        fs::write(&new, format!("{value:#}\n")).map_err(Error::io("write", &new))?;
        fs::rename(&new, &path).map_err(Error::io("rename into place", &path))
    }

    fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
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
    Some(DevState {
        bin: value.get("bin")?.as_str()?.into(),
        major: value.get("major")?.as_u64()?.try_into().ok()?,
        nodes: value.get("nodes")?.as_array()?.iter().map(node).collect::<Option<_>>()?,
        redis: if redis.is_null() { None } else { Some(node(redis)?) },
    })
}
