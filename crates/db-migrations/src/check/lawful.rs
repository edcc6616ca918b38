//! What a live database may have otherwise than its migrations make it, and no one has changed by hand.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fingerprint::Fingerprint;

/// Tables that our own tools keep, each in whatever schema it is.
const OURS: [&str; 3] = ["db_seeds", "__db_backfills", "__db_backfill_rows"];

/// The schema of monitoring's own tables.
const MONITORING: &str = "dbp";

/// The comment that every new database has on `public`, and that is lost with it.
const STANDARD_COMMENT: &str = "standard public schema";

/// Takes out of both what may differ.
pub(crate) fn leave_out(made: &mut Fingerprint, found: &mut Fingerprint) {
    let partitions = one_sided_partitions(made, found);
    for fingerprint in [made, found] {
        fingerprint.objects.retain(|name, _| !name.starts_with("default privileges "));
        drop_with_parts(fingerprint, |name| is_ours(name) || partitions.iter().any(|one| one == name));
        for (name, object) in &mut fingerprint.objects {
            if let Ok(Value::Object(mut properties)) = serde_json::from_str(&object.definition) {
                properties.retain(|key, value| {
                    let is_standard =
                        name == "schema public" && key == "comment" && value == STANDARD_COMMENT;
                    key != "owner" && key != "grants" && !is_standard
                });
                if name.starts_with("database settings ") {
                    without_search_path(&mut properties);
                }
                for value in properties.values_mut() {
                    plain_line_ends(value);
                }
                object.definition = Value::Object(properties).to_string();
            }
        }
        fingerprint
            .objects
            .retain(|name, object| !name.starts_with("database settings ") || object.definition != "{}");
    }
}

/// Removes objects, and what is part of one.
fn drop_with_parts(fingerprint: &mut Fingerprint, gone: impl Fn(&str) -> bool) {
    let mut removed: BTreeSet<String> = BTreeSet::new();
    loop {
        let names: Vec<String> = fingerprint
            .objects
            .iter()
            .filter(|(name, object)| {
                gone(name) || object.parent.as_ref().is_some_and(|parent| removed.contains(parent))
            })
            .map(|(name, _)| name.clone())
            .collect();
        if names.is_empty() {
            return;
        }
        for name in names {
            fingerprint.objects.remove(&name);
            removed.insert(name);
        }
    }
}

fn is_there(fingerprint: &Fingerprint, name: &str) -> bool {
    fingerprint.objects.contains_key(name)
}

fn is_ours(name: &str) -> bool {
    // `table public.db_seeds`, `index dbp.history_pkey`, `schema dbp`.
    let Some((kind, rest)) = name.rsplit_once(' ') else { return false };
    let (schema, table) = rest.split_once('.').unwrap_or(("", rest));
    (kind == "table" && OURS.contains(&table))
        || schema == MONITORING
        || name == format!("schema {MONITORING}")
}

/// Partitions that only one side has, of tables that both have: upkeep makes them ahead and takes them out.
fn one_sided_partitions(made: &Fingerprint, found: &Fingerprint) -> Vec<String> {
    let both = |table: &str| {
        ["partitioned table", "table"].iter().any(|kind| {
            let name = format!("{kind} {table}");
            is_there(made, &name) && is_there(found, &name)
        })
    };
    let one_sided = |here: &Fingerprint, there: &Fingerprint| -> Vec<String> {
        let missing = here.objects.iter().filter(|(name, _)| !is_there(there, name));
        let partitions = missing.filter(|(_, object)| {
            let properties: Value = serde_json::from_str(&object.definition).unwrap_or_default();
            let parent = properties.get("inherits").and_then(Value::as_str).unwrap_or_default();
            // The one for all other rows no upkeep makes.
            properties.get("partition").is_some_and(|bound| bound != "DEFAULT") && both(parent)
        });
        partitions.map(|(name, _)| name.clone()).collect()
    };
    let mut all = one_sided(made, found);
    all.extend(one_sided(found, made));
    all
}

fn without_search_path(properties: &mut serde_json::Map<String, Value>) {
    let Some(settings) = properties.get("settings").and_then(Value::as_str) else { return };
    // A path has commas, too: what has no equals sign belongs to the setting before it.
    let mut kept: Vec<&str> = Vec::new();
    let mut in_path = false;
    for item in settings.split(", ") {
        if item.contains('=') {
            in_path = item.starts_with("search_path=");
        }
        if !in_path {
            kept.push(item);
        }
    }
    let kept = kept.join(", ");
    if kept.is_empty() {
        properties.remove("settings");
    } else {
        properties.insert("settings".to_owned(), Value::String(kept));
    }
}

/// A checkout on another system has other line ends in the bodies of functions.
fn plain_line_ends(value: &mut Value) {
    if let Value::String(text) = value
        && text.contains('\r')
    {
        *text = text.replace("\r\n", "\n");
    }
}
