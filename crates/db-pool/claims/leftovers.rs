//! pool-1, second half: whatever a session was left with, the next borrower finds what a new connection has.

use std::time::Duration;

use db_pool::{ConnectConfig, Connector, Pool, PoolConfig, Reset};
use db_testkit::{Direction, Proxy, TestDatabase};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};

/// What the text names; `{n}` is another number each time.
const NAMED: &[&str] = &[
    "SET search_path = evil{n}",
    "SET SESSION statement_timeout = 1{n}",
    "SELECT set_config('work_mem', '6{n}kB', NOT true)",
    "SELECT pg_catalog /* . */ . \"set_config\"('app.user', 'ann{n}', false)",
    "SELECT U&\"set\\005fconfig\"('app.user', 'ann{n}', false)",
    "UPDATE pg_settings SET setting = 'evil{n}' WHERE name = 'search_path'",
    "SET ROLE pg_monitor",
    "SET SESSION AUTHORIZATION pg_monitor",
    "CREATE TEMP TABLE t{n} (n int)",
    "CREATE TABLE pg_temp.t{n} (n int)",
    "SELECT 1 AS n INTO pg_temp.t{n}",
    "CREATE FUNCTION pg_temp.f{n}() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "BEGIN; SET LOCAL search_path = 'pg_temp'; CREATE TABLE t{n} (n int); COMMIT",
    "SELECT pg_advisory_lock({n})",
    "SELECT pg_try_advisory_lock_shared({n}, 7)",
    "LISTEN gossip{n}",
    "BEGIN; DECLARE c{n} CURSOR WITH HOLD FOR SELECT 1; COMMIT",
    "PREPARE p{n} AS SELECT {n}",
    "DEALLOCATE ALL",
    "BEGIN; INSERT INTO ledger VALUES ({n})",
    "BEGIN; SELECT 1 / 0",
    "DO $$ BEGIN PERFORM set_config('app.user', 'do{n}', false); END $$",
    "CALL settle({n})",
    "COPY (SELECT generate_series(1, {n})) TO STDOUT",
    "LOAD 'plpgsql'",
];

/// What no text tells, for pools that always reset.
const HIDDEN: &[&str] = &[
    "SELECT sneak({n})",
    "INSERT INTO by_default (other) VALUES ({n})",
    "INSERT INTO by_trigger VALUES ({n})",
    "SELECT nextval('by_default_id_seq')",
];

const SCHEMA: &str = "
    CREATE TABLE ledger (n bigint);
    CREATE PROCEDURE settle(n int) LANGUAGE sql AS 'SELECT set_config(''app.user'', n::text, false)';
    CREATE FUNCTION sneak(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('search_path', 'evil' || n, false), pg_advisory_lock(n);
        EXECUTE 'CREATE TEMP TABLE secret' || n || ' ()'; RETURN n; END $$;
    CREATE FUNCTION sneak_in() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.sneak(NEW.n); RETURN NEW; END $$;
    CREATE TABLE by_default (id serial, n int DEFAULT public.sneak(1), other int);
    CREATE TABLE by_trigger (n int);
    CREATE TRIGGER sneaks BEFORE INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION sneak_in();";

/// All that one session could show another, as one text. The library of a language stays loaded once it was used, and shows
/// settings of its own: these do not count.
const SESSION: &str = "SELECT concat_ws(' | ',
    (SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings
      WHERE name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable', 'seed')
        AND name NOT LIKE 'plpgsql.%'),
    current_user, session_user, current_setting('app.user', true),
    (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
    (SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema()),
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype IN ('advisory', 'transactionid')),
    (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors WHERE is_holdable),
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql)) AS word";

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

/// How one series ended.
pub(crate) struct Series {
    pub(crate) found: u64,
    pub(crate) detail: Value,
}

async fn session(conn: &mut AsyncPgConnection) -> String {
    let seen = sql_query(SESSION).get_result::<Word>(conn).await.unwrap().word;
    // An empty custom setting is what RESET leaves of one that a session made up.
    seen.replace(" |  | ", " | ")
}

/// Leaves `wanted` things behind on one connection after another, `each_way` from the server.
///
/// The line whose removal this must notice: `leftover.add` for what the text names, in `wire/leftover.rs`.
pub(crate) async fn leave(wanted: usize, each_way: Duration, reset: Reset) -> Series {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(SCHEMA).await.unwrap();
    let url: db_core::DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    proxy.delay(Direction::ToClient, each_way, Duration::ZERO);
    proxy.delay(Direction::ToServer, each_way, Duration::ZERO);
    let url: db_core::DatabaseUrl = proxy.through(database.url()).unwrap().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let config = PoolConfig { max: 1.try_into().unwrap(), reset, ..PoolConfig::default() };
    let pool = Pool::open(Connector::new(url, ConnectConfig::default()), endpoint, config);

    let hidden = if reset == Reset::Always { HIDDEN } else { &[] };
    let kinds: Vec<&str> = NAMED.iter().chain(hidden).copied().collect();
    let expected = session(&mut pool.get().await.unwrap()).await;
    let (mut found, mut examples) = (0, Vec::new());
    for number in 0..wanted {
        let left = kinds[number % kinds.len()].replace("{n}", &(number + 1).to_string());
        let mut conn = pool.get().await.unwrap();
        let _ = conn.batch_execute(&left).await;
        drop(conn);
        let seen = session(&mut pool.get().await.unwrap()).await;
        if seen != expected {
            found += 1;
            examples.push(left);
        }
    }
    examples.truncate(5);
    let status = pool.status();
    // A COPY that is not read is cancelled where it is still being sent.
    let copies = wanted.div_ceil(kinds.len()) as u64;
    let cancels = proxy.counters().accepted.saturating_sub(status.creates());
    let detail = json!({
        "left": wanted, "found": found, "examples": examples, "each_way_ms": each_way.as_millis(),
        "closed": status.destroys, "cancels": cancels, "copies": copies,
    });
    Series { found: found + cancels.saturating_sub(copies), detail }
}
