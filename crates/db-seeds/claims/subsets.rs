//! seeds-5c: a masked part of a database loads elsewhere, and holds no masked value.

use std::collections::BTreeMap;
use std::path::Path;

use db_core::Environment;
use db_seeds::{GenerateOptions, Masks, SeedOptions, Seeds, Subset};
use db_testkit::claims::{Figure, Size};
use serde_json::json;
use tokio_postgres::Client;

use crate::schemas;

/// What a value begins with that is to be masked: twelve characters in all, found nowhere else.
const MARK: &str = "zq";

/// Puts a value that is told apart from all others into every masked column of texts that has room for it and
/// no rule against it, and copies of one of them, within sentences, into columns that are kept.
const PLANT: &str = "DO $$ DECLARE t record; c record; masked text; planted int8 := 0; copies int8 := 0; \
  BEGIN \
    SET session_replication_role = replica; \
    FOR t IN SELECT DISTINCT m.table_name::regclass AS name FROM masked m LOOP \
      masked := NULL; \
      FOR c IN SELECT m.column_name FROM masked m WHERE m.table_name::regclass = t.name AND m.mask <> \
      'keep' LOOP \
        BEGIN EXECUTE format('UPDATE %s SET %I = ''zq'' || left(md5(random()::text), 10)', t.name, \
        c.column_name); \
          masked := c.column_name; planted := planted + 1; \
        EXCEPTION WHEN OTHERS THEN NULL; END; \
      END LOOP; \
      FOR c IN SELECT m.column_name FROM masked m WHERE m.table_name::regclass = t.name AND m.mask = \
      'keep' LOOP \
        EXIT WHEN masked IS NULL; \
        BEGIN EXECUTE format('UPDATE %s SET %I = ''by '' || %I || '' today''', t.name, c.column_name, \
        masked); \
          copies := copies + 1; \
        EXCEPTION WHEN OTHERS THEN NULL; END; \
      END LOOP; END LOOP; \
    SET session_replication_role = origin; INSERT INTO counted VALUES (planted, copies); END $$";

/// The table that most others refer to, so that most of the schema hangs on its rows.
const ROOT: &str = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_constraint f ON f.confrelid = c.oid \
    AND f.contype = 'f' JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT \
    c.relispartition AND n.nspname NOT LIKE 'pg\\_%' GROUP BY c.oid ORDER BY count(*) DESC, 1 LIMIT 1";

/// A column of texts, or of a domain over them, that is no key, of no constraint, and not generated.
const COLUMN: &str = "INSERT INTO masked SELECT c.oid::regclass::text, a.attname, $3::text FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
    WHERE $1::text IN (c.relname, n.nspname || '.' || c.relname) AND a.attname = $2::text \
    AND c.relkind IN ('r', 'p') AND (SELECT coalesce(nullif(d.typbasetype, 0), d.oid) FROM pg_type d \
      WHERE d.oid = a.atttypid) IN ('text'::regtype, 'varchar'::regtype) AND a.attgenerated = '' \
    AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY \
      (i.indkey)) \
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE a.attnum = ANY (k.conkey) AND k.conrelid = c.oid) \
    AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'";

pub(crate) fn measure(_: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ours = schemas::all().into_iter().map(|(name, sql)| (name.to_owned(), sql));
        // Of those that are made of what is hard, one has no table that others refer to.
        let ours = ours.filter(|(name, _)| name != "conditions");
        let (mut faults, mut shown, mut rows) = (Vec::new(), Vec::new(), 0);
        // A set's files are for tables on the search_path: the university's stand in five schemas.
        let strangers = schemas::strangers().into_iter().filter(|(name, _)| name != "university");
        for (name, sql) in ours.chain(strangers) {
            eprintln!("seeds-5c: {name}");
            let seen = one(&name, &sql, &mut faults).await;
            rows += seen["rows"].as_u64().unwrap_or_default();
            shown.push(seen);
        }
        let value = faults.len() as f64;
        let detail = json!({ "schemas": shown, "faults": faults });
        Figure { value, unit: "violations and masked values", holds: value == 0.0 && rows > 0, detail }
    })
}

async fn one(name: &str, sql: &[String], faults: &mut Vec<String>) -> serde_json::Value {
    let (_database, mut client) = schemas::made(sql).await;
    schemas::filled(&mut client, GenerateOptions::default()).await;
    let proposed = Masks::proposed(&mut client).await.unwrap();
    let (planted, copies) = plant(&client, &proposed).await;
    let root: String = client.query_one(ROOT, &[]).await.unwrap().get(0);
    let masks = Masks::parse(Path::new("masks.toml"), &proposed, b"the key of this claim").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let subset = Subset { roots: vec![root.clone()], masks, children: true };
    let dumped = match subset.write(&mut client, &dir.path().join("part")).await {
        Ok(dumped) => dumped,
        Err(error) => {
            faults.push(format!("{name}: {error}"));
            return json!({ "schema": name, "root": root });
        }
    };
    let texts = schemas::texts(&dumped.files).concat();
    let found = texts.match_indices(MARK).filter(|(at, _)| is_planted(&texts[*at..])).count();
    faults.extend((found > 0).then(|| format!("{name}: {found} masked values")));
    faults.extend((dumped.rows == 0).then(|| format!("{name}: no row was taken")));
    faults.extend((planted == 0).then(|| format!("{name}: nothing was planted")));
    let (_other, mut other) = schemas::made(sql).await;
    let seeds = Seeds::open(dir.path(), "part").unwrap();
    let options = SeedOptions { environment: Some(Environment::Test), ..SeedOptions::default() };
    let plan = seeds.plan(&other, &options).await.unwrap();
    if let Err(error) = seeds.apply(&mut other, &plan, |_| {}).await {
        faults.push(format!("{name}: {error}"));
    }
    json!({
        "schema": name, "root": root, "rows": dumped.rows, "files": dumped.files.len(),
        "masked_columns_with_values_of_their_own": planted, "columns_with_copies": copies,
    })
}

fn is_planted(text: &str) -> bool {
    let digits = text.as_bytes().get(MARK.len()..MARK.len() + 10);
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// How many columns got values of their own, and how many copies of these.
async fn plant(client: &Client, proposed: &str) -> (i64, i64) {
    client
        .batch_execute(
            "CREATE TEMP TABLE masked (table_name text, column_name text, mask text); \
             CREATE TEMP TABLE counted (planted int8, copies int8)",
        )
        .await
        .unwrap();
    let tables: BTreeMap<String, BTreeMap<String, toml::Value>> = toml::from_str(proposed).unwrap();
    for (table, columns) in &tables {
        for (column, mask) in columns {
            let mask = mask.as_str().unwrap_or("keep");
            client.execute(COLUMN, &[table, column, &mask]).await.unwrap();
        }
    }
    client.batch_execute(PLANT).await.unwrap();
    let row = client.query_one("SELECT planted, copies FROM counted", &[]).await.unwrap();
    client.batch_execute("DROP TABLE masked, counted").await.unwrap();
    (row.get(0), row.get(1))
}
