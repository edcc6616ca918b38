//! A column's type changes through a second column, which a trigger keeps in step.

use super::facts::Facts;
use super::sql::{SHORT, not_null_sql};
use super::{ChangeError, Files};
use crate::location::quoted;

/// The column of the new type, until it takes the old one's name.
pub(crate) fn shadow_of(column: &str) -> String {
    format!("{column}_new")
}

/// The column of the old type, once the new one has its name.
pub(crate) fn old_of(column: &str) -> String {
    format!("{column}_old")
}

/// Which way a trigger keeps the columns in step.
#[derive(Clone, Copy)]
enum Way {
    /// The new column follows the old one.
    Forward,
    /// The old one follows the new one.
    Back,
}

/// The trigger and its function. It fires behind the table's other triggers, which go by name.
fn names(facts: &Facts, column: &str, way: Way) -> (String, String) {
    let tail = match way {
        Way::Forward => "in_step",
        Way::Back => "step_back",
    };
    let name = format!("zz_{}", facts.named(&[column.to_owned()], &format!("{tail}_zz")));
    let name = quoted(name.trim_end_matches("_zz"));
    let function = format!("{}.{name}", quoted(&facts.schema));
    (name, function)
}

fn create_function(facts: &Facts, column: &str, way: Way, body: &str) -> String {
    let (_, function) = names(facts, column, way);
    format!("CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $in_step$\n{body}$in_step$;\n")
}

fn drop_function(facts: &Facts, column: &str, way: Way) -> String {
    format!("DROP FUNCTION {}();\n", names(facts, column, way).1)
}

fn create_trigger(facts: &Facts, column: &str, way: Way) -> String {
    let (trigger, function) = names(facts, column, way);
    format!(
        "CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION \
            {function}();\n",
        facts.sql()
    )
}

fn drop_trigger(facts: &Facts, column: &str, way: Way) -> String {
    format!("DROP TRIGGER {} ON {};\n", names(facts, column, way).0, facts.sql())
}

/// The new column gets what the old one has. `t` is the row.
fn forward(column: &str, expression: &str) -> String {
    let shadow = quoted(&shadow_of(column));
    format!(
        "BEGIN\n    SELECT {expression} INTO NEW.{shadow} FROM (SELECT NEW.*) AS t;\n    RETURN NEW;\nEND\n"
    )
}

/// The old column gets what the new one has, as far as its type can: nobody's write fails for it.
fn backward(column: &str, kind: &str) -> String {
    let (new, old) = (quoted(column), quoted(&old_of(column)));
    format!(
        "BEGIN\n    BEGIN\n        NEW.{old} := NEW.{new}::{kind};\n    EXCEPTION WHEN data_exception \
            THEN\n        \
         NEW.{old} := NULL;\n    END;\n    RETURN NEW;\nEND\n"
    )
}

pub(crate) fn begin(
    facts: &Facts,
    column: &str,
    to: &str,
    using: Option<&str>,
) -> Result<Files, ChangeError> {
    let found = facts.column(column)?;
    if found.generated {
        return Err(ChangeError::Refused {
            what: format!("the type of {}.{column} cannot change through another column", facts.name),
            reason: "the server makes its values (identity or generated)".to_owned(),
        });
    }
    let (table, shadow) = (facts.sql(), shadow_of(column));
    let expression = using.map_or_else(|| format!("t.{}::{to}", quoted(column)), ToOwned::to_owned);
    let up = format!(
        "-- From now on each row that is written has both; those that are there are filled by a backfill.\n\
         {SHORT}\n\
         BEGIN;\n\
         ALTER TABLE {table} ADD COLUMN {} {to};\n\
         {}{}COMMIT;\n",
        quoted(&shadow),
        create_function(facts, column, Way::Forward, &forward(column, &expression)),
        create_trigger(facts, column, Way::Forward)
    );
    let down = format!(
        "{SHORT}\nBEGIN;\n{}{}ALTER TABLE {table} DROP COLUMN {};\nCOMMIT;\n",
        drop_trigger(facts, column, Way::Forward),
        drop_function(facts, column, Way::Forward),
        quoted(&shadow)
    );
    let name = &facts.name;
    Ok(Files {
        name: format!("{name}_{column}_new_type"),
        up,
        down,
        then: vec![
            format!(
                "dbctl backfill apply {name} --set '{shadow} = {expression}' \
                 --where '{shadow} IS NULL AND {column} IS NOT NULL'"
            ),
            format!("then: dbctl migrate contract type {name} {column}"),
        ],
    })
}

