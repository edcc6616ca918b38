//! What must not be advised: what is there in another form, what a constraint stands on; and whether a
//! role is told of all that it may not do, and of nothing else.

use db_insight::indexes::{Advice, AdviceConfig, Prove, Query, advise};
use db_testkit::Cluster;
use db_testkit::claims::{Figure, Size};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::served::{SERVED, UNDO};
use crate::shop::SHOP;

/// What an index stands for besides queries: each is the duplicate or the prefix of another one.
const STOOD_ON: &str = "
    CREATE TABLE parents (a int NOT NULL, b int NOT NULL, c int, d int, e int4range);
    CREATE UNIQUE INDEX parents_ab ON parents (a, b);
    CREATE UNIQUE INDEX parents_a ON parents (a);
    CREATE INDEX parents_a_plain ON parents (a);
    CREATE TABLE children (a int REFERENCES parents (a));
    CREATE UNIQUE INDEX conflict_target ON parents (c) WHERE c IS NOT NULL;
    CREATE INDEX beside_the_target ON parents (c) WHERE c IS NOT NULL;
    ALTER TABLE parents ADD CONSTRAINT not_at_once EXCLUDE USING gist (e WITH &&);
    CREATE INDEX beside_the_exclusion ON parents USING gist (e);
    ALTER TABLE parents ADD CONSTRAINT one_d UNIQUE (d);
    CREATE INDEX beside_the_constraint ON parents (d);
    CREATE TABLE replicated (k int NOT NULL, n int NOT NULL);
    CREATE UNIQUE INDEX replicated_k ON replicated (k);
    CREATE UNIQUE INDEX replicated_k_too ON replicated (k);
    ALTER TABLE replicated REPLICA IDENTITY USING INDEX replicated_k_too;
    CREATE INDEX clustered_n ON replicated (n);
    CREATE INDEX clustered_n_too ON replicated (n);
    CLUSTER replicated USING clustered_n_too";

/// What may go of them: the plain ones beside those that stay.
const MAY_GO: [&str; 8] = [
    "beside_the_constraint",
    "beside_the_exclusion",
    "beside_the_target",
    "clustered_n",
    "dup_a",
    "dup_b_again",
    "dup_id",
    "parents_a_plain",
];

/// Everything that constraints, uniqueness, identities and clustering stand on.
const RULES: &str = "SELECT concat_ws(';',
    (SELECT string_agg(format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)), ',' ORDER BY oid)
        FROM pg_constraint),
    (SELECT string_agg(format('%s %s %s %s', indexrelid::regclass, indisunique, indisreplident,
        indisclustered), ',' ORDER BY indexrelid) FROM pg_index
        WHERE indisunique OR indisreplident OR indisclustered)) AS line";

/// Columns that depend on each other, and an expression that needs an extension.
const FOR_ROLES: &str = "
    CREATE TABLE addresses (id int PRIMARY KEY, city int NOT NULL, country int NOT NULL);
    INSERT INTO addresses SELECT i, i % 50, i % 50 / 2 FROM generate_series(1, 100000) i;
    ANALYZE addresses";

const FOR_EACH_ROLE: [&str; 3] = [
    "SELECT * FROM orders WHERE customer_id = 42",
    "SELECT id FROM orders WHERE note LIKE '%deadbe%'",
    "SELECT * FROM addresses WHERE city = 7 AND country = 3",
];

/// Roles that may do more and more, and whether each owns the tables, may create in the schema, and in the
/// database.
const ROLES: [(&str, [bool; 3]); 4] = [
    ("reads", [false, false, false]),
    ("owns", [true, false, false]),
    ("owns_and_creates", [true, true, false]),
    ("owns_and_extends", [true, true, true]),
];

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

pub(crate) fn measure(size: Size) -> Figure {
    let versions: &[u16] = if size == Size::Nightly { &[15, 16, 17, 18] } else { &[15] };
    let (mut faults, mut checked) = (Vec::new(), [0; 3]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for version in versions {
            let cluster = Cluster::builder().version(*version).start().await.unwrap();
            let mut conn = cluster.connect(0).await.unwrap();
            run(&mut conn, SHOP).await;
            run(&mut conn, "VACUUM ANALYZE").await;
            let mut found = Vec::new();
            checked[0] += other_forms(&mut conn, &mut found).await;
            checked[1] += rules(&mut conn, &mut found).await;
            checked[2] += roles(&mut conn, &mut found).await;
            faults.extend(found.into_iter().map(|fault| format!("{version}: {fault}")));
        }
    });
    let [forms, drops, told] = checked;
    Figure {
        value: faults.len() as f64,
        unit: "suggestions too much, rules broken, and roles told the wrong thing",
        holds: faults.is_empty() && forms >= 13 && drops >= MAY_GO.len() && told >= 16,
        detail: json!({
            "faults": faults, "other_forms": forms, "drops_made": drops, "tried_by_roles": told,
        }),
    }
}

