//! One application process, as the one that starts it sees it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use db_server::process::{Signal, Stamp};
use db_testkit::until;
use serde_json::{Value, json};

use super::Scene;
use super::child::CHILD;

/// A process that reads and writes until it is told to stop.
pub(super) struct Process {
    place: usize,
    /// How many processes have been at this place before.
    life: u32,
    child: Child,
    said: Arc<Said>,
    /// What was read by those that were here before.
    reads_before: u64,
}

/// What it has said last.
#[derive(Default)]
struct Said {
    is_ready: AtomicBool,
    has_stopped: AtomicBool,
    reads: AtomicU64,
    stale: Mutex<Option<u64>>,
    stats: Mutex<Value>,
}

impl Process {
    pub(super) async fn start(scene: &Scene, place: usize, life: u32) -> Process {
        let process = Process::spawn(scene, place, life, 0);
        until("a process is ready", async || process.said.is_ready.load(Ordering::SeqCst)).await;
        process
    }

    fn spawn(scene: &Scene, place: usize, life: u32, reads_before: u64) -> Process {
        let primary = scene.primaries[place].through(&scene.cluster.primary_url()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg(CHILD)
            .env("CHAOS_PRIMARY", primary)
            .env("CHAOS_STANDBY", scene.cluster.url_of(1).unwrap())
            .env("CHAOS_REDIS", scene.tiers[place].through(&scene.redis.url()).unwrap())
            .env("CHAOS_LOG", scene.logs.path().join(format!("{place}-{life}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = db_server::process::spawn(&mut command).unwrap();
        let said = Arc::new(Said::default());
        let (output, hears) = (child.stdout.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                hears.hear(&line);
            }
        });
        Process { place, life, child, said, reads_before }
    }

    /// kill -9, and another one in its place at once.
    pub(super) fn kill(&mut self, scene: &Scene) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let reads = self.reads();
        *self = Process::spawn(scene, self.place, self.life + 1, reads);
    }

    pub(super) fn signal(&self, signal: Signal) {
        Stamp::of(self.child.id()).unwrap().signal(signal);
    }

    /// How many reads it and those before it have written down.
    pub(super) fn reads(&self) -> u64 {
        self.reads_before + self.said.reads.load(Ordering::SeqCst)
    }

    /// Ends its reads and writes.
    pub(super) async fn stop(&mut self) {
        until("a process is ready", async || self.said.is_ready.load(Ordering::SeqCst)).await;
        self.tell("stop");
        until("a process has stopped", async || self.said.has_stopped.load(Ordering::SeqCst)).await;
    }

    /// How many keys it still reads as the database does not have them, when nothing happens any more.
    pub(super) async fn check(&mut self) -> u64 {
        self.tell("check");
        let told = || *self.said.stale.lock().unwrap();
        until("a process has checked all keys", async || told().is_some()).await;
        told().unwrap()
    }

    pub(super) fn stats(&self) -> Value {
        json!({ "lives": self.life + 1, "last": *self.said.stats.lock().unwrap() })
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }
}

impl Said {
    fn hear(&self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "ready" => self.is_ready.store(true, Ordering::SeqCst),
            "reads" => self.reads.store(rest.parse().unwrap(), Ordering::SeqCst),
            "stopped" => self.has_stopped.store(true, Ordering::SeqCst),
            "stats" => *self.stats.lock().unwrap() = serde_json::from_str(rest).unwrap(),
            "stale" => *self.stale.lock().unwrap() = rest.parse().ok(),
            _ => {}
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended needs no ending.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
