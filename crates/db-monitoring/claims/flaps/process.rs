//! A replica of the service as a process of its own: it looks at a file, and tells two webhooks.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use db_core::{Ground, Running};
use db_monitoring::alerts::{AlertChannel, AlertConfig, Alerts, Evaluation, Level, Reading};
use db_notify::{Channel, NotifyConfig, Secret, Severity, Webhook};
use tokio::io::AsyncBufReadExt;

use crate::host::Process as Host;

/// The argument that makes this program a replica.
pub(crate) const REPLICA: &str = "alerting-replica";
/// What messages are signed with.
pub(crate) const KEY: &str = "a key of the claim's own: 0123456789";

/// A replica, as the one that starts it sees it.
pub(super) struct Process {
    child: Child,
    leads: Arc<AtomicBool>,
}

impl Process {
    pub(super) fn start(url: &str, folder: &Path, all: &str, grave: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(REPLICA)
            .env("REPLICA_DATABASE", url)
            .env("REPLICA_FOLDER", folder)
            .env("REPLICA_ALL", all)
            .env("REPLICA_GRAVE", grave)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (leads, output) = (Arc::<AtomicBool>::default(), child.stdout.take().unwrap());
        let hears = Arc::clone(&leads);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                hears.store(line == "leads", Ordering::SeqCst);
            }
            hears.store(false, Ordering::SeqCst);
        });
        Process { child, leads }
    }

    pub(super) fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to end, and waits.
    pub(super) fn end(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap(), "end").unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended needs no ending.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes down how each condition is, at once for whoever reads.
pub(super) fn write_world(folder: &Path, world: &[(String, &str)]) {
    std::fs::write(folder.join("next"), serde_json::to_string(world).unwrap()).unwrap();
    std::fs::rename(folder.join("next"), folder.join("world")).unwrap();
}

fn read_world(file: &Path) -> Vec<Reading> {
    let text = std::fs::read_to_string(file).unwrap();
    let world: Vec<(String, String)> = serde_json::from_str(&text).unwrap();
    let reading = |(key, level): (String, String)| {
        let level = match level.as_str() {
            "fine" => Level::Fine,
            "warning" => Level::Warning,
            _ => Level::Critical,
        };
        Reading::new(key, level, "a condition of the claim")
    };
    world.into_iter().map(reading).collect()
}

/// The replica: until it is told to end, or nobody is there any more to tell it.
pub(crate) fn replica() -> ExitCode {
    crate::runtime().block_on(async {
        let (alerts, running) = begin().await;
        let mut input = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        let mut led = false;
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    let leads = alerts.status().leads;
                    if leads != led {
                        led = leads;
                        let mut output = std::io::stdout();
                        writeln!(output, "{}", if leads { "leads" } else { "follows" }).unwrap();
                        output.flush().unwrap();
                    }
                }
                line = input.next_line() => {
                    if line.unwrap().is_some() {
                        (running.stop)().await;
                    }
                    return ExitCode::SUCCESS;
                }
            }
        }
    })
}

async fn begin() -> (Alerts, Running) {
    let var = |name: &str| std::env::var(name).unwrap();
    let lasts = Duration::from_millis(300);
    let config = AlertConfig {
        raise_after: lasts,
        resolve_after: lasts,
        every: Duration::from_millis(50),
        ..AlertConfig::default()
    };
    // So few at once that many wait and go as one.
    let notify = NotifyConfig {
        burst: 10,
        window: Duration::from_secs(1),
        attempt_timeout: Duration::from_secs(1),
        first_pause: Duration::from_millis(50),
        longest_pause: Duration::from_millis(500),
        deadline: Duration::from_secs(4),
        ..NotifyConfig::default()
    };
    let channel = |name: &str, url: String, least| {
        let channel: Arc<dyn Channel> = Arc::new(Webhook::new(&url, Some(&Secret::new(KEY))).unwrap());
        AlertChannel { name: name.to_owned(), channel, least }
    };
    let channels = vec![
        channel("all", var("REPLICA_ALL"), Severity::Warning),
        channel("grave", var("REPLICA_GRAVE"), Severity::Critical),
    ];
    let alerts = Alerts::new(config, notify, channels, None);
    let world = PathBuf::from(var("REPLICA_FOLDER")).join("world");
    let part =
        alerts.part(Arc::new(move || Evaluation { own: read_world(&world), checks: Some(Vec::new()) }));
    let start = part.start.unwrap();
    let running = start(Ground::new(Host::new(&var("REPLICA_DATABASE")))).await.unwrap();
    (alerts, running)
}