/// Each statement gets an index, and none once that is there in another form.
async fn other_forms(conn: &mut AsyncPgConnection, faults: &mut Vec<String>) -> usize {
    for (sql, exists) in SERVED {
        if advised(conn, &[sql], false).await.suggestions.is_empty() {
            faults.push(format!("{sql} gets nothing even without {exists}"));
        }
        run(conn, exists).await;
        run(conn, "ANALYZE").await;
        for one in advised(conn, &[sql], false).await.suggestions {
            faults.push(format!("{} beside {exists}", one.index));
        }
        run(conn, UNDO).await;
    }
    SERVED.len()
}

/// All that is to be dropped is dropped, and everything that stood on indexes still stands.
async fn rules(conn: &mut AsyncPgConnection, faults: &mut Vec<String>) -> usize {
    run(conn, STOOD_ON).await;
    let before = line(conn, RULES).await;
    let advice = advised(conn, &[], false).await;
    for drop in &advice.drops {
        if !MAY_GO.contains(&drop.index.as_str()) {
            faults.push(format!("{} is to be dropped: {}", drop.index, drop.why));
        }
        if let Err(error) = conn.batch_execute(&drop.sql).await {
            faults.push(format!("{}: {error}", drop.sql));
        }
    }
    if line(conn, RULES).await != before {
        faults.push("a constraint, a unique index, an identity or an order is gone".to_owned());
    }
    advice.drops.len()
}

/// Each role tries what it is advised, and it fails where the advice says so, and nowhere else.
async fn roles(conn: &mut AsyncPgConnection, faults: &mut Vec<String>) -> usize {
    run(conn, FOR_ROLES).await;
    run(conn, "CREATE INDEX dup_a_again ON dup (a); CREATE INDEX dup_a_more ON dup (a)").await;
    run(conn, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let database = line(conn, "SELECT quote_ident(current_database()) AS line").await;
    let mut tried = 0;
    for (role, [owns, creates, extends]) in ROLES {
        run(conn, &format!("CREATE ROLE {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
            .await;
        if owns {
            let tables = ["customers", "orders", "addresses", "dup"];
            run(conn, &tables.map(|table| format!("ALTER TABLE {table} OWNER TO {role}")).join("; ")).await;
        }
        if creates {
            run(conn, &format!("GRANT CREATE ON SCHEMA public TO {role}")).await;
        }
        if extends {
            run(conn, &format!("GRANT CREATE ON DATABASE {database} TO {role}")).await;
        }
        run(conn, &format!("SET ROLE {role}")).await;
        let advice = advised(conn, &FOR_EACH_ROLE, true).await;
        for (what, notes) in attempts(&advice) {
            let told = notes.iter().any(|note| note.contains("this role cannot"));
            run(conn, "BEGIN").await;
            let may = conn.batch_execute(&what).await;
            run(conn, "ROLLBACK").await;
            tried += 1;
            match may {
                Ok(()) if told => faults.push(format!("{role} may run {what}, and is told that it may not")),
                Err(error) if !told => faults.push(format!("{role} is not told: {what}: {error}")),
                _ => {}
            }
        }
        run(conn, "RESET ROLE").await;
    }
    tried
}

/// What is advised, as it can be tried in a transaction, with its notes.
fn attempts(advice: &Advice) -> Vec<(String, Vec<String>)> {
    let plain = |sql: &str| sql.replace(" CONCURRENTLY", "");
    let makes = advice.suggestions.iter().map(|one| {
        let needs: String = one.requires.iter().map(|needed| format!("{needed}; ")).collect();
        (needs + &plain(&one.create), one.notes.clone())
    });
    let statistics = advice.statistics.iter().map(|one| (one.create.clone(), one.notes.clone()));
    let drops = advice.drops.iter().map(|one| (plain(&one.sql), one.notes.clone()));
    makes.chain(statistics).chain(drops).collect()
}

async fn advised(conn: &mut AsyncPgConnection, statements: &[&str], sample: bool) -> Advice {
    let query = |sql: &&str| Query { id: json!(sql), sql: (*sql).to_owned(), ..Query::default() };
    let workload: Vec<Query> = statements.iter().map(query).collect();
    let config = AdviceConfig { prove: Prove::Model, sample, ..AdviceConfig::default() };
    advise(conn, &workload, &config).await.unwrap()
}

async fn run(conn: &mut AsyncPgConnection, sql: &str) {
    conn.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn line(conn: &mut AsyncPgConnection, sql: &str) -> String {
    sql_query(sql).get_result::<Line>(conn).await.unwrap().line
}
