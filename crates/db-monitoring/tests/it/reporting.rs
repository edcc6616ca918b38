//! Reports: each section in each form, compared with the one before, in a directory that is kept tidy.

use db_monitoring::checks::Visit;
use db_monitoring::panel::{Panel, Value};
use db_monitoring::report::{Kept, Period, Report, ReportDirectory};
use db_monitoring::server::{ServerSession, Snapshot};

use crate::dashboard::shop::{Shop, Tested};

const SECTIONS: [&str; 18] = [
    "server",
    "checks",
    "connections",
    "statements",
    "indexes",
    "vacuum",
    "bloat",
    "locks",
    "blocking",
    "hit_ratio",
    "sizes",
    "transactions",
    "replication",
    "receiver",
    "slots",
    "archive",
    "settings",
    "extensions",
];

#[tokio::test]
async fn a_report_has_each_section_in_each_form() -> Tested {
    let shop = Shop::start().await?;
    let dead = |snapshot: &Snapshot| {
        let tables = snapshot.by_database.values().filter_map(|of| of.tables.get().ok()).flatten();
        tables.map(|table| table.n_dead_tup).sum::<i64>()
    };
    db_testkit::until("the server has counted", async || dead(&shop.collector.latest()) >= 5_000).await;
    let report = Report::of(&*shop.collector.collect_once().await, None);
    let json = report.to_json();
    let keys: Vec<&str> =
        json["sections"].as_array().unwrap().iter().filter_map(|one| one["key"].as_str()).collect();
    assert_eq!(keys, SECTIONS);
    let section = |key: &str| {
        let found = json["sections"].as_array().unwrap().iter().find(|one| one["key"] == key);
        found.unwrap().clone()
    };
    let orders = section("sizes")["tables"]["tables"][0].clone();
    assert_eq!(orders["table"], "orders");
    assert!(
        orders["table_bytes"].as_f64() > Some(1e6) && orders["index_bytes"].as_f64() > Some(1e5),
        "{orders}"
    );
    assert_eq!(section("indexes")["tables"]["unused"][0]["index"], "orders_note");
    assert!(
        section("vacuum")["tables"]["vacuum"][0]["dead_rows"].as_u64() >= Some(5_000),
        "{}",
        section("vacuum")
    );
    assert!(section("settings")["tables"]["settings"].as_array().unwrap().len() > 20);
    assert!(section("connections")["figures"]["room"].as_u64() > Some(10));
    let (endpoint, conn) = shop.open()(None).await?;
    let visit = Visit::to(&ServerSession::open(conn, endpoint).await?).await;
    let checked = Report::of_visit(&*shop.collector.collect_once().await, &visit, None).to_json();
    let of = |key: &str| {
        checked["sections"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone()
    };
    assert!(of("checks")["figures"]["ok"].as_u64() > Some(10), "{}", of("checks"));
    assert!(
        of("bloat")["tables"]["bloat"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["relation"] == "public.orders")
    );
    let (text, html) = (report.to_text(), report.to_html());
    for words in ["Sizes", "orders_note", "shared_buffers", "Replication slots"] {
        assert!(text.contains(words) && html.contains(words), "{words}");
    }
    assert!(html.contains("&lt;b&gt;bold") && !html.contains("<b>bold"), "names are escaped");
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
    Ok(())
}

fn report_of(size: f64) -> Report {
    Report::of(&Snapshot::default(), None).section(Panel::new("own", "Own").figure(
        "size_bytes",
        "Size",
        Value::Bytes(size),
    ))
}

#[test]
fn a_directory_compares_with_the_one_before_and_keeps_as_many_as_it_is_told() -> Tested {
    let home = tempfile::tempdir()?;
    let path = home.path().join("reports");
    std::fs::create_dir(&path)?;
    let named = |day: usize| path.join(format!("daily-2020-01-{day:02}T00-00-00Z.json"));
    for day in 1..=5 {
        std::fs::write(named(day), "{}")?;
    }
    std::fs::write(path.join("daily-2020-01-01T00-00-00Z.html.unfinished"), "half")?;
    std::fs::write(path.join("notes.txt"), "mine")?;
    std::fs::write(named(5), "not json")?;
    std::fs::write(named(4), report_of(10.0).to_json().to_string())?;
    let directory = ReportDirectory::new(&path, Kept { daily: 3, ..Kept::default() });
    let files = directory.write(report_of(17.0), Period::Daily)?;
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&files[1])?)?;
    let own = json["sections"].as_array().unwrap().iter().find(|one| one["key"] == "own").unwrap();
    assert_eq!(own["figures"]["size_bytes_change"], 7.0, "of the newest that can be read");
    let mut names: Vec<String> = std::fs::read_dir(&path)?
        .map(|entry| Ok(entry?.file_name().into_string().unwrap()))
        .collect::<std::io::Result<_>>()?;
    names.sort();
    let old = ["daily-2020-01-04T00-00-00Z.json", "daily-2020-01-05T00-00-00Z.json"];
    assert_eq!(names[..2], old);
    assert_eq!((names.len(), &*names[4]), (5, "notes.txt"), "{names:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&files[0])?.permissions().mode() & 0o077, 0);
    }
    Ok(())
}
