//! What looks at a server: `dbctl report`, `serve`, `top` and `mcp`.

#[cfg(feature = "mcp")]
mod agents;
#[cfg(feature = "top")]
mod terminal;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Stdio};

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;
use serde_json::Value;

use crate::run::{dbctl, program};

const TOKEN: &str = "hunter2-is-the-token";
/// What must be nowhere in any output.
pub(crate) const SECRET: &str = "the planted secret";

/// A database whose statements held a secret.
pub(crate) async fn planted() -> TestDatabase {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let schema = format!(
        "CREATE TABLE notes (id int PRIMARY KEY, body text); INSERT INTO notes VALUES (1, '{SECRET}'); \
         SELECT * FROM notes WHERE body = '{SECRET}'"
    );
    conn.batch_execute(&schema).await.unwrap();
    database
}

/// A child that ends with its value.
pub(crate) struct Ends(pub(crate) Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_report_comes_in_each_form_and_says_what_changed() {
    let database = planted().await;
    let at = [("DATABASE_URL", database.url())];
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (html, json) = (file("report.html"), file("report.json"));
    let text = dbctl(&at, &["report"]).await;
    assert!(text.code == Some(0) && text.out.contains("notes"), "{} {}", text.out, text.err);
    let made = dbctl(&at, &["report", "--format", "html", "--out", &html]).await;
    assert_eq!((made.code, &*made.out), (Some(0), ""), "{}", made.err);
    let first = dbctl(&at, &["report", "--format", "json", "--out", &json]).await;
    assert_eq!(first.code, Some(0), "{}", first.err);
    let compared = dbctl(&at, &["report", "--json", "--compare", &json]).await;
    let value: Value = serde_json::from_str(&compared.out).unwrap();
    assert_eq!(value["schema"], "db-platform.report/1");
    assert!(value["compared_with"].is_string(), "{}", compared.out);
    let html = std::fs::read_to_string(&html).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("notes"));
    for output in [&text.out, &html, &compared.out] {
        assert!(!output.contains(SECRET));
    }
}

#[tokio::test]
async fn a_report_on_a_server_that_does_not_answer_is_no_report() {
    let dead = [("DATABASE_URL", "postgres://ann:hunter2@127.0.0.1:1/app")];
    let refused = dbctl(&dead, &["report"]).await;
    assert_eq!((refused.code, &*refused.out), (Some(1), ""));
    assert!(!refused.err.contains("hunter2") && refused.err.contains("did not answer"), "{}", refused.err);
    let database = TestDatabase::empty().await.unwrap();
    let at = [("DATABASE_URL", database.url())];
    let absent = dbctl(&at, &["report", "--compare", "/no/such/file"]).await;
    assert!(absent.code == Some(1) && absent.err.contains("/no/such/file"), "{}", absent.err);
}

/// Starts `dbctl serve`, and reads where it is.
fn serve(settings: &[(&str, &str)]) -> (Ends, String, BufReader<ChildStderr>) {
    let mut command = program(settings, &["serve", "--listen", "127.0.0.1:0"]);
    let mut child = Ends(command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap());
    let mut said = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address = line.trim().rsplit_once("http://").map(|(_, rest)| rest.trim_end_matches('/').to_owned());
    (child, address.unwrap_or_default(), said)
}

fn get(address: &str, path: &str, token: Option<&str>) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn pages_are_served_to_who_has_the_token() {
    let database = planted().await;
    let settings = [("DATABASE_URL", database.url()), ("DASHBOARD_TOKEN", TOKEN)];
    let (mut child, address, mut said) = serve(&settings);
    let refused = get(&address, "/tables", None);
    assert!(refused.starts_with("HTTP/1.1 401") && !refused.contains("notes"), "{refused}");
    db_testkit::until("the table is on its page", async || {
        get(&address, "/tables", Some(TOKEN)).contains("notes")
    })
    .await;
    for page in ["/", "/queries", "/locks", "/server", "/overview.json"] {
        let page = get(&address, page, Some(TOKEN));
        assert!(
            page.starts_with("HTTP/1.1 200") && !page.contains(SECRET) && !page.contains(TOKEN),
            "{page}"
        );
    }
    let told =
        std::process::Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    let status = tokio::task::spawn_blocking(move || child.0.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status}");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains(TOKEN), "{rest}");
}

#[tokio::test]
async fn no_page_is_served_without_a_token_that_somebody_knows() {
    let database = TestDatabase::empty().await.unwrap();
    let at = ("DATABASE_URL", database.url());
    let nobody = dbctl(&[at], &["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(nobody.code == Some(1) && nobody.err.contains("DASHBOARD_TOKEN"), "{}", nobody.err);
    let weak = dbctl(&[at, ("DASHBOARD_TOKEN", "short")], &["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(
        weak.code == Some(1) && weak.err.contains("too short") && !weak.err.contains("\"short"),
        "{}",
        weak.err
    );
}

#[tokio::test]
async fn the_agent_writes_reports_into_a_directory() {
    let database = planted().await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("reports");
    let arguments =
        ["agent", "--metrics", "off", "--collect", "off", "--now", "hourly report", "--now", "daily report"];
    let mut command = program(&[("DATABASE_URL", database.url())], &arguments);
    command.arg("--reports").arg(&directory).env("RUST_LOG", "info").stderr(Stdio::piped());
    let mut child = Ends(command.spawn().unwrap());
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let has =
        |kind: &str, end: &str| names().iter().any(|name| name.starts_with(kind) && name.ends_with(end));
    db_testkit::until("both reports are written", async || {
        ["hourly", "daily"].iter().all(|kind| has(kind, ".html") && has(kind, ".json"))
    })
    .await;
    for name in names() {
        let text = std::fs::read_to_string(directory.join(&name)).unwrap();
        assert!(text.contains("notes") && !text.contains(SECRET), "{name}");
    }
    let told =
        std::process::Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    let (status, said) = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (child.0.wait().unwrap(), said)
    })
    .await
    .unwrap();
    assert!(status.success() && !said.contains(SECRET), "{said}");
}
