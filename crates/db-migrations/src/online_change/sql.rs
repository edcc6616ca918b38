//! The files of the changes that need no second column.

use super::facts::Facts;
use super::{ChangeError, Files, OnDelete};
use crate::location::quoted;

/// How long a statement waits that stops reads or writes; the runner tries it again.
pub(crate) const SHORT: &str = "SET lock_timeout = '50ms';";

/// How long one waits behind which nobody queues who reads or writes.
pub(crate) const LONG: &str = "SET lock_timeout = '10s';";

fn refused<T>(what: String, reason: &str) -> Result<T, ChangeError> {
    Err(ChangeError::Refused { what, reason: reason.to_owned() })
}

/// The statements that make a column NOT NULL without a scan under a strong lock.
pub(crate) fn not_null_sql(facts: &Facts, column: &str) -> String {
    let (table, check) = (facts.sql(), quoted(&facts.named(&[column.to_owned()], "is_not_null")));
    let column = quoted(column);
    format!(
        "-- From now on no row comes with NULL; those that are there are not looked at yet.\n\
         {SHORT}\n\
         BEGIN;\n\
         ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID;\n\
         COMMIT;\n\
         -- Reads the table; readers and writers go on.\n\
         {LONG}\n\
         BEGIN;\n\
         ALTER TABLE {table} VALIDATE CONSTRAINT {check};\n\
         COMMIT;\n\
         -- The check proves it, so nothing is read.\n\
         {SHORT}\n\
         BEGIN;\n\
         ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;\n\
         ALTER TABLE {table} DROP CONSTRAINT {check};\n\
         COMMIT;\n"
    )
}

pub(crate) fn not_null(facts: &Facts, column: &str) -> Result<Files, ChangeError> {
    if facts.column(column)?.not_null {
        return refused(format!("{}.{column}", facts.name), "it is NOT NULL already");
    }
    let table = facts.sql();
    Ok(Files {
        name: format!("{}_{column}_not_null", facts.name),
        up: not_null_sql(facts, column),
        down: format!("{SHORT}\nALTER TABLE {table} ALTER COLUMN {} DROP NOT NULL;\n", quoted(column)),
        then: vec![format!(
            "before you apply it, fill what is NULL: dbctl backfill apply {} --set '{column} = …'",
            facts.name
        )],
    })
}

pub(crate) fn foreign_key(
    facts: &Facts,
    columns: &[String],
    to: &Facts,
    on_delete: Option<OnDelete>,
) -> Result<Files, ChangeError> {
    let what = || format!("a foreign key of {} to {}", facts.name, to.name);
    if facts.partitioned {
        return refused(what(), "a partitioned table takes none that is NOT VALID; add it to each partition");
    }
    if to.key.len() != columns.len() || columns.is_empty() {
        let reason = format!("the primary key there has {} columns, not {}", to.key.len(), columns.len());
        return refused(what(), &reason);
    }
    let name = facts.named(columns, "fkey");
    let (table, key, other) = (facts.sql(), quoted(&name), to.sql());
    let list = |columns: &[String]| columns.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
    let on_delete = match on_delete {
        None => "",
        Some(OnDelete::Cascade) => " ON DELETE CASCADE",
        Some(OnDelete::SetNull) => " ON DELETE SET NULL",
        Some(OnDelete::Restrict) => " ON DELETE RESTRICT",
    };
    let up = format!(
        "-- From now on new rows must refer to one that is there; the old ones are not looked at yet.\n\
         {SHORT}\n\
         BEGIN;\n\
         ALTER TABLE {table} ADD CONSTRAINT {key} FOREIGN KEY ({}) REFERENCES {other} ({}){on_delete} NOT \
         VALID;\n\
         COMMIT;\n\
         -- Reads both tables; readers and writers go on.\n\
         {LONG}\n\
         BEGIN;\n\
         ALTER TABLE {table} VALIDATE CONSTRAINT {key};\n\
         COMMIT;\n",
        list(columns),
        list(&to.key)
    );
    Ok(Files {
        name,
        up,
        down: format!("{SHORT}\nALTER TABLE {table} DROP CONSTRAINT {key};\n"),
        then: vec![format!(
            "an index on {}({}) keeps deletes on {} fast: CREATE INDEX CONCURRENTLY",
            facts.name,
            columns.join(", "),
            to.name
        )],
    })
}

pub(crate) fn unique(facts: &Facts, columns: &[String]) -> Result<Files, ChangeError> {
    if facts.partitioned {
        let what = format!("a unique constraint on {}", facts.name);
        return refused(
            what,
            "no index is built concurrently on a partitioned table; build one on each partition",
        );
    }
    let name = facts.named(columns, "key");
    let (table, key) = (facts.sql(), quoted(&name));
    let list: Vec<String> = columns.iter().map(|one| quoted(one)).collect();
    let up = format!(
        "-- Readers and writers go on. What is there twice fails it, and the index goes again.\n\
         CREATE UNIQUE INDEX CONCURRENTLY {key} ON {table} ({});\n\
         -- The index is there: nothing is read.\n\
         {SHORT}\n\
         ALTER TABLE {table} ADD CONSTRAINT {key} UNIQUE USING INDEX {key};\n",
        list.join(", ")
    );
    Ok(Files {
        name,
        up,
        down: format!("{SHORT}\nALTER TABLE {table} DROP CONSTRAINT {key};\n"),
        then: Vec::new(),
    })
}

fn view(facts: &Facts, name: &str, of: &str, grants: &[String]) -> String {
    let view = format!("{}.{}", quoted(&facts.schema), quoted(name));
    let mut sql = format!("CREATE VIEW {view} WITH (security_invoker = true) AS SELECT * FROM {of};\n");
    for grant in grants {
        sql.push_str(&grant.replacen("{}", &view, 1));
        sql.push('\n');
    }
    sql
}

pub(crate) fn rename(facts: &Facts, to: &str, grants: &[String]) -> Result<Files, ChangeError> {
    if facts.name == to {
        return refused(format!("the table {to}"), "it has that name already");
    }
    let (old, new) = (facts.sql(), format!("{}.{}", quoted(&facts.schema), quoted(to)));
    let up = format!(
        "-- Old code goes on through the view: it reads and writes the table by the role that asks.\n\
         {SHORT}\n\
         BEGIN;\n\
         ALTER TABLE {old} RENAME TO {};\n\
         {}COMMIT;\n",
        quoted(to),
        view(facts, &facts.name, &new, grants)
    );
    let down = format!(
        "{SHORT}\nBEGIN;\nDROP VIEW {old};\nALTER TABLE {new} RENAME TO {};\nCOMMIT;\n",
        quoted(&facts.name)
    );
    Ok(Files {
        name: format!("rename_{}_to_{to}", facts.name),
        up,
        down,
        then: vec![
            format!("deploy code that says {to}; COPY and TRUNCATE do not go through the view"),
            format!("then: dbctl migrate contract rename {} {to}", facts.name),
        ],
    })
}

pub(crate) fn end_rename(facts: &Facts, old: &str, grants: &[String]) -> Files {
    let (schema, table) = (quoted(&facts.schema), facts.sql());
    Files {
        name: format!("end_rename_{old}_to_{}", facts.name),
        up: format!(
            "-- contract: no code says {} any more\n{SHORT}\nDROP VIEW {schema}.{};\n",
            old.replace('\n', " "),
            quoted(old)
        ),
        down: format!("{SHORT}\nBEGIN;\n{}COMMIT;\n", view(facts, old, &table, grants)),
        then: Vec::new(),
    }
}
