//! What checks say of real servers.

use std::time::{Duration, Instant};

use db_monitoring::checks::{self, BlockingLook, Selection, Visit};
use db_monitoring::{Bloat, BlockingNode, CheckResult, LockOwner, SchemaLook};
use db_testkit::{Cluster, TestDatabase, skip};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

use crate::server::session;

type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// What the checks say, without an earlier look.
async fn results(url: &str) -> Vec<CheckResult> {
    let visit = Visit::to(&session(url).await).await;
    checks::judge(&visit.evidence(None), &Selection::default())
}

fn of<'a>(results: &'a [CheckResult], id: &str) -> Vec<&'a CheckResult> {
    results.iter().filter(|result| result.id == id).collect()
}

async fn check_version(major: u16) -> Tested {
    let cluster = Cluster::builder().version(major).standbys(0).start().await;
    let Some(cluster) = skip::without(cluster) else { return Ok(()) };
    let mut setup = cluster.connect(0).await?;
    setup
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE keyless (n int); ANALYZE")
        .await?;
    let results = results(&cluster.primary_url()).await;
    let reasons: Vec<_> = results
        .iter()
        .filter(|result| result.status.word() == "skipped")
        .map(|result| format!("{}: {}", result.id, result.summary))
        .collect();
    // What needs two looks, an extension, or what nobody said.
    let allowed = [
        "compares two looks",
        "pg_stat_statements",
        "no pool",
        "archives nothing",
        "how many cores",
        "no history",
    ];
    let unexpected: Vec<_> =
        reasons.iter().filter(|reason| !allowed.iter().any(|allowed| reason.contains(allowed))).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    for check in
        checks::all().filter(|check| !check.sql.is_empty() && !check.sql.contains("pg_stat_statements"))
    {
        setup.batch_execute(check.sql).await.map_err(|error| format!("{}: {error}", check.id))?;
    }
    Ok(())
}

#[tokio::test]
async fn checks_ask_nothing_that_15_does_not_have() -> Tested {
    check_version(15).await
}

#[tokio::test]
async fn checks_ask_nothing_that_16_does_not_have() -> Tested {
    check_version(16).await
}

#[tokio::test]
async fn checks_ask_nothing_that_17_does_not_have() -> Tested {
    check_version(17).await
}

#[tokio::test]
async fn checks_ask_nothing_that_18_does_not_have() -> Tested {
    check_version(18).await
}

#[tokio::test]
async fn what_is_wrong_with_a_schema_is_found_with_its_fix() -> Tested {
    let Some(db) = skip::without(TestDatabase::empty().await) else { return Ok(()) };
    let mut conn = db.connect().await?;
    for statement in [
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent, a int, b int, c int NOT NULL DEFAULT 0)",
        "INSERT INTO parent SELECT generate_series(1, 100)",
        "INSERT INTO child (parent, a, b) SELECT 1 + n % 100, n, n FROM generate_series(1, 20000) n",
        "CREATE INDEX child_a ON child (a)",
        "CREATE INDEX child_a_b ON child (a, b)",
        "CREATE INDEX broken ON child (b)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass",
        "ALTER TABLE child ADD CONSTRAINT positive CHECK (c >= 0) NOT VALID",
        "CREATE UNLOGGED TABLE lost (n int PRIMARY KEY)",
        "CREATE TABLE keyless AS SELECT generate_series(1, 5000) AS n",
        "SELECT setval('child_id_seq', 2000000000)",
        "VACUUM ANALYZE",
    ] {
        conn.batch_execute(statement).await?;
    }
    let results = results(db.url()).await;
    let found = |id: &str, subject: &str, status: &str| {
        let all = of(&results, id);
        let one =
            all.iter().find(|one| one.subject.as_ref().is_some_and(|found| found.name.contains(subject)));
        let one = one.unwrap_or_else(|| panic!("no {id} about {subject}: {all:#?}"));
        assert_eq!(one.status.word(), status, "{one:?}");
        one.fix.as_ref().map(|fix| fix.sql.to_string()).unwrap_or_default()
    };
    let fix = found("foreign-keys-without-index", "public.child.child_parent_fkey", "warn");
    assert_eq!(fix, "CREATE INDEX CONCURRENTLY ON public.child (parent)");
    assert_eq!(
        found("duplicate-indexes", "public.child_a", "warn"),
        "DROP INDEX CONCURRENTLY public.child_a"
    );
    found("invalid-indexes", "public.broken", "warn");
    found("table-leftovers", "positive", "warn");
    found("table-leftovers", "public.lost", "warn");
    found("primary-keys", "public.keyless", "warn");
    let fix = found("exhausted-keys", "public.child_id_seq", "critical");
    assert_eq!(fix, "ALTER TABLE public.child ALTER COLUMN id TYPE bigint");
    Ok(())
}