pub(crate) fn swap(facts: &Facts, column: &str, left: bool) -> Result<Files, ChangeError> {
    let (found, shadow) = (facts.column(column)?, shadow_of(column));
    if left {
        return Err(ChangeError::Refused {
            what: format!("{}.{shadow} cannot take the place of {column}", facts.name),
            reason: "there are rows whose value it lacks: finish the backfill first".to_owned(),
        });
    }
    let (table, old) = (facts.sql(), old_of(column));
    let (column_sql, shadow_sql, old_sql) = (quoted(column), quoted(&shadow), quoted(&old));
    let mut up = String::new();
    if found.not_null {
        up.push_str(&not_null_sql(facts, &shadow));
    }
    let default = found.default.as_deref();
    let set_default = default
        .map(|default| format!("ALTER TABLE {table} ALTER COLUMN {column_sql} SET DEFAULT {default};\n"));
    let drop_default = default.map(|_| format!("ALTER TABLE {table} ALTER COLUMN {old_sql} DROP DEFAULT;\n"));
    let drop_not_null =
        found.not_null.then(|| format!("ALTER TABLE {table} ALTER COLUMN {old_sql} DROP NOT NULL;\n"));
    up.push_str(&format!(
        "-- The names change places; the old column is kept in step for the way back.\n\
         {SHORT}\n\
         BEGIN;\n\
         {}ALTER TABLE {table} RENAME COLUMN {column_sql} TO {old_sql};\n\
         ALTER TABLE {table} RENAME COLUMN {shadow_sql} TO {column_sql};\n\
         {}{}{}{}{}COMMIT;\n",
        drop_trigger(facts, column, Way::Forward),
        drop_default.unwrap_or_default(),
        drop_not_null.unwrap_or_default(),
        set_default.unwrap_or_default(),
        create_function(facts, column, Way::Back, &backward(column, &found.kind)),
        create_trigger(facts, column, Way::Back),
    ));
    // The function that makes the new column from the old one is still there.
    let mut down = format!(
        "{SHORT}\nBEGIN;\n{}{}",
        drop_trigger(facts, column, Way::Back),
        drop_function(facts, column, Way::Back)
    );
    if let Some(default) = default {
        down.push_str(&format!("ALTER TABLE {table} ALTER COLUMN {column_sql} DROP DEFAULT;\n"));
        down.push_str(&format!("ALTER TABLE {table} ALTER COLUMN {old_sql} SET DEFAULT {default};\n"));
    }
    if found.not_null {
        down.push_str(&format!("ALTER TABLE {table} ALTER COLUMN {column_sql} DROP NOT NULL;\n"));
    }
    down.push_str(&format!(
        "ALTER TABLE {table} RENAME COLUMN {column_sql} TO {shadow_sql};\n\
         ALTER TABLE {table} RENAME COLUMN {old_sql} TO {column_sql};\n\
         {}COMMIT;\n",
        create_trigger(facts, column, Way::Forward),
    ));
    if found.not_null {
        down.push_str("-- What the old type cannot hold stops it here.\n");
        down.push_str(&not_null_sql(facts, column));
    }
    Ok(Files {
        name: format!("{}_{column}_swap_type", facts.name),
        up,
        down,
        then: vec![
            "prepared statements of old connections are planned anew; queries that say SELECT * see both \
                columns"
                .to_owned(),
            format!("when nobody goes back: dbctl migrate contract old-type {} {column}", facts.name),
        ],
    })
}

pub(crate) fn end(facts: &Facts, column: &str) -> Result<Files, ChangeError> {
    let (table, old, column_sql) = (facts.sql(), old_of(column), quoted(column));
    let found = facts.column(&old)?;
    let up = format!(
        "-- contract: the values of the old type go with it, and no code uses them any more\n\
         {SHORT}\n\
         BEGIN;\n\
         {}{}{}ALTER TABLE {table} DROP COLUMN {};\n\
         COMMIT;\n",
        drop_trigger(facts, column, Way::Back),
        drop_function(facts, column, Way::Back),
        drop_function(facts, column, Way::Forward),
        quoted(&old)
    );
    // The values come back in one statement: whoever goes back so far does it on purpose, and in a quiet
    // hour.
    let down = format!(
        "-- The old values are made of the new ones. The last statement writes every row in one \
            transaction.\n\
         {SHORT}\n\
         BEGIN;\n\
         ALTER TABLE {table} ADD COLUMN {} {};\n\
         {}{}{}COMMIT;\n\
         UPDATE {table} SET {column_sql} = {column_sql};\n",
        quoted(&old),
        found.kind,
        create_function(facts, column, Way::Back, &backward(column, &found.kind)),
        create_trigger(facts, column, Way::Back),
        create_function(
            facts,
            column,
            Way::Forward,
            &forward(column, &format!("t.{column_sql}::{}", facts.column(column)?.kind))
        ),
    );
    Ok(Files { name: format!("{}_{column}_end_type", facts.name), up, down, then: Vec::new() })
}
