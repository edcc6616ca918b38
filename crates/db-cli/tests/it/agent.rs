//! `dbctl agent`: what is due is run once, told, shown, and ended in good order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dbctl;
use crate::server::{DBCTL, Live, segments};
use crate::webhook::receiver;

/// An agent that runs, what it says, and its page.
struct Agent {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Agent {
    fn start(settings: &Path, arguments: &[&str]) -> Agent {
        let mut command = Command::new(DBCTL);
        command.arg("--settings").arg(settings).args(["agent", "--metrics", "127.0.0.1:0"]).args(arguments);
        command
            .env_remove("DATABASE_URL")
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (said, lines) = (Arc::<Mutex<String>>::default(), BufReader::new(child.stderr.take().unwrap()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Agent { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Agent) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < Duration::from_secs(120), "not within 120 s: {what}\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a page of the agent's answers; empty where it does not yet.
    fn page(&self, path: &str) -> String {
        let said = self.said();
        let Some(port) = said.split("http://127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next())
        else {
            return String::new();
        };
        let mut stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn end(mut self) -> Option<i32> {
        self.signal("-TERM");
        let ended =
            db_server::wait_until(Duration::from_secs(60), || self.child.try_wait().unwrap().is_some());
        assert!(ended, "it does not end\n{}", self.said());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn titles(seen: &Mutex<Vec<Value>>) -> Vec<String> {
    seen.lock().unwrap().iter().map(|body| body["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_agents_one_takes_the_backup_and_the_other_says_why_it_waits() {
    let (port, seen) = receiver();
    let settings = format!(
        "BACKUP_SCHEDULE=@yearly\nBACKUP_JITTER=0s\nNOTIFICATION_WEBHOOK=http://127.0.0.1:{port}/hook\nAPP_ENV=test"
    );
    let live = Live::start(&settings).await;
    live.json(&["backup", "init"]).await;
    live.run("CREATE TABLE big AS SELECT g, md5(g::text) FROM generate_series(1, 200000) g").await;
    let file = live.path("dbctl.env");
    let now = ["--now", "backup"];
    let (first, second) = (Agent::start(&file, &now), Agent::start(&file, &now));
    let both = || first.said() + &second.said();
    first.until("one backup is taken", |_| both().contains("backup succeeded")).await;
    first
        .until("the other one has nothing to do", |_| {
            both().contains("was taken for it") || both().contains("backup waits")
        })
        .await;
    first.until("nobody waits any more", |_| both().contains("was taken for it")).await;
    let listed = live.json(&["backup", "list"]).await;
    assert_eq!(listed["clusters"][0]["backups"].as_array().map(Vec::len), Some(1), "{listed}\n{}", both());

    let page = [first.page("/metrics"), second.page("/metrics")].concat();
    assert!(page.contains("db_schedule_job_successes_total{job=\"backup\"} 1"), "{page}");
    assert!(page.contains("db_backup_last_size_bytes{kind=\"full\"} "), "{page}");
    let jobs: Value = serde_json::from_str(&first.page("/jobs")).unwrap();
    assert_eq!(jobs["jobs"][0]["job"], "backup", "{jobs}");
    first.until("people are told", |_| !seen.lock().unwrap().is_empty()).await;
    assert!(titles(&seen)[0].starts_with("backup of "), "{:?}", titles(&seen));
    assert_eq!((first.end(), second.end()), (Some(0), Some(0)));
    assert!(!both_hold_a_secret(&seen), "{seen:?}");
}

fn both_hold_a_secret(seen: &Mutex<Vec<Value>>) -> bool {
    let text = format!("{:?}", seen.lock().unwrap());
    text.contains("correct horse") || text.contains(db_testkit::password())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_fails_is_told_with_its_reason_and_its_recovery_too() {
    let (port, seen) = receiver();
    let settings = format!(
        "BACKUP_SCHEDULE=*/10 * * * * *\nBACKUP_JITTER=0s\nNOTIFICATION_WEBHOOK=http://127.0.0.1:{port}/hook\nAPP_ENV=test\n\
         BACKUP_MAX_AGE=1s\nBACKUP_STORE_DEADLINE=1s\nBACKUP_WATCH_EVERY=never"
    );
    let live = Live::start(&settings).await;
    // There is no repository yet.
    let agent = Agent::start(&live.path("dbctl.env"), &["--now", "backup"]);
    agent.until("the failure is told", |_| titles(&seen).iter().any(|title| title.ends_with("failed"))).await;
    agent
        .until("and that there is no backup", |_| {
            titles(&seen).iter().any(|title| title.ends_with("for too long"))
        })
        .await;
    let text = seen.lock().unwrap()[0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("there is no repository"), "{text}");
    // Both incidents are over with the first backup.
    live.json(&["backup", "init"]).await;
    for incident in ["job:backup", "overdue:backup"] {
        let is_over = |body: &Value| body["incident"] == incident && body["resolved"] == true;
        agent.until("its end is told", |_| seen.lock().unwrap().iter().any(is_over)).await;
    }
    assert!(titles(&seen).iter().any(|title| title.ends_with("succeeded")), "{:?}", titles(&seen));
    assert_eq!(agent.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_is_deleted_is_told_within_ten_seconds_and_its_return_too() {
    let (port, seen) = receiver();
    let settings =
        format!("BACKUP_SCHEDULE=@yearly\nNOTIFICATION_WEBHOOK=http://127.0.0.1:{port}/hook\nAPP_ENV=test");
    let live = Live::start(&settings).await;
    live.json(&["backup", "init"]).await;
    live.json(&["backup", "take"]).await;
    for _ in 0..3 {
        live.run("CREATE TABLE t (); DROP TABLE t").await;
        live.archive().await;
    }
    let agent = Agent::start(&live.path("dbctl.env"), &[]);
    let figure = |name: &str| {
        let page = agent.page("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|figure| figure.parse::<f64>().unwrap())
    };
    let gaps = "db_backup_archive_findings{finding=\"gap\"}";
    agent.until("the archive is looked at", |_| figure(gaps) == Some(0.0)).await;
    agent.until("the server's own figures are there", |_| figure("pg_up") == Some(1.0)).await;
    agent.until("its tables are looked at", |_| figure("dbp_leader") == Some(1.0)).await;
    assert!(
        agent.page("/metrics").contains("pg_settings_max_connections{server="),
        "{}",
        agent.page("/metrics")
    );
    let size = |part: &str| figure(&format!("db_backup_repository_size_bytes{{part=\"{part}\"}}"));
    assert!(size("backups").unwrap() > 1e6 && size("log").unwrap() > 1e3, "{}", agent.page("/metrics"));
    assert!(figure("db_backup_archive_lag_bytes").unwrap() <= 32e6, "{}", agent.page("/metrics"));
    assert_eq!(figure("db_backup_archive_lag_seconds"), Some(0.0));
    assert_eq!(figure("db_backup_backups{kind=\"full\"}"), Some(1.0));

    let segments = segments(&live.path("store"));
    let (lost, aside) = (&segments[segments.len() - 2], live.path("aside"));
    std::fs::rename(lost, &aside).unwrap();
    let began = Instant::now();
    let told = |body: &Value| body["title"].as_str().unwrap().ends_with("needs a look");
    agent.until("the gap is told", |_| seen.lock().unwrap().iter().any(told)).await;
    let after = began.elapsed();
    eprintln!("the gap was told after {after:.1?}");
    assert!(after < Duration::from_secs(10), "{after:?}");
    let text =
        seen.lock().unwrap().iter().find(|body| told(body)).unwrap()["text"].as_str().unwrap().to_owned();
    assert!(text.contains(lost.file_name().unwrap().to_str().unwrap()), "{text}");
    assert_eq!(figure(gaps), Some(1.0));

    std::fs::rename(&aside, lost).unwrap();
    let is_over =
        |body: &Value| body["title"].as_str().unwrap().ends_with("is mended") && body["resolved"] == true;
    agent.until("its return is told", |_| seen.lock().unwrap().iter().any(is_over)).await;
    assert_eq!(agent.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_for_the_fourth_time_in_a_minute_is_told_as_soon_as_the_first() {
    let (port, seen) = receiver();
    let live = watched(port, "BACKUP_WATCH_EVERY=1s").await;
    let agent = Agent::start(&live.path("dbctl.env"), &[]);
    agent.until("it looks", |agent| agent.page("/metrics").contains("finding=\"gap\"")).await;
    let segments = segments(&live.path("store"));
    let (lost, aside) = (&segments[segments.len() - 2], live.path("aside"));
    let told = |end: &str| titles(&seen).iter().filter(|title| title.ends_with(end)).count();
    for time in 1..=4 {
        for (from, to, end) in [(lost, &aside, "needs a look"), (&aside, lost, "is mended")] {
            std::fs::rename(from, to).unwrap();
            let began = Instant::now();
            agent.until(end, |_| told(end) == time).await;
            assert!(began.elapsed() < Duration::from_secs(10), "{end} {time}: {:?}", began.elapsed());
        }
    }
    assert_eq!(agent.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_has_less_than_the_one_before_is_told() {
    let (port, seen) = receiver();
    let live =
        watched(port, "BACKUP_SCHEDULE=*/10 * * * * *\nBACKUP_JITTER=0s\nBACKUP_WATCH_EVERY=never").await;
    live.run(&(0..12).map(|n| format!("CREATE TABLE t{n} (id int);")).collect::<String>()).await;
    live.json(&["backup", "take"]).await;
    live.run(&(0..9).map(|n| format!("DROP TABLE t{n};")).collect::<String>()).await;
    let agent = Agent::start(&live.path("dbctl.env"), &[]);
    let less = |body: &Value| body["title"].as_str().unwrap().ends_with("has less than the one before");
    agent.until("it is told", |_| seen.lock().unwrap().iter().any(less)).await;
    let text =
        seen.lock().unwrap().iter().find(|body| less(body)).unwrap()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("app has 3 tables and indexes, and"), "{text}");
    assert_eq!(agent.end(), Some(0));
}

/// A server with a backup and some segments, and a repository whose agents tell this port.
async fn watched(port: u16, more: &str) -> Live {
    let settings = format!("NOTIFICATION_WEBHOOK=http://127.0.0.1:{port}/hook\nAPP_ENV=test\n{more}");
    let live = Live::start(&settings).await;
    live.json(&["backup", "init"]).await;
    live.json(&["backup", "take"]).await;
    for _ in 0..3 {
        live.run("CREATE TABLE t (); DROP TABLE t").await;
        live.archive().await;
    }
    live
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_agents_one_tells_of_the_archive_and_the_other_one_when_that_is_gone() {
    let (port, seen) = receiver();
    let live = watched(port, "BACKUP_SCHEDULE=@yearly\nBACKUP_WATCH_EVERY=1s").await;
    let file = live.path("dbctl.env");
    let looked =
        |agent: &Agent| agent.page("/metrics").contains("db_backup_archive_findings{finding=\"gap\"} 0");
    let sees =
        |agent: &Agent| agent.page("/metrics").contains("db_backup_archive_findings{finding=\"gap\"} 1");
    let first = Agent::start(&file, &[]);
    first.until("the archive is looked at", looked).await;
    let second = Agent::start(&file, &[]);
    second.until("the other one looks too", looked).await;

    let segments = segments(&live.path("store"));
    let (lost, aside) = (&segments[segments.len() - 2], live.path("aside"));
    std::fs::rename(lost, &aside).unwrap();
    let told = || titles(&seen).iter().filter(|title| title.ends_with("needs a look")).count();
    first.until("the first one tells", |_| told() == 1).await;
    second.until("the second one sees it", sees).await;
    let logged =
        |agent: &Agent| agent.said().contains("needs a look") || agent.said().contains("are missing");
    let looks = |agent: &Agent| {
        let page = agent.page("/metrics");
        let line = page.lines().find(|line| line.starts_with("db_backup_archive_looked_timestamp_seconds"));
        line.unwrap_or_default().to_owned()
    };
    // Two further looks of the second one: it would have told by then.
    for _ in 0..3 {
        let last = looks(&second);
        second.until("it looks again", |agent| looks(agent) != last).await;
    }
    assert_eq!((told(), logged(&first), logged(&second)), (1, true, false), "{}", second.said());

    drop(first);
    second.until("the second one tells now", |_| told() == 2).await;
    std::fs::rename(&aside, lost).unwrap();
    let is_over = |title: &String| title.ends_with("is mended");
    second.until("and its end", |_| titles(&seen).iter().any(is_over)).await;
    assert_eq!(second.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_agents_one_receives_the_log_and_the_other_one_when_that_is_ended() {
    let (port, _seen) = receiver();
    // No schedule: an agent may do nothing but receive.
    let live = watched(port, "BACKUP_RECEIVE_SLOT=agent").await;
    let file = live.path("dbctl.env");
    let receives = |agent: &Agent| agent.page("/metrics").contains("\ndb_backup_received_timestamp_seconds ");
    let first = Agent::start(&file, &[]);
    first.until("the log is received", receives).await;
    let second = Agent::start(&file, &[]);
    second.until("it serves", |agent| !agent.page("/live").is_empty()).await;
    let is_stored = async || {
        live.run("CREATE TABLE IF NOT EXISTS rows (n int); INSERT INTO rows VALUES (1)").await;
        let position = live.ask("pg_current_wal_flush_lsn()").await;
        let stored = format!("(SELECT bool_or(flush_lsn >= '{position}') FROM pg_stat_replication)");
        db_testkit::until("what was committed is stored", async || live.ask(&stored).await == "true").await;
    };
    is_stored().await;
    assert_eq!(live.ask("(SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming')").await, "1");
    assert!(!receives(&second), "{}", second.page("/metrics"));

    assert_eq!(first.end(), Some(0));
    second.until("the other one receives", receives).await;
    is_stored().await;
    let status = live.json(&["wal", "status"]).await;
    assert_eq!(status["findings"], serde_json::json!([]), "{status}");
    assert_eq!(second.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_rehearses_the_newest_backup_and_the_newest_dump() {
    let live = Live::start("BACKUP_SCHEDULE=@yearly\nAPP_ENV=test\nBACKUP_WATCH_EVERY=never").await;
    live.json(&["backup", "init"]).await;
    live.run("CREATE TABLE rows AS SELECT generate_series(1, 100) AS n").await;
    let physical = live.json(&["backup", "take"]).await;
    let dump = live.json(&["backup", "take", "--logical"]).await;
    let id = |taken: &Value| taken["backup"]["id"].as_str().unwrap().to_owned();
    let agent = Agent::start(&live.path("dbctl.env"), &["--now", "rehearse"]);
    for taken in [&physical, &dump] {
        agent.until("it restores", |agent| agent.said().contains(&format!("{} restores", id(taken)))).await;
    }
    assert_eq!(agent.end(), Some(0));
}

#[tokio::test]
async fn an_agent_says_what_it_would_do_and_refuses_to_do_nothing() {
    let database = [("DATABASE_URL", "postgres://ann:hunter2@127.0.0.1:1/app")];
    let nothing = dbctl(&database, &["agent", "--metrics", "off"]).await;
    assert!(nothing.code == Some(1) && nothing.err.contains("set BACKUP_SCHEDULE"), "{}", nothing.err);
    let home = tempfile::tempdir().unwrap();
    let store = home.path().to_str().unwrap();
    let with = [
        database[0],
        ("BACKUP_SCHEDULE", "30 2 * * *"),
        ("BACKUP_TIME_ZONE", "Europe/Berlin"),
        ("BACKUP_EXPIRE_SCHEDULE", "off"),
        ("BACKUP_DIR", store),
        ("BACKUP_ENCRYPTION_KEY", "correct horse battery staple"),
    ];
    let plan = dbctl(&with, &["agent", "--plan"]).await;
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    let names: Vec<&str> = plan.out.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["backup", "verify", "rehearse"], "{}", plan.out);
    assert!(
        plan.out.contains("30 2 * * * (Europe/Berlin)") && !plan.err.contains("hunter2"),
        "{}{}",
        plan.out,
        plan.err
    );
}

#[tokio::test]
async fn messages_are_tried_by_command() {
    let (port, seen) = receiver();
    let hooks = format!("http://127.0.0.1:{port}/a slack+http://127.0.0.1:1/hunter2");
    let tried = dbctl(&[("NOTIFICATION_WEBHOOK", &hooks)], &["notify", "test"]).await;
    assert_eq!(tried.code, Some(3), "{}", tried.err);
    assert!(
        tried.out.contains("ok    webhook\nwrong slack: ") && !tried.out.contains("hunter2"),
        "{}",
        tried.out
    );
    assert_eq!(titles(&seen), ["A test message"]);
    let none = dbctl(&[], &["notify", "test"]).await;
    assert!(none.code == Some(1) && none.err.contains("NOTIFICATION_EMAIL"), "{}", none.err);
}
