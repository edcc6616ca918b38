//! A primary with streaming standbys, ready in about a second, gone with its value.
//!
//! Every node is a cold copy of the same template, so all share one system identifier, and a standby needs no
//! pg_basebackup: it starts from the copy and streams what the primary has written since.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::account::run_as;
use crate::home::{Home, Medium};
use crate::process::{self, Stamp};
use crate::replication::{DROP_IDLE_SLOTS, Follow, create_slot};
use crate::template;
use crate::{DATABASE, Error, Install, Password, Place, Result, Server, ServerSettings, Stop, wait_until};

const STREAM_LIMIT: Duration = Duration::from_secs(60);

/// Says what a cluster shall be like.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    install: Install,
    place: Option<Place>,
    standbys: usize,
    settings: ServerSettings,
    special: Vec<(usize, ServerSettings)>,
    password: Option<Password>,
    pub(crate) stays_in: Option<PathBuf>,
    pub(crate) ports: Vec<u16>,
}

impl ClusterBuilder {
    /// With this many standbys; none by default.
    #[must_use]
    pub fn standbys(mut self, standbys: usize) -> Self {
        self.standbys = standbys;
        self
    }

    /// The major version that it will run.
    pub(crate) fn major(&self) -> u16 {
        self.install.version.major
    }

    /// With these settings on every node; [`ServerSettings::fast`] by default.
    #[must_use]
    pub fn settings(mut self, settings: ServerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// With other settings on one node, counted from 0.
    #[must_use]
    pub fn node_settings(mut self, index: usize, settings: ServerSettings) -> Self {
        self.special.push((index, settings));
        self
    }

    /// With this password of the superuser, so that several clusters can share one; by default each has a
    /// random one.
    #[must_use]
    pub fn password(mut self, password: Password) -> Self {
        self.password = Some(password);
        self
    }

    /// Keeps its template there; by default in the current directory's workspace.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Starts it, and returns when every standby streams.
    pub fn start(self) -> Result<Cluster> {
        self.start_with(&|_| {})
    }

    /// The same, telling what takes time.
    pub fn start_with(self, progress: &dyn Fn(&str)) -> Result<Cluster> {
        let place = match &self.place {
            Some(place) => place.clone(),
            None => Place::here()?,
        };
        let account = place.account();
        let template = template::template(&self.install, &place, progress)?;
        let medium = if self.settings.get("fsync") == Some("on") { Medium::Disk } else { Medium::Fast };
        let home = match &self.stays_in {
            Some(dir) => Home::staying(dir, account)?,
            None => Home::throw_away(account, medium)?,
        };
        let kept = Password::kept(&password_file(home.dir()))?;
        let password = kept.clone().or(self.password).map_or_else(Password::random, Ok)?;
        let node = |index: usize| {
            let special = self.special.iter().rev().find(|(special, _)| *special == index);
            let settings = special.map_or(&self.settings, |(_, settings)| settings).clone();
            let name = format!("node{}", index + 1);
            let server = Server::new(&self.install, account, home.dir(), name, settings, password.clone());
            if let Some(port) = self.ports.get(index) {
                server.prefer_port(*port);
            }
            server
        };
        let nodes: Vec<Server> = (0..=self.standbys).map(node).collect();
        let cluster = Cluster { nodes, primary: AtomicUsize::new(0), place, install: self.install, home };
        cluster.prepare(&template, kept.is_some(), progress)?;
        cluster.begin(progress)?;
        Ok(cluster)
    }
}

/// A running primary and its standbys. Dropping it ends all of them and removes their directory.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: first the servers end, then their directory goes.
    nodes: Vec<Server>,
    primary: AtomicUsize,
    place: Place,
    install: Install,
    home: Home,
}

impl Cluster {
    /// Starts to describe a cluster.
    pub fn builder(install: Install) -> ClusterBuilder {
        ClusterBuilder {
            install,
            place: None,
            standbys: 0,
            settings: ServerSettings::fast(),
            special: Vec::new(),
            password: None,
            stays_in: None,
            ports: Vec::new(),
        }
    }

    /// The directory with all of its nodes.
    pub fn dir(&self) -> &Path {
        self.home.dir()
    }

