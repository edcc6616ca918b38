//! Why a table cannot be converted as it is, and what will be different once it is.

use super::state::{Facts, Names};
use crate::error::{MaintenanceError, Result};
use crate::name::{TableName, identifier};
use crate::session::Session;

/// Each query answers names of what speaks against a conversion of the table `$1`.
const AGAINST: [(&str, &str); 12] = [
    (
        "foreign keys of other tables refer to it, and would need the key's column: drop them first, or \
         refer by trigger",
        "SELECT conname::text FROM pg_constraint WHERE confrelid = $1 AND contype = 'f'",
    ),
    (
        "what depends on it keeps meaning the table that becomes a partition: drop it, and make it again \
         afterwards",
        "SELECT DISTINCT coalesce(v.relname::text, p.proname::text) FROM pg_depend d \
         LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid \
         LEFT JOIN pg_class v ON v.oid = r.ev_class AND v.oid <> $1 \
         LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid \
         WHERE d.refobjid = $1 AND d.refclassid = 'pg_class'::regclass AND (v.oid IS NOT NULL OR p.oid IS \
         NOT NULL)",
    ),
    (
        "triggers would stay with one partition: drop them, and make them on the partitioned table \
         afterwards",
        "SELECT tgname::text FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal",
    ),
    (
        "rules would stay with one partition: drop them first",
        "SELECT rulename::text FROM pg_rewrite WHERE ev_class = $1",
    ),
    (
        "row security would not apply to the partitioned table: drop the policies, and make them on it \
         afterwards",
        "SELECT polname::text FROM pg_policy WHERE polrelid = $1 UNION ALL \
         SELECT relname::text FROM pg_class WHERE oid = $1 AND relrowsecurity",
    ),
    (
        "unique indexes that leave out the key's column cannot be kept: drop them, if uniqueness within a \
         partition will do",
        "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
         AND a.attname = $2::text WHERE i.indrelid = $1 AND i.indisunique AND NOT i.indisprimary \
         AND NOT a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])",
    ),
    (
        "exclusion constraints cannot be kept: drop them first",
        "SELECT conname::text FROM pg_constraint WHERE conrelid = $1 AND contype = 'x'",
    ),
    (
        "CHECK constraints that are not inherited or not validated cannot be kept: mend or drop them first",
        "SELECT conname::text FROM pg_constraint WHERE conrelid = $1 AND contype = 'c' \
         AND (connoinherit OR NOT convalidated) AND NOT conname = $3::text",
    ),
    (
        "foreign keys that are not validated cannot be kept: validate them first",
        "SELECT conname::text FROM pg_constraint WHERE conrelid = $1 AND contype = 'f' AND NOT convalidated",
    ),
    (
        "it takes part in inheritance: a table with parents or children is no partition",
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhrelid = $1 OR inhparent = $1",
    ),
    (
        "publications name it, and would go on with one partition only: take it out, and add it afterwards",
        "SELECT p.pubname::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid \
         WHERE r.prrelid = $1",
    ),
    (
        "it is temporary or unlogged, of a type, an extension's, or has a replica identity of its own",
        "SELECT relname::text FROM pg_class c WHERE oid = $1 AND (relpersistence <> 'p' OR reloftype <> 0 \
         OR relreplident <> 'd' OR EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e' \
         AND d.classid = 'pg_class'::regclass))",
    ),
];

/// Every reason why not; empty where there is none.
pub(super) async fn refusals(
    session: &mut Session<'_>,
    facts: &Facts,
    name: &TableName,
    column: &str,
    trusted: &[String],
) -> Result<Vec<String>> {
    let Some(table) = &facts.plain else { return Ok(vec!["there is no such table".to_owned()]) };
    if table.kind != "r" {
        return Ok(vec!["it is no plain table".to_owned()]);
    }
    if table.key_type.is_none() {
        return Ok(vec![format!("it has no column {}", identifier(column))]);
    }
    let mut why = Vec::new();
    match session.may_act_as(&table.owner, "convert", trusted).await {
        Err(MaintenanceError::Refused { why, .. }) => return Ok(vec![why]),
        answered => answered?,
    }
    if table.key_is_generated {
        why.push(format!("{} is generated, and a partition key is not", identifier(column)));
    }
    for name in &facts.taken {
        why.push(format!("{name} is there already, and is not of this conversion: rename it"));
    }
    // The text of a query says how many parameters it has.
    let check = Names::of(name).check;
    for (reason, sql) in AGAINST {
        let client = session.client();
        let rows = match (sql.contains("$2"), sql.contains("$3")) {
            (true, _) => client.query(sql, &[&table.oid, &column]).await?,
            (_, true) => client.query(&sql.replace("$3", "$2"), &[&table.oid, &check]).await?,
            _ => client.query(sql, &[&table.oid]).await?,
        };
        let names: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        if !names.is_empty() {
            why.push(format!("{reason} ({})", names.join(", ")));
        }
    }
    if !table.key_is_not_null && facts.check != Some(true) {
        let sql = format!("SELECT FROM {} WHERE {} IS NULL LIMIT 1", name.quoted(), identifier(column));
        if session.look(&table.owner, &sql).await?.is_some() {
            why.push(format!("{} is NULL in some rows: give them a value", identifier(column)));
        }
    }
    Ok(why)
}

/// What will be different.
pub(super) fn notes(facts: &Facts, column: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Some(primary), true) = (&facts.primary_key, facts.needs_index()) {
        let (columns, widened) = (primary.columns.join(", "), primary.widened(column).join(", "));
        notes.push(format!(
            "the primary key becomes ({widened}): ({columns}) alone is no longer kept unique, and ON \
             CONFLICT ({columns}) fails"
        ));
    }
    if facts.primary_key.is_none() {
        notes.push("it has no primary key, and will have none".to_owned());
    }
    notes
}
