//! A part as a sibling would write it: it knows db-core and nothing of the umbrella.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_core::{
    AroundCommit, CommitOutcome, Condition, LinkEvent, Measure, MeasureKind, Observe, Part, PartHealth,
    QueryEvent, Running,
};
use db_platform::{Class, Classify, Config, Db, Environment, Error, Result};
use db_testkit::{TestDatabase, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::sync::Notify;

use crate::Number;

/// What a part has seen and done.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    queries: AtomicU64,
    links: AtomicU64,
    is_well: AtomicBool,
}

impl Log {
    fn note(&self, line: impl Into<String>) {
        self.lines.lock().unwrap().push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

struct Watch(Arc<Log>);

impl Observe for Watch {
    fn on_query(&self, event: &QueryEvent<'_>) {
        self.0.queries.fetch_add(1, Ordering::Relaxed);
        if event.statement.contains("COMMIT") {
            self.0.note(format!("sent {}", event.statement));
        }
    }

    fn on_link(&self, _: &LinkEvent<'_>) {
        self.0.links.fetch_add(1, Ordering::Relaxed);
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The hook of one transaction, under the part's name.
struct Mark(&'static str, Arc<Log>);

impl AroundCommit for Mark {
    fn before<'a>(&'a self, conn: &'a mut AsyncPgConnection) -> Answer<'a, Result<()>> {
        Box::pin(async move {
            self.1.note(format!("{} before", self.0));
            conn.batch_execute(&format!("INSERT INTO marks VALUES ('{} before')", self.0)).await?;
            Ok(())
        })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        Some(format!("INSERT INTO marks VALUES ('{}') -- with COMMIT", self.0).into())
    }

    fn alongside<'a>(&'a self, mut conn: &'a AsyncPgConnection) -> Option<Answer<'a, ()>> {
        Some(Box::pin(async move {
            let sent = conn.batch_execute(&format!("INSERT INTO marks VALUES ('{} behind')", self.0)).await;
            self.1.note(format!("{} alongside {}", self.0, if sent.is_ok() { "sent" } else { "refused" }));
        }))
    }

    fn after<'a>(&'a self, _: Option<&'a mut AsyncPgConnection>, outcome: CommitOutcome) -> Answer<'a, ()> {
        Box::pin(async move { self.1.note(format!("{} after {outcome:?}", self.0)) })
    }
}

/// A sibling: an observer, a commit hook with SQL, hooks on connections, a job, health, metrics and an
/// orderly end.
fn sibling(name: &'static str, log: &Arc<Log>) -> Part {
    let (hooks, starts) = (Arc::clone(log), Arc::clone(log));
    Part::named(name)
        .observing(Watch(Arc::clone(log)))
        .around_commit(move || Mark(name, Arc::clone(&hooks)))
        .on_connect(move |conn| Box::pin(set(conn, name)))
        .on_checkout(move |conn| Box::pin(set(conn, name)))
        .starting(move |ground| async move {
            let log = starts;
            let (job, done, ended) = (Arc::clone(&log), Arc::new(Notify::new()), Arc::new(Notify::new()));
            let servers = ground.servers();
            log.note(format!("{name} started with {} servers", servers.len()));
            let (told, ends, beside) = (Arc::clone(&done), Arc::clone(&ended), ground.clone());
            ground.spawn(async move {
                let mut conn = beside.connect(&servers[0].endpoint).await.unwrap();
                let one = number(&mut conn, "SELECT 1::int8 AS n").await;
                job.is_well.store(one == 1, Ordering::Relaxed);
                told.notified().await;
                job.note(format!("{name} job ended"));
                ends.notify_one();
            });
            let mut direct = ground.connect_direct().await?;
            number(&mut direct, "SELECT 1::int8 AS n").await;
            let (seen, told) = (Arc::clone(&log), Arc::clone(&log));
            Ok(Running::new()
                .with_health(move || match log.is_well.load(Ordering::Relaxed) {
                    true => PartHealth::up(),
                    false => PartHealth::new(Condition::Degraded, "its job has not answered yet"),
                })
                .with_metrics(move || {
                    let queries = seen.queries.load(Ordering::Relaxed);
                    vec![
                        Measure::new("db.sibling.queries", MeasureKind::Counter, "{query}", queries as f64)
                            .with("part", name),
                    ]
                })
                .with_stop(move || async move {
                    done.notify_one();
                    ended.notified().await;
                    told.note(format!("{name} stopped"));
                }))
        })
}

async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    // Inside, because it gives every type a method called `load`, atomics too.
    use diesel_async::RunQueryDsl;
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

async fn set(conn: &mut AsyncPgConnection, name: &str) -> Result<()> {
    let sql =
        format!("SELECT set_config('{name}.hooks', current_setting('{name}.hooks', true) || '+', false)");
    Ok(conn.batch_execute(&sql).await?)
}

/// What is measured by parts that are none of the platform's own.
fn siblings_measure(db: &Db) -> Vec<Measure> {
    let own = |measure: &Measure| measure.name.starts_with("db.monitoring.");
    db.part_metrics().into_iter().filter(|measure| !own(measure)).collect()
}

async fn database() -> TestDatabase {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE TABLE marks (mark text); CREATE TABLE ledger (n int8)").await.unwrap();
    database
}

async fn connect(database: &TestDatabase, parts: impl IntoIterator<Item = Part>) -> Result<Db> {
    let mut config = Config::new(Environment::Test, database.url().parse().unwrap());
    config.cache = None;
    Db::connect_with(config, parts).await
}

async fn insert(db: &Db, n: i64) -> Result<()> {
    db.transaction(async move |conn| {
        conn.batch_execute(&format!("INSERT INTO ledger VALUES ({n})")).await.map_err(Error::from)
    })
    .await
}

async fn count(database: &TestDatabase, sql: &str) -> i64 {
    number(&mut database.connect().await.unwrap(), sql).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sibling_attaches_with_everything_it_has() {
    let database = database().await;
    let log = Arc::new(Log::default());
    let db = connect(&database, [sibling("a", &log), sibling("b", &log)]).await.unwrap();
    until("the jobs answer", async || db.health().condition == Condition::Up).await;
    let names: Vec<_> = db.health().parts.iter().map(|part| part.name).collect();
    assert_eq!(names, ["monitoring", "a", "b"]);

    insert(&db, 1).await.unwrap();
    let marks = count(&database, "SELECT count(DISTINCT mark) AS n FROM marks").await;
    assert_eq!(marks, 6, "before, with and behind COMMIT, of two parts");
    let failed: Result<()> = db.transaction(async |_| Err(Error::NotFound)).await;
    failed.unwrap_err();
    assert!(log.queries.load(Ordering::Relaxed) > 0 && log.links.load(Ordering::Relaxed) > 0);
    let measured = siblings_measure(&db);
    assert_eq!(
        measured.iter().map(|measure| measure.attributes[0].1.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(db.shutdown(Duration::from_secs(5)).await.abandoned == 0);
    until("the jobs end", async || {
        log.lines().iter().filter(|line| line.ends_with("job ended")).count() == 2
    })
    .await;

    let order: Vec<String> = log.lines().into_iter().filter(|line| !line.starts_with("sent")).collect();
    insta::assert_snapshot!(order.join("\n"), @r"
    a started with 1 servers
    b started with 1 servers
    a before
    b before
    a alongside sent
    b alongside sent
    b after Committed
    a after Committed
    b after RolledBack
    a after RolledBack
    b job ended
    b stopped
    a job ended
    a stopped
    ");
    let sent: Vec<String> = log.lines().into_iter().filter(|line| line.starts_with("sent")).collect();
    let tail = "; INSERT INTO marks VALUES ('a') -- with COMMIT\n\
                ; INSERT INTO marks VALUES ('b') -- with COMMIT\n; COMMIT";
    assert_eq!(sent.len(), 2, "both saw it: {sent:?}");
    assert!(sent.iter().all(|sent| sent.ends_with(tail)), "all in one message: {sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_on_connections_run_when_one_opens_is_reset_and_is_handed_out() {
    let database = database().await;
    let log = Arc::new(Log::default());
    let part = || sibling("a", &log);
    let mut config = Config::new(Environment::Test, database.url().parse().unwrap());
    config.cache = None;
    config.pool.max = std::num::NonZeroUsize::MIN;
    let db = Db::connect_with(config, [part()]).await.unwrap();
    let hooked = "SELECT length(current_setting('a.hooks'))::int8 AS n";
    let mut conn = db.primary().await.unwrap();
    let first = number(&mut conn, hooked).await;
    drop(conn);
    let mut conn = db.primary().await.unwrap();
    let again = number(&mut conn, hooked).await;
    assert!(first >= 1 && again >= 1, "{first}, {again}");
    // It leaves something behind: the session is reset, and the hook for new sessions runs again.
    conn.batch_execute("SET work_mem = '1MB'; SET a.hooks = 'lost'").await.unwrap();
    drop(conn);
    let mut conn = db.primary().await.unwrap();
    let word = number(&mut conn, "SELECT (current_setting('a.hooks') LIKE '%lost%')::int::int8 AS n").await;
    assert_eq!(word, 0);
    assert!(number(&mut conn, hooked).await >= 1);
}

/// Panics wherever it is called.
struct Panics(&'static str);

impl Panics {
    fn at(&self, place: &str) {
        assert!(self.0 != place, "planted: {place}");
    }
}

impl AroundCommit for Panics {
    fn before<'a>(&'a self, _: &'a mut AsyncPgConnection) -> Answer<'a, Result<()>> {
        self.at("before");
        Box::pin(async {
            self.at("inside before");
            Ok(())
        })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        self.at("sql");
        None
    }

    fn alongside<'a>(&'a self, _: &'a AsyncPgConnection) -> Option<Answer<'a, ()>> {
        self.at("alongside");
        Some(Box::pin(async { self.at("inside alongside") }))
    }

    fn after<'a>(&'a self, _: Option<&'a mut AsyncPgConnection>, _: CommitOutcome) -> Answer<'a, ()> {
        self.at("after");
        Box::pin(async { self.at("inside after") })
    }
}

impl Observe for Panics {
    fn on_query(&self, _: &QueryEvent<'_>) {
        self.at("on_query");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_hook_changes_no_outcome() {
    let database = database().await;
    let places = [
        "make",
        "before",
        "inside before",
        "sql",
        "alongside",
        "inside alongside",
        "after",
        "inside after",
        "on_query",
        "on_connect",
        "on_checkout",
        "health",
        "metrics",
        "stop",
        "job",
    ];
    for (n, place) in (0..).zip(places) {
        let log = Arc::new(Log::default());
        let panics = Part::named("panics")
            .observing(Panics(place))
            .around_commit(move || {
                Panics(place).at("make");
                Panics(place)
            })
            .on_connect(move |_| {
                Panics(place).at("on_connect");
                Box::pin(async { Ok(()) })
            })
            .on_checkout(move |_| {
                Box::pin(async move {
                    Panics(place).at("on_checkout");
                    Ok(())
                })
            })
            .starting(move |ground| async move {
                ground.spawn(async move { Panics(place).at("job") });
                Ok(Running::new()
                    .with_health(move || {
                        Panics(place).at("health");
                        PartHealth::up()
                    })
                    .with_metrics(move || {
                        Panics(place).at("metrics");
                        Vec::new()
                    })
                    .with_stop(move || async move { Panics(place).at("stop") }))
            });
        let db = connect(&database, [panics, sibling("well", &log)]).await.unwrap();
        let committed = insert(&db, n).await;
        assert!(committed.is_ok(), "{place}: {committed:?}");
        let refused: Result<()> = db.transaction(async |_| Err(Error::NotFound)).await;
        assert!(matches!(refused, Err(Error::NotFound)), "{place}: {refused:?}");
        if matches!(place, "health" | "job") {
            until("the part is said to be down", async || {
                let health = db.health();
                health.condition == Condition::Degraded && health.parts[1].health.condition == Condition::Down
            })
            .await;
        }
        assert_eq!(siblings_measure(&db).len(), 1, "{place}: the other part measures all the same");
        let drained = db.shutdown(Duration::from_secs(5)).await;
        assert_eq!(drained.abandoned, 0, "{place}");
        let lines = log.lines();
        for line in ["well before", "well after Committed", "well after RolledBack", "well stopped"] {
            assert!(lines.iter().any(|seen| seen == line), "{place}: {line}: {lines:?}");
        }
    }
    let kept = count(&database, "SELECT count(DISTINCT n) AS n FROM ledger").await;
    assert_eq!((kept, count(&database, "SELECT count(*) AS n FROM ledger").await), (15, 15), "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_does_not_start_ends_those_before_it() {
    let database = database().await;
    let log = Arc::new(Log::default());
    let fails = Part::named("fails").starting(|_| async { Err(Error::NotFound) });
    let failed = connect(&database, [sibling("a", &log), fails]).await.unwrap_err();
    assert!(matches!(failed, Error::NotFound), "{failed}");
    assert!(log.lines().contains(&"a stopped".to_owned()), "{:?}", log.lines());

    let panics = Part::named("panics").starting(|_| async { panic!("planted") });
    let failed = connect(&database, [panics]).await.unwrap_err();
    assert_eq!(failed.class(), Class::Permanent);
    assert!(failed.to_string().contains("\"panics\""), "{failed}");
    let open = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() \
                AND pid <> pg_backend_pid()";
    until("nothing is left open", async || count(&database, open).await == 0).await;
}

/// What a part wants to have said with COMMIT fails the COMMIT: the caller is told, and nothing is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_that_fails_with_commit_rolls_the_transaction_back() {
    struct Wrong;
    impl AroundCommit for Wrong {
        fn sql(&self) -> Option<Cow<'_, str>> {
            Some("SELECT 1 / 0".into())
        }

        fn before<'a>(&'a self, _: &'a mut AsyncPgConnection) -> Answer<'a, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn alongside<'a>(&'a self, _: &'a AsyncPgConnection) -> Option<Answer<'a, ()>> {
            None
        }

        fn after<'a>(&'a self, _: Option<&'a mut AsyncPgConnection>, _: CommitOutcome) -> Answer<'a, ()> {
            Box::pin(async {})
        }
    }
    let database = database().await;
    let db = connect(&database, [Part::named("wrong").around_commit(|| Wrong)]).await.unwrap();
    let failed = insert(&db, 1).await.unwrap_err();
    assert_eq!(failed.sqlstate().unwrap().as_str(), "22012");
    assert_eq!(count(&database, "SELECT count(*) AS n FROM ledger").await, 0);
}
