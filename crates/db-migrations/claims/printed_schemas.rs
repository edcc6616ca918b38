//! `schema.rs` as it is printed, beside what diesel's own program prints; and the way from one to another.
//!
//! That program is the one that `DB_PLATFORM_DIESEL_CLI` names, or `diesel` on PATH; without it the files
//! count that it wrote before.

use std::path::Path;
use std::process::Command;

use db_migrations::schema::{PrintConfig, print};
use db_testkit::Cluster;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

use crate::fixture::{migrator, reference, runtime};
use crate::printed_corpus::{CASES, Case};
use crate::{Figure, Size, random_schema, round_trip};

pub(crate) fn measure(size: Size) -> Figure {
    let pairs: u64 = if size == Size::Nightly { 200 } else { 25 };
    runtime().block_on(async {
        // What strangers write may need the newest.
        let cluster = Cluster::builder().version(18).start().await.unwrap();
        let place = Place { url: cluster.primary_url(), diesel: diesel() };
        let mut differ = Vec::new();
        let mut compared = Vec::new();
        for case in CASES {
            let (url, mut conn) = place.made(case.name, case.sql).await;
            let printed = print(&mut conn, &(case.config)()).await.unwrap().text;
            if printed != case.golden {
                differ.push(format!("{}: not as its file", case.name));
            }
            place.compare(case, &url, &printed, &mut compared, &mut differ);
        }
        let (url, mut conn) = place.made("reference", "").await;
        migrator(reference()).apply(&mut conn, |_| ()).await.unwrap();
        place.whole("reference", &url, &mut conn, &mut compared, &mut differ).await;
        for (number, (name, sql)) in strangers().into_iter().enumerate() {
            let (url, mut conn) = place.made(&format!("stranger_{number}"), &sql).await;
            conn.batch_execute("RESET ALL").await.unwrap();
            place.whole(&name, &url, &mut conn, &mut compared, &mut differ).await;
        }
        let mut astray = Vec::new();
        for number in 0..pairs {
            let (_, mut from) = place.made("here", &random_schema::schema(2 * number)).await;
            let (_, mut to) = place.made("there", &random_schema::schema(2 * number + 1)).await;
            let fault = round_trip::fault(&mut from, &mut to).await;
            astray.extend(fault.map(|fault| format!("pair {number}: {fault}")));
        }
        let wrong = differ.len() + astray.len();
        let detail = json!({
            "compared_with_diesel": compared, "diesel": place.diesel.as_deref().unwrap_or("absent"),
            "differ": differ, "pairs": pairs, "astray": astray,
        });
        Figure { value: wrong as f64, unit: "", holds: wrong == 0, detail }
    })
}

struct Place {
    url: String,
    diesel: Option<String>,
}

impl Place {
    /// A database made anew, and its URL.
    async fn made(&self, name: &str, sql: &str) -> (String, AsyncPgConnection) {
        let mut admin = AsyncPgConnection::establish(&self.url).await.unwrap();
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (server, _) = self.url.rsplit_once('/').unwrap();
        let url = format!("{server}/{name}");
        let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
        conn.batch_execute(sql).await.unwrap();
        (url, conn)
    }

    fn compare(
        &self,
        case: &Case,
        url: &str,
        printed: &str,
        compared: &mut Vec<String>,
        differ: &mut Vec<String>,
    ) {
        if case.arguments.is_empty() {
            return;
        }
        if let Some(theirs) = self.theirs(url, case.arguments) {
            compared.push(case.name.to_owned());
            if theirs != printed {
                differ.push(format!("{}: not as diesel's", case.name));
            }
        }
    }

    /// A whole schema, partitions included, since diesel's own program has them.
    async fn whole(
        &self,
        name: &str,
        url: &str,
        conn: &mut AsyncPgConnection,
        compared: &mut Vec<String>,
        differ: &mut Vec<String>,
    ) {
        let config = PrintConfig { partitions: true, ..PrintConfig::default() };
        let printed = print(conn, &config).await.unwrap();
        // It refuses the whole where a table has no key.
        let without: Vec<String> = printed.left_out.iter().map(|one| format!("^{}$", one.table)).collect();
        let mut arguments: Vec<&str> = without.iter().map(String::as_str).collect();
        arguments.extend((!without.is_empty()).then_some("-e"));
        if let Some(theirs) = self.theirs(url, &arguments) {
            compared.push(name.to_owned());
            if theirs != printed.text {
                differ.push(format!("{name}: not as diesel's"));
            }
        }
    }

    fn theirs(&self, url: &str, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(self.diesel.as_ref()?);
        command.args(["--database-url", url, "print-schema"]).args(arguments);
        // It goes by the rustfmt.toml of where it runs.
        let output = command.current_dir("/").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

fn diesel() -> Option<String> {
    let named = std::env::var("DB_PLATFORM_DIESEL_CLI").ok().filter(|named| !named.is_empty());
    let on_path = || Command::new("diesel").arg("--version").output().is_ok().then(|| "diesel".to_owned());
    named.or_else(on_path)
}

/// Schemas of others, by the name of their file.
fn strangers() -> Vec<(String, String)> {
    let Ok(directory) = std::env::var("DB_PLATFORM_SCHEMAS") else { return Vec::new() };
    let files = std::fs::read_dir(Path::new(&directory)).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "sql")).collect();
    files.sort();
    let read =
        |file: &std::path::PathBuf| (file.display().to_string(), std::fs::read_to_string(file).unwrap());
    files.iter().map(read).collect()
}