/// The nodes as text: who, and in brackets those who wait for them.
fn shape(nodes: &[BlockingNode], names: &[(i32, &str)]) -> String {
    let one = |node: &BlockingNode| {
        let name = match &node.owner {
            LockOwner::Pid(pid) => names
                .iter()
                .find(|(known, _)| known == pid)
                .map_or_else(|| pid.to_string(), |(_, name)| (*name).to_owned()),
            LockOwner::PreparedTransaction(gid) => format!("[{gid}]"),
        };
        if node.blocks.is_empty() { name } else { format!("{name}({})", shape(&node.blocks, names)) }
    };
    let mut all: Vec<_> = nodes.iter().map(one).collect();
    all.sort();
    all.join(" ")
}

#[tokio::test]
async fn a_prepared_transaction_stands_at_the_root_by_its_name() -> Tested {
    let cluster = Cluster::builder().standbys(0).setting("max_prepared_transactions", "5").start().await;
    let Some(cluster) = skip::without(cluster) else { return Ok(()) };
    let mut first = cluster.connect(0).await?;
    first.batch_execute("CREATE TABLE t (n int)").await?;
    first.batch_execute("BEGIN").await?;
    first.batch_execute("LOCK TABLE t IN ROW EXCLUSIVE MODE").await?;
    first.batch_execute("PREPARE TRANSACTION 'forgotten'").await?;
    let url = cluster.primary_url();
    let waiter = tokio::spawn(async move {
        let mut conn = AsyncPgConnection::establish(&url).await?;
        conn.batch_execute("BEGIN; LOCK TABLE t IN SHARE MODE").await.ok();
        Ok::<_, diesel::ConnectionError>(())
    });
    let watching = session(&cluster.primary_url()).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    let root = loop {
        let look = BlockingLook::read(&watching, true).await;
        let tree = look.tree()?;
        if let [root] = tree.roots.as_slice() {
            break root.clone();
        }
        assert!(Instant::now() < deadline, "{tree}");
        tokio::task::yield_now().await;
    };
    assert_eq!(root.owner, LockOwner::PreparedTransaction("forgotten".to_owned()));
    let wait = root.blocks[0].waits_for.clone().ok_or("nobody waits")?;
    assert_eq!((wait.mode.as_str(), wait.relation.as_deref()), ("ShareLock", Some("public.t")));
    assert_eq!(shape(&root.blocks, &[]).split(' ').count(), 1);
    first.batch_execute("ROLLBACK PREPARED 'forgotten'").await?;
    waiter.await??;
    Ok(())
}

#[tokio::test]
async fn bloat_is_what_could_be_given_back() -> Tested {
    let Some(db) = skip::without(TestDatabase::empty().await) else { return Ok(()) };
    let mut conn = db.connect().await?;
    for statement in [
        "CREATE TABLE half (a bool, b bigint, c bool, d bigint) WITH (autovacuum_enabled = off)",
        "INSERT INTO half SELECT true, n, true, n FROM generate_series(1, 50000) n",
        "CREATE INDEX half_b ON half (b)",
        "DELETE FROM half WHERE b % 2 = 0",
        "CREATE TABLE full_one AS SELECT * FROM half",
        "VACUUM ANALYZE",
    ] {
        conn.batch_execute(statement).await?;
    }
    let look = SchemaLook::read(&session(db.url()).await).await;
    let of = |name: &str| -> &Bloat {
        look.bloat()
            .unwrap()
            .iter()
            .find(|bloat| bloat.relation == name)
            .unwrap_or_else(|| panic!("{name}: {look:?}"))
    };
    assert!((of("public.half").bloat_percent - 48.0).abs() < 5.0, "{:?}", of("public.half"));
    assert!(of("public.full_one").bloat_percent < 5.0, "{:?}", of("public.full_one"));
    assert!((of("public.half_b").bloat_percent - 50.0).abs() < 5.0, "{:?}", of("public.half_b"));
    Ok(())
}

#[tokio::test]
async fn a_service_judges_schemas_that_its_collector_looked_at() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    setup
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE INDEX one ON t (n); CREATE INDEX two ON t (n)",
        )
        .await?;
    let collecting = crate::collecting::collector(&cluster.primary_url());
    let (others, all) = (db_monitoring::OtherChecks::default(), Selection::default());
    let checker = checks::Checker::new(collecting.0.clone(), others, all);
    db_testkit::until("the duplicate is found", async || {
        of(&checker.results(), "duplicate-indexes").iter().any(|found| found.status.is_problem())
    })
    .await;
    for id in ["foreign-keys-without-index", "invalid-indexes", "index-bloat", "primary-keys", "table-bloat"]
    {
        let found = of(&checker.results(), id).iter().map(|one| one.status.word()).collect::<Vec<_>>();
        assert_eq!(found, ["ok"], "{id}");
    }
    Ok(())
}