    /// The installation it runs from.
    pub fn install(&self) -> &Install {
        &self.install
    }

    /// All nodes, in the order of their names.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// One node, counted from 0.
    pub fn node(&self, index: usize) -> Result<&Server> {
        self.nodes.get(index).ok_or(Error::NoSuchNode { index, nodes: self.nodes.len() })
    }

    /// The node that takes writes, as far as the kit itself arranged.
    pub fn primary(&self) -> &Server {
        &self.nodes[self.primary_index()]
    }

    /// The primary's index among the nodes.
    pub fn primary_index(&self) -> usize {
        self.primary.load(Ordering::Relaxed)
    }

    /// The nodes that stream from another.
    pub fn standbys(&self) -> impl Iterator<Item = &Server> {
        let primary = self.primary_index();
        self.nodes.iter().enumerate().filter(move |(index, _)| *index != primary).map(|(_, node)| node)
    }

    /// The URL of the database `app` on the primary, with its password: never log it.
    pub fn primary_url(&self) -> String {
        self.primary().url(DATABASE)
    }

    /// The URLs of the database `app` on the standbys.
    pub fn standby_urls(&self) -> Vec<String> {
        self.standbys().map(|node| node.url(DATABASE)).collect()
    }

    /// Promotes a standby; the others that run follow it from then on.
    ///
    /// The old primary is left as it is: stop or kill it first, or there are two. [`Cluster::rejoin`] brings
    /// it back.
    pub fn promote(&self, index: usize) -> Result<()> {
        let chosen = self.node(index)?;
        let old = self.primary_index();
        chosen.promote()?;
        self.primary.store(index, Ordering::Relaxed);
        for (other, node) in self.nodes.iter().enumerate() {
            if other != index && other != old && node.is_standby() {
                chosen.sql(&create_slot(node.name()))?;
                node.set_follow(Some(self.follow(node)));
                if node.is_running() {
                    node.reload()?;
                }
            }
        }
        Ok(())
    }

    /// Brings a node back as a standby of the current primary: with pg_rewind, else with pg_basebackup.
    pub fn rejoin(&self, index: usize) -> Result<()> {
        let node = self.node(index)?;
        if index == self.primary_index() {
            return Err(Error::WrongRole {
                server: node.name().to_owned(),
                reason: "is the primary and cannot rejoin",
            });
        }
        node.stop(Stop::Fast)?;
        let primary = self.primary();
        // pg_rewind reads the source's control file, which learns of a new timeline with the first
        // checkpoint.
        primary.sql("CHECKPOINT")?;
        primary.sql(&create_slot(node.name()))?;
        let follow = self.follow(node);
        if self.rewind(node, &follow).is_err() {
            self.copy_again(node, &follow)?;
        }
        node.set_follow(Some(follow));
        node.start()?;
        node.sql(DROP_IDLE_SLOTS)?;
        self.await_streaming(STREAM_LIMIT)
    }

    /// Waits until every standby that runs streams from the primary.
    pub fn await_streaming(&self, limit: Duration) -> Result<()> {
        let expected = self.standbys().filter(|node| node.is_standby() && node.is_running()).count();
        let query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name LIKE 'node%'";
        self.await_on_primary(limit, "streaming to every standby", query, |found| {
            found.parse::<usize>().is_ok_and(|found| found >= expected)
        })
    }

    /// Waits until every standby that streams has replayed all that the primary has written up to now.
    pub fn await_replay(&self, limit: Duration) -> Result<()> {
        self.await_streaming(limit)?;
        let written = self.primary().sql("SELECT pg_current_wal_flush_lsn()")?;
        let query = format!(
            "SELECT coalesce(bool_and(replay_lsn >= '{written}'), true) FROM pg_stat_replication \
             WHERE application_name LIKE 'node%'"
        );
        self.await_on_primary(limit, "replay on every standby", &query, |found| found == "t")
    }

    /// Ends another process together with this cluster if this process is killed.
    pub fn guard(&self, child: &Child) {
        if let Some(stamp) = Stamp::of(child.id()) {
            self.home.also(stamp);
        }
    }

    pub(crate) fn detach(self) {
        for node in &self.nodes {
            node.detach();
        }
        self.home.detach();
    }

