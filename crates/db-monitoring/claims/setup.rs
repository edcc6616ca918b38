//! What the setup makes and takes back: the server's catalogs before and afterwards, row by row.

use db_monitoring::{ServerLog, SetupPlan};
use db_testkit::{Cluster, until};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::{Figure, Size, runtime};

/// Everything that a person could have made: roles and what they may, settings, extensions, objects and
/// comments.
const STATE: &str = "SELECT line FROM ( \
      SELECT format('role %s', to_jsonb(r) - 'oid') AS line FROM pg_roles r WHERE rolname !~ '^pg_' \
      UNION ALL SELECT format('member %s %s', roleid::regrole, member::regrole) FROM pg_auth_members \
      UNION ALL SELECT format('set %s %s', setrole::regrole, setconfig) FROM pg_db_role_setting \
      UNION ALL SELECT format('setting %s %s', name, setting) FROM pg_settings WHERE source NOT IN ('session', 'client') \
      UNION ALL SELECT format('file %s %s', name, setting) FROM pg_file_settings \
      UNION ALL SELECT 'extension ' || extname FROM pg_extension \
      UNION ALL SELECT format('relation %s %s', oid::regclass, relacl) FROM pg_class WHERE relnamespace::regnamespace::text \
        !~ '^pg_toast' \
      UNION ALL SELECT format('function %s %s', oid::regprocedure, proacl) FROM pg_proc \
      UNION ALL SELECT format('schema %s %s', nspname, coalesce(nspacl, acldefault('n', nspowner))) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp' \
      UNION ALL SELECT format('comment %s %s %s', classoid::regclass, objoid, description) FROM pg_description WHERE objoid > 16383 \
      UNION ALL SELECT format('default %s', defaclacl) FROM pg_default_acl) AS state ORDER BY line";

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

pub(crate) fn measure(size: Size) -> Figure {
    let majors: &[u16] = match size {
        Size::Ci => &[15, 18],
        Size::Nightly => &[15, 16, 17, 18],
    };
    runtime().block_on(async {
        let (mut left, mut detail) = (Vec::new(), serde_json::Map::new());
        for major in majors {
            for loaded in [true, false] {
                let (steps, differences) = once(*major, loaded).await;
                detail.insert(
                    format!("{major}, loaded: {loaded}"),
                    json!({ "steps": steps, "left": differences }),
                );
                left.extend(differences);
            }
        }
        Figure {
            value: left.len() as f64,
            unit: "differences",
            holds: left.is_empty(),
            detail: detail.into(),
        }
    })
}

/// The setup of a new role and of one that is there, each applied twice and undone twice. How many steps were
/// done, and what is not as it was.
async fn once(major: u16, loaded: bool) -> (usize, Vec<String>) {
    let mut builder = Cluster::builder().version(major).standbys(0);
    if loaded {
        builder = builder.setting("shared_preload_libraries", "pg_stat_statements");
    }
    // One that somebody has set before, in the same way and in another.
    builder = builder.setting("log_statement", "ddl");
    let cluster = builder.start().await.unwrap();
    let mut conn = AsyncPgConnection::establish(&cluster.primary_url()).await.unwrap();
    conn.batch_execute("CREATE ROLE theirs LOGIN; CREATE ROLE member LOGIN; GRANT pg_monitor TO member")
        .await
        .unwrap();
    conn.batch_execute("ALTER SYSTEM SET log_lock_waits = off").await.unwrap();
    let (mut steps, mut differences) = (0, Vec::new());
    for role in ["watcher \"of\" all", "theirs", "member"] {
        let before = state(&mut conn).await;
        for _ in 0..2 {
            let plan = SetupPlan::with_log(&mut conn, role, ServerLog::Changes).await.unwrap();
            plan.apply(&mut conn).await.unwrap();
            steps += plan.steps.len() + plan.settings.len();
            assert!(loaded || !plan.to_decide.is_empty(), "it says what a restart is needed for");
        }
        let again = SetupPlan::with_log(&mut conn, role, ServerLog::Changes).await.unwrap();
        differences
            .extend(again.steps.iter().chain(&again.settings).map(|step| format!("not done: {}", step.does)));
        until("the settings are in use", async || shown(&cluster, "log_statement").await == "mod").await;
        assert_ne!(state(&mut conn).await, before, "it does something for {role}");
        for _ in 0..2 {
            SetupPlan::undoing(&mut conn, role).await.unwrap().apply(&mut conn).await.unwrap();
        }
        until("the settings are as they were", async || shown(&cluster, "log_statement").await == "ddl")
            .await;
        let after = state(&mut conn).await;
        differences
            .extend(after.iter().filter(|line| !before.contains(line)).map(|line| format!("more: {line}")));
        differences
            .extend(before.iter().filter(|line| !after.contains(line)).map(|line| format!("less: {line}")));
    }
    (steps, differences)
}

/// A setting as a new session sees it.
async fn shown(cluster: &Cluster, name: &str) -> String {
    let mut conn = AsyncPgConnection::establish(&cluster.primary_url()).await.unwrap();
    let line: Line =
        sql_query(format!("SELECT current_setting('{name}') AS line")).get_result(&mut conn).await.unwrap();
    line.line
}

async fn state(conn: &mut AsyncPgConnection) -> Vec<String> {
    let lines: Vec<Line> = sql_query(STATE).load(conn).await.unwrap();
    lines.into_iter().map(|line| line.line).collect()
}
