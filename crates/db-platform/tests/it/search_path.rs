//! No `search_path` decides which marker row is meant, or what a question of ours asks: roles, databases and
//! transactions change it.

use std::time::Duration;

use db_platform::retry::marker;
use db_platform::{Class, Classify, Config, Db, Environment, Error, Result};
use db_testkit::{Cluster, CommitCut, Proxy, TestDatabase};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::Number;

async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

async fn db(url: &str) -> Db {
    db_with(url, |_| {}).await
}

async fn db_with(url: &str, configure: impl FnOnce(&mut Config)) -> Db {
    let mut config = Config::new(Environment::Test, url.parse().unwrap());
    config.retry.resolve_timeout = Duration::from_secs(5);
    configure(&mut config);
    Db::connect(config).await.unwrap()
}

/// A marked transaction that first runs `sql`, and then writes a row.
async fn mark(db: &Db, sql: &str) -> Result<()> {
    let work = async |conn: &mut AsyncPgConnection| {
        conn.batch_execute(sql).await?;
        conn.batch_execute("INSERT INTO public.ledger VALUES (1)").await.map_err(Error::from)
    };
    db.build_transaction().marked().run(work).await
}

async fn with_ledger() -> (TestDatabase, AsyncPgConnection) {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE public.ledger (n int); CREATE SCHEMA tenant").await.unwrap();
    (database, owner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_is_written_whatever_changes_the_path() {
    let (database, mut owner) = with_ledger().await;
    marker::apply(&mut owner).await.unwrap();
    let name: String = database.url().rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let mut written = 0;
    for change in [
        format!("ALTER DATABASE \"{name}\" SET search_path = tenant"),
        format!("ALTER ROLE CURRENT_USER IN DATABASE \"{name}\" SET search_path = ''"),
    ] {
        owner.batch_execute(&change).await.unwrap();
        let db = db(database.url()).await;
        for within in ["SELECT 1", "SET LOCAL search_path = tenant", "SET search_path = pg_catalog"] {
            mark(&db, within).await.unwrap();
            written += 1;
            let markers = number(&mut owner, "SELECT count(*) AS n FROM public.db_platform_commits").await;
            assert_eq!(markers, written, "{change}, {within}");
        }
    }
    assert_eq!(number(&mut owner, "SELECT count(*) AS n FROM public.ledger").await, written);
    let removed = marker::forget(&mut owner, Duration::ZERO, 100).await.unwrap();
    assert_eq!(removed, usize::try_from(written).unwrap());
}

/// The server crashes, so that the marker decides, and the path of the one who asks is not that of the one
/// who wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_is_looked_for_where_it_was_written() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut owner = cluster.connect(0).await.unwrap();
    owner.batch_execute("CREATE TABLE public.ledger (n int); CREATE SCHEMA tenant").await.unwrap();
    owner.batch_execute(&marker::table_in("tenant")).await.unwrap();
    owner.batch_execute(marker::TABLE).await.unwrap();
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let url = proxy.through(&cluster.primary_url()).unwrap();
    let db = db_with(&url, |config| config.retry.marker_schema = Some("public".to_owned())).await;
    for (kept, change) in [
        (1, "SET LOCAL search_path = tenant"),
        (2, "CREATE TEMP TABLE db_platform_commits (id uuid PRIMARY KEY) ON COMMIT DROP"),
    ] {
        proxy.cut_commits(1, CommitCut::Unanswered);
        let before = proxy.counters().commits_cut;
        let marking = tokio::spawn({
            let db = db.clone();
            async move { mark(&db, change).await }
        });
        db_testkit::until("it has committed", async || proxy.counters().commits_cut > before).await;
        cluster.kill(0).await.unwrap();
        cluster.start(0).await.unwrap();
        marking.await.unwrap().unwrap();
        let mut owner = cluster.connect(0).await.unwrap();
        assert_eq!(number(&mut owner, "SELECT count(*) AS n FROM public.ledger").await, kept, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_markers_table_is_the_one_that_there_is_or_is_named() {
    let (database, mut owner) = with_ledger().await;
    let db = db(database.url()).await;
    let error = mark(&db, "SELECT 1").await.unwrap_err();
    assert!(error.to_string().contains("marker::TABLE"), "{error}");
    assert_eq!(error.class(), Class::Permanent);

    let stranger = "CREATE TABLE public.db_platform_commits (id int)";
    owner.batch_execute(stranger).await.unwrap();
    owner.batch_execute(&marker::table_in("tenant")).await.unwrap();
    mark(&db, "SELECT 1").await.unwrap();
    let of = |schema: &str| format!("SELECT count(*) AS n FROM {schema}.db_platform_commits");
    assert_eq!(number(&mut owner, &of("tenant")).await, 1, "the other one has other columns");

    // It moves while the service runs.
    owner
        .batch_execute("CREATE SCHEMA moved; ALTER TABLE tenant.db_platform_commits SET SCHEMA moved")
        .await
        .unwrap();
    mark(&db, "SELECT 1").await.unwrap();
    assert_eq!(number(&mut owner, &of("moved")).await, 2);
    marker::apply(&mut owner).await.unwrap();
    assert_eq!(
        number(&mut owner, "SELECT count(*) AS n FROM pg_class WHERE relname = 'db_platform_commits'").await,
        2
    );

    owner.batch_execute(&marker::table_in("tenant")).await.unwrap();
    let later = db_with(database.url(), |_| {}).await;
    let error = mark(&later, "SELECT 1").await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("moved and tenant") || said.contains("tenant and moved"), "{error}");
    assert!(said.contains("DB_MARKER_SCHEMA"), "{error}");
    let named =
        db_with(database.url(), |config| config.retry.marker_schema = Some("tenant".to_owned())).await;
    mark(&named, "SELECT 1").await.unwrap();
    assert_eq!(number(&mut owner, &of("tenant")).await, 1);
    assert_eq!(number(&mut owner, "SELECT count(*) AS n FROM public.ledger").await, 3);
}

/// What a schema before `pg_catalog` may define: each of these would turn an answer of the server's into
/// another one.
const SHADOWS: &str = "
    CREATE SCHEMA shadow;
    CREATE FUNCTION shadow.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION shadow.pg_current_xact_id() RETURNS xid8 LANGUAGE sql AS 'SELECT ''3''::xid8';
    CREATE FUNCTION shadow.pg_current_wal_insert_lsn() RETURNS pg_lsn LANGUAGE sql AS 'SELECT ''0/1''::pg_lsn';
    CREATE FUNCTION shadow.pg_current_wal_lsn() RETURNS pg_lsn LANGUAGE sql AS 'SELECT ''0/1''::pg_lsn';
    CREATE FUNCTION shadow.pg_current_wal_flush_lsn() RETURNS pg_lsn LANGUAGE sql AS 'SELECT ''0/1''::pg_lsn';
    CREATE FUNCTION shadow.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql AS 'SELECT clock_timestamp()';
    CREATE FUNCTION shadow.pg_xact_status(xid8) RETURNS text LANGUAGE sql AS 'SELECT ''aborted''';
    CREATE FUNCTION shadow.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''1''';
    CREATE FUNCTION shadow.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''-infinity''::timestamptz';
    CREATE FUNCTION shadow.left(text, int) RETURNS text LANGUAGE sql AS 'SELECT ''left''';
    CREATE FUNCTION shadow.same(text, text) RETURNS bool LANGUAGE sql AS 'SELECT false';
    CREATE OPERATOR shadow.= (LEFTARG = text, RIGHTARG = text, FUNCTION = shadow.same);
    CREATE FUNCTION shadow.same(uuid, uuid) RETURNS bool LANGUAGE sql AS 'SELECT false';
    CREATE OPERATOR shadow.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = shadow.same);
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_of_the_same_name_change_no_answer() {
    let (database, mut owner) = with_ledger().await;
    marker::apply(&mut owner).await.unwrap();
    owner.batch_execute(SHADOWS).await.unwrap();
    let name: String = database.url().rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let path = format!("ALTER DATABASE \"{name}\" SET search_path = shadow, pg_catalog, public");
    owner.batch_execute(&path).await.unwrap();
    let address = database.url().rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let proxy = Proxy::start(address).unwrap();
    let db = db(&proxy.through(database.url()).unwrap()).await.session();
    for (kept, cut) in
        [(1, CommitCut::Answered), (2, CommitCut::Withheld), (3, CommitCut::Falsified(*b"08006"))]
    {
        proxy.cut_commits(1, cut);
        mark(&db, "SELECT 1").await.unwrap();
        let rows = async |conn: &mut AsyncPgConnection| {
            sql_query("SELECT count(*) AS n FROM public.ledger").get_result::<Number>(conn).await
        };
        assert_eq!(db.read(rows).await.unwrap().n, kept, "{cut:?}");
        assert_eq!(number(&mut owner, "SELECT count(*) AS n FROM public.ledger").await, kept, "{cut:?}");
    }
    let health = db.health();
    assert!(health.primary.is_ok(), "{health}");
}