    /// Sees to it that every node has data, and the superuser the cluster's password.
    ///
    /// It is set before the data are copied for the standbys: one that replays late would not know it for
    /// long.
    fn prepare(&self, template: &Path, password_is_set: bool, progress: &dyn Fn(&str)) -> Result<()> {
        let new = !self.nodes.iter().any(Server::has_data);
        // Data of an earlier life tell by themselves who was the primary.
        let leads = |node: &Server| node.has_data() && !node.data_dir().join("standby.signal").exists();
        let primary = self.nodes.iter().position(leads).unwrap_or(0);
        self.primary.store(primary, Ordering::Relaxed);
        let primary = self.primary();
        if new {
            template::copy(template, primary.data_dir())?;
        } else if !password_is_set {
            progress("giving the superuser a new password");
        }
        if new || !password_is_set {
            let statements = primary.password().statements();
            template::single_user(&self.install, self.place.account(), primary.data_dir(), &statements)?;
        }
        // Last, so that a password that is kept is always the right one.
        primary.password().keep(&self.passfile(), self.place.account())?;
        let source = if new { primary.data_dir() } else { template };
        let empty = self.nodes.iter().filter(|node| !node.has_data());
        each_in_parallel(empty, |node| template::copy(source, node.data_dir()))
    }

    fn begin(&self, progress: &dyn Fn(&str)) -> Result<()> {
        let primary = self.primary();
        progress("starting the primary");
        primary.start()?;
        if self.nodes.len() == 1 {
            return Ok(());
        }
        let slots: Vec<String> = self.standbys().map(|node| create_slot(node.name())).collect();
        primary.sql(&slots.join("; "))?;
        progress(&format!("starting {} standbys", self.nodes.len() - 1));
        each_in_parallel(self.standbys(), |node| {
            node.set_follow(Some(self.follow(node)));
            node.start()
        })?;
        self.await_streaming(STREAM_LIMIT)
    }

    fn follow(&self, node: &Server) -> Follow {
        Follow { port: self.primary().port(), name: node.name().to_owned(), passfile: self.passfile() }
    }

    fn passfile(&self) -> PathBuf {
        password_file(self.home.dir())
    }

    fn rewind(&self, node: &Server, follow: &Follow) -> Result<()> {
        let mut rewind = self.install.command("pg_rewind");
        rewind.arg("--target-pgdata").arg(node.data_dir()).current_dir(node.data_dir());
        rewind.arg("--source-server").arg(format!("{} dbname=postgres", follow.conninfo()));
        run_as(self.place.account(), &mut rewind);
        process::run(&mut rewind).map(drop)
    }

    fn copy_again(&self, node: &Server, follow: &Follow) -> Result<()> {
        let data = node.data_dir();
        fs::remove_dir_all(data).map_err(Error::io("remove", data))?;
        let mut backup = self.install.command("pg_basebackup");
        backup.arg("--pgdata").arg(data).current_dir(self.dir());
        backup.args([
            "--dbname",
            &follow.conninfo(),
            "--checkpoint",
            "fast",
            "--wal-method",
            "stream",
            "--no-sync",
        ]);
        run_as(self.place.account(), &mut backup);
        process::run(&mut backup).map(drop)
    }

    fn await_on_primary(
        &self,
        limit: Duration,
        what: &str,
        query: &str,
        holds: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let mut refused = None;
        let reached = wait_until(limit, || match self.primary().sql(query) {
            Ok(found) => holds(&found),
            Err(error) => {
                refused = Some(error);
                true
            }
        });
        match (refused, reached) {
            (Some(error), _) => Err(error),
            (None, true) => Ok(()),
            (None, false) => Err(Error::TimedOut { what: what.to_owned(), waited: limit }),
        }
    }
}

/// Where a cluster keeps its password, in libpq's form.
pub(crate) fn password_file(dir: &Path) -> PathBuf {
    dir.join("pgpass")
}

fn each_in_parallel<'a>(
    nodes: impl Iterator<Item = &'a Server>,
    work: impl Fn(&Server) -> Result<()> + Sync,
) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = nodes.map(|node| scope.spawn(move || work(node))).collect();
        let results: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        results.into_iter().collect()
    })
}
