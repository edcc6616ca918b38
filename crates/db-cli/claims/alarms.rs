//! backup-4b: how long it takes until people are told that something is wrong with the archive, through the
//! agent.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Live, segments};
use crate::webhook::receiver;
use crate::{Agent, Figure, Size};

/// What BACKUP_LATE_AFTER says here.
const LATE_AFTER: Duration = Duration::from_secs(5);
/// What is never told is waited for so long.
const AT_MOST: Duration = Duration::from_secs(60);
const LIMIT_SECONDS: f64 = 10.0;

/// What goes wrong, and a part of the words in which it is told.
const KINDS: [(&str, &str); 4] = [
    ("gap", "are missing"),
    ("foreign", "another server archives to the same place"),
    ("failing", "the server cannot archive"),
    ("late", "bytes behind the server"),
];

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 20 } else { 3 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let seconds = runtime.block_on(all(rounds));
    let worst = seconds.iter().flat_map(|(_, all)| all.iter().copied()).fold(0.0, f64::max);
    let detail: serde_json::Map<String, Value> =
        seconds.into_iter().map(|(kind, all)| (format!("{kind}_seconds"), json!(all))).collect();
    Figure {
        value: worst,
        unit: "s until people are told, at most",
        holds: worst <= LIMIT_SECONDS,
        detail: json!(detail),
    }
}

async fn all(rounds: usize) -> Vec<(&'static str, Vec<f64>)> {
    let (port, seen) = receiver();
    let live = Live::start(&format!(
        "BACKUP_SCHEDULE=@yearly\nNOTIFICATION_WEBHOOK=http://127.0.0.1:{port}/hook\nAPP_ENV=test\nBACKUP_LATE_AFTER={}s",
        LATE_AFTER.as_secs()
    ))
    .await;
    live.json(&["backup", "init"]).await;
    live.json(&["backup", "take"]).await;
    for _ in 0..3 {
        live.run("CREATE TABLE t (); DROP TABLE t").await;
        live.archive().await;
    }
    let _agent = Agent::start(&live, &[]);
    let mut seconds: Vec<(&str, Vec<f64>)> = KINDS.iter().map(|(kind, _)| (*kind, Vec::new())).collect();
    for round in 0..rounds {
        for (number, (kind, words)) in KINDS.into_iter().enumerate() {
            seen.lock().unwrap().clear();
            let (began, mend) = spoil(&live, kind).await;
            let told = until_told(&seen, words, "needs a look").await;
            seconds[number].1.push(told.map_or(f64::INFINITY, |at| (at - began).as_secs_f64()));
            eprintln!(
                "backup-4b: round {} of {rounds}: {kind} after {:.1} s",
                round + 1,
                seconds[number].1[round]
            );
            mend.mend(&live).await;
            // The next one begins with an archive that is whole.
            if told.is_some() {
                until_told(&seen, words, "is mended").await;
            }
        }
    }
    seconds
}

/// How what was spoilt is put in order.
enum Mend {
    Rename { from: std::path::PathBuf, to: std::path::PathBuf },
    Remove(std::path::PathBuf),
    Command,
}

/// Spoils something; from when on that can be known, and how it is mended.
async fn spoil(live: &Live, kind: &str) -> (Instant, Mend) {
    let all = segments(&live.path("store"));
    match kind {
        "gap" => {
            let (lost, aside) = (all[all.len() - 2].clone(), live.path("aside"));
            std::fs::rename(&lost, &aside).unwrap();
            (Instant::now(), Mend::Rename { from: aside, to: lost })
        }
        "foreign" => {
            let last = all.last().unwrap();
            let name = last.file_name().unwrap().to_str().unwrap();
            // The next but one: the server writes in the one before it.
            let number = u32::from_str_radix(&name[16..], 16).unwrap() + 3;
            let other = last.with_file_name(format!("{}{number:08X}", &name[..16]));
            std::fs::copy(last, &other).unwrap();
            (Instant::now(), Mend::Remove(other))
        }
        _ => {
            let command = if kind == "failing" { "false" } else { "sleep 3600" };
            live.run(&format!("ALTER SYSTEM SET archive_command = '{command}'")).await;
            live.run("SELECT pg_reload_conf()").await;
            let until = |wanted: String| async move {
                live.ask("current_setting('archive_command')").await == wanted
            };
            while !until(command.to_owned()).await {}
            live.run("CREATE TABLE t (); DROP TABLE t").await;
            live.ask("pg_switch_wal()").await;
            let late = if kind == "late" { LATE_AFTER } else { Duration::ZERO };
            (Instant::now() + late, Mend::Command)
        }
    }
}

impl Mend {
    async fn mend(self, live: &Live) {
        match self {
            Mend::Rename { from, to } => std::fs::rename(from, to).unwrap(),
            Mend::Remove(path) => std::fs::remove_file(path).unwrap(),
            Mend::Command => {
                live.run("ALTER SYSTEM RESET archive_command").await;
                live.run("SELECT pg_reload_conf()").await;
                end_sleep(&live.server.dir().join("node1"));
                live.archive().await;
            }
        }
    }
}

/// Ends the archive_command that sleeps: the one in this server's directory.
fn end_sleep(data: &Path) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let process = entry.path();
        let is_sleep = std::fs::read(process.join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep\0"));
        if is_sleep && std::fs::read_link(process.join("cwd")).is_ok_and(|directory| directory == data) {
            let id = entry.file_name().into_string().unwrap();
            std::process::Command::new("kill").arg(id).status().unwrap();
        }
    }
}

/// When the first message came that has these words, and whose title ends so.
async fn until_told(seen: &Mutex<Vec<Value>>, words: &str, title: &str) -> Option<Instant> {
    let began = Instant::now();
    let is_it = |body: &Value| {
        let has = |field: &str, part: &str| body[field].as_str().is_some_and(|text| text.contains(part));
        has("text", words) && has("title", title)
    };
    while began.elapsed() < AT_MOST {
        if seen.lock().unwrap().iter().any(is_it) {
            return Some(Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}
