//! pool-1, second half: whatever a session was left with, the next borrower finds what a new connection has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_core::{LinkEvent, Observe, QueryEvent};
use db_pool::{ConnectConfig, Connector, Pool, PoolConfig, Reset};
use db_testkit::{Direction, Proxy, TestDatabase};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};

mod generated;

use generated::{Left, harmless, leftover};

const SCHEMA: &str = "
    CREATE TABLE ledger (n bigint);
    CREATE TABLE notes (word text UNIQUE);
    INSERT INTO notes VALUES ('a'), ('b');
    CREATE SEQUENCE ids;
    CREATE PROCEDURE settle(n int) LANGUAGE sql AS 'SELECT set_config(''app.user'', n::text, false)';
    CREATE FUNCTION sneak(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('search_path', 'evil' || n, false), pg_advisory_lock(n), nextval('public.ids');
        EXECUTE 'CREATE TEMP TABLE IF NOT EXISTS secret' || n || ' ()'; RETURN n; END $$;
    CREATE FUNCTION prepares(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'PREPARE p AS SELECT 1'; RETURN n; END $$;
    CREATE FUNCTION remembered() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN concat(lastval(), currval('public.ids'));
        EXCEPTION WHEN OTHERS THEN RETURN 'nothing'; END $$;
    CREATE FUNCTION sneak_next(a int, n int) RETURNS int LANGUAGE sql AS 'SELECT public.sneak($2)';
    CREATE AGGREGATE by_aggregate(int) (sfunc = sneak_next, stype = int, initcond = '0');
    CREATE FUNCTION sneak_in() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.sneak(NEW.n); RETURN NEW; END $$;
    CREATE TABLE by_default (id serial, n int DEFAULT public.sneak(1), other int);
    CREATE TABLE by_trigger (n int);
    CREATE TRIGGER sneaks BEFORE INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION sneak_in();
    CREATE VIEW by_view AS SELECT sneak(2);
    CREATE OPERATOR @! (leftarg = int, rightarg = int, function = sneak_next);
    CREATE DOMAIN by_domain AS int CHECK (public.sneak(VALUE) > 0);
    CREATE FUNCTION by_row(ledger) RETURNS int LANGUAGE sql AS 'SELECT public.sneak(3)';";

/// All that one session could show another, as one text. The library of a language stays loaded once it was
/// used, and shows settings of its own: these do not count.
const SESSION: &str = "SELECT concat_ws(' | ',
    (SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings
      WHERE name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable', 'seed')
        AND name NOT LIKE 'plpgsql.%'),
    current_user, session_user, current_setting('app.user', true),
    (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
    (SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema()),
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype IN ('advisory', 'transactionid')),
    (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors WHERE is_holdable),
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql), public.remembered(), random()::text = '{seeded}') AS word";

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

/// A pool of one connection to a server that is `each_way` away, and what stands between.
struct Bench {
    pool: Pool,
    proxy: Proxy,
    /// How many statements the server was sent, whoever sent them.
    heard: Arc<Heard>,
    /// What shows all of a session.
    session: String,
    _database: TestDatabase,
}

#[derive(Default)]
struct Heard(AtomicU64);

impl Observe for Heard {
    fn on_query(&self, _: &QueryEvent<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn on_link(&self, _: &LinkEvent<'_>) {}
}

impl Bench {
    async fn new(each_way: Duration, reset: Reset) -> Self {
        let database = TestDatabase::empty().await.unwrap();
        let mut owner = database.connect().await.unwrap();
        owner.batch_execute(SCHEMA).await.unwrap();
        owner.batch_execute("SELECT setseed(0.5)").await.unwrap();
        let seeded = sql_query("SELECT random()::text AS word").get_result::<Word>(&mut owner).await.unwrap();
        let url: db_core::DatabaseUrl = database.url().parse().unwrap();
        let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
        proxy.delay(Direction::ToClient, each_way, Duration::ZERO);
        proxy.delay(Direction::ToServer, each_way, Duration::ZERO);
        let url: db_core::DatabaseUrl = proxy.through(database.url()).unwrap().parse().unwrap();
        let (endpoint, heard) = (url.hosts()[0].clone(), Arc::new(Heard::default()));
        let connector = Connector::new(url, ConnectConfig::default())
            .observed_by([Arc::clone(&heard) as Arc<dyn Observe>]);
        // What the probe itself calls is declared, or each look would clean up what it looks for.
        let harmless = "remembered".parse().unwrap();
        let config = PoolConfig { max: 1.try_into().unwrap(), reset, harmless, ..PoolConfig::default() };
        let pool = Pool::open(connector, endpoint, config);
        Bench { pool, proxy, heard, session: SESSION.replace("{seeded}", &seeded.word), _database: database }
    }

    /// All that the next borrower could notice.
    async fn session(&self) -> String {
        let mut conn = self.pool.get().await.unwrap();
        let seen = sql_query(&self.session).get_result::<Word>(&mut conn).await.unwrap().word;
        // An empty custom setting is what RESET leaves of one that a session made up.
        seen.replace(" |  | ", " | ")
    }

    /// Runs a statement on a connection and gives that back; whether the server took it.
    async fn run(&self, left: &Left) -> bool {
        let mut conn = self.pool.get().await.unwrap();
        match left.prepared {
            true => sql_query(&left.sql).execute(&mut conn).await.is_ok(),
            false => conn.batch_execute(&left.sql).await.is_ok(),
        }
    }

    fn heard(&self) -> u64 {
        AtomicU64::load(&self.heard.0, Ordering::Relaxed)
    }
}

/// Leaves `wanted` things behind on one connection after another, `each_way` from the server.
///
/// The line whose removal this must notice: `all.state = true` for a call, in `Leftover::read`.
pub(crate) async fn leave(wanted: usize, each_way: Duration, reset: Reset) -> Series {
    let bench = Bench::new(each_way, reset).await;
    let expected = bench.session().await;
    let (mut found, mut examples, mut refused, mut copies) = (0, Vec::new(), 0, 0);
    for number in 0..wanted {
        let left = leftover(number, reset == Reset::Always);
        let taken = bench.run(&left).await;
        copies += u64::from(left.copies);
        refused += u64::from(!taken && !left.copies);
        if bench.session().await != expected {
            found += 1;
            examples.push(left.sql);
        }
    }
    examples.truncate(5);
    let status = bench.pool.status();
    // A COPY whose other end is gone is cancelled; nothing else is, because nothing else is unanswered.
    let cancels = bench.proxy.counters().accepted.saturating_sub(status.creates());
    let detail = json!({
        "left": wanted, "found": found, "examples": examples, "each_way_ms": each_way.as_millis(),
        "refused_by_the_server": refused, "closed": status.destroys, "cancels": cancels, "copies": copies,
    });
    Series { found: found + cancels.saturating_sub(copies), detail }
}

/// Runs `wanted` statements that leave nothing behind: the server is sent these and nothing else.
pub(crate) async fn leave_nothing(wanted: usize) -> Series {
    let bench = Bench::new(Duration::ZERO, Reset::WhenSeen).await;
    let expected = bench.session().await;
    let (before, mut refused, mut requests) = (bench.heard(), 0, 0);
    for number in 0..wanted {
        let left = harmless(number);
        refused += u64::from(!bench.run(&left).await);
        requests += 1;
    }
    let more = (bench.heard() - before).abs_diff(requests);
    let found = u64::from(bench.session().await != expected) + more + bench.pool.status().destroys;
    let detail = json!({ "harmless": wanted, "sent_besides": more, "refused_by_the_server": refused });
    Series { found, detail }
}
