//! Says in words how two schemas differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::fingerprint::{Fingerprint, Object};

/// How an object differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was there before.
    Lost,
    /// It was not there before.
    LeftOver,
    /// It is another one than before.
    Changed,
}

/// One object that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// How.
    pub change: Change,
    /// What it is and its name: `index public.people_name_idx`.
    pub object: String,
    /// Its definition, or what has changed in it.
    pub detail: String,
    /// Whether only the physical order of columns differs, which no down can restore.
    pub cosmetic: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.change {
            Change::Lost => "lost",
            Change::LeftOver => "left over",
            Change::Changed => "changed",
        };
        write!(f, "{how}: {}", self.object)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// The property that differs whenever a column was dropped and added again.
const ORDER: &str = "column order";

/// The properties that are lists: only the items that differ are told.
const LISTS: [&str; 4] = ["grants", "options", "tables", "settings"];

pub(crate) fn between(expected: &Fingerprint, found: &Fingerprint) -> Vec<Difference> {
    let (before, after) = (&expected.objects, &found.objects);
    let reordered = reordered(expected, found);
    let gone = one_sided(before, after, Change::Lost);
    let new = one_sided(after, before, Change::LeftOver);
    let changed = before.iter().filter_map(|(name, was)| {
        let is = after.get(name).filter(|is| is.definition != was.definition)?;
        changed(name, &properties(was), &properties(is), reordered)
    });
    gone.into_iter().chain(new).chain(changed).collect()
}

/// What is in one and not in the other, without the parts of what is itself listed.
fn one_sided(
    here: &BTreeMap<String, Object>,
    there: &BTreeMap<String, Object>,
    change: Change,
) -> Vec<Difference> {
    let missing: BTreeSet<&str> =
        here.keys().filter(|name| !there.contains_key(*name)).map(String::as_str).collect();
    let is_part = |object: &Object| object.parent.as_deref().is_some_and(|parent| missing.contains(parent));
    here.iter()
        .filter(|(name, object)| missing.contains(name.as_str()) && !is_part(object))
        .map(|(name, object)| Difference {
            change,
            object: name.clone(),
            detail: headline(&properties(object)),
            cosmetic: false,
        })
        .collect()
}

fn changed(
    name: &str,
    was: &BTreeMap<String, String>,
    is: &BTreeMap<String, String>,
    reordered: bool,
) -> Option<Difference> {
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let differing: Vec<&String> = keys.into_iter().filter(|key| was.get(*key) != is.get(*key)).collect();
    let cosmetic = differing.iter().all(|key| match (was.get(*key), is.get(*key)) {
        (Some(was), Some(is)) if key.as_str() == ORDER => {
            name.contains("table ") || reordered && same_set(was, is)
        }
        // The server prints a view's columns one a line; what a function says is compared as it is.
        (Some(was), Some(is)) if key.as_str() == "definition" => {
            reordered && is_view(name) && same_lines(was, is)
        }
        _ => false,
    });
    // A column that is lost or left over changes its table's order too: that is said once.
    let told: Vec<String> = differing
        .iter()
        .filter(|key| key.as_str() != ORDER || same_set_of(was.get(**key), is.get(**key)))
        .map(|key| told(key, was.get(*key), is.get(*key)))
        .collect();
    if told.is_empty() {
        return None;
    }
    Some(Difference { change: Change::Changed, object: name.to_owned(), detail: told.join("; "), cosmetic })
}

fn is_view(name: &str) -> bool {
    name.starts_with("view ") || name.starts_with("materialized view ")
}

fn told(key: &str, was: Option<&String>, is: Option<&String>) -> String {
    let one_line = |text: Option<&String>| -> String {
        text.map_or("none".to_owned(), |text| text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let (was, is) = (one_line(was), one_line(is));
    if was == is {
        return format!("{key} differs in white space");
    }
    if !LISTS.contains(&key) {
        return format!("{key} was {was}, is {is}");
    }
    let without = |list: &str, other: &str| -> Vec<String> {
        let other: BTreeSet<&str> = other.split(", ").collect();
        list.split(", ").filter(|item| *item != "none" && !other.contains(item)).map(str::to_owned).collect()
    };
    let parts = [("lost", without(&was, &is)), ("left over", without(&is, &was))];
    let parts = parts.iter().filter(|(_, items)| !items.is_empty());
    format!(
        "{key}: {}",
        parts.map(|(how, items)| format!("{how} {}", items.join(", "))).collect::<Vec<_>>().join(", ")
    )
}

/// Whether some table has the same columns in another order.
fn reordered(expected: &Fingerprint, found: &Fingerprint) -> bool {
    expected.objects.iter().filter(|(name, _)| name.contains("table ")).any(|(name, was)| {
        found.objects.get(name).is_some_and(|is| {
            let (was, is) = (properties(was), properties(is));
            was.get(ORDER) != is.get(ORDER) && same_set_of(was.get(ORDER), is.get(ORDER))
        })
    })
}

fn same_set_of(was: Option<&String>, is: Option<&String>) -> bool {
    matches!((was, is), (Some(was), Some(is)) if same_set(was, is))
}

fn same_set(was: &str, is: &str) -> bool {
    was.split(", ").collect::<BTreeSet<_>>() == is.split(", ").collect::<BTreeSet<_>>()
}

/// Whether two view definitions differ in the order of their lines only: the server prints one column a line.
fn same_lines(was: &str, is: &str) -> bool {
    fn lines(text: &str) -> Vec<&str> {
        let mut lines: Vec<&str> = text
            .lines()
            .map(|line| line.trim().trim_start_matches("SELECT ").trim_end_matches([',', ';']))
            .collect();
        lines.sort_unstable();
        lines
    }
    lines(was) == lines(is)
}

fn properties(object: &Object) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    match serde_json::from_str(&object.definition) {
        Ok(Value::Object(map)) => map.into_iter().map(|(key, value)| (key, text(value))).collect(),
        _ => BTreeMap::from([("definition".to_owned(), object.definition.clone())]),
    }
}

/// The one property that tells most about an object.
fn headline(properties: &BTreeMap<String, String>) -> String {
    const TELLING: [&str; 9] =
        ["definition", "type", "values", "sequence", ORDER, "version", "settings", "grants", "comment"];
    let telling = TELLING.iter().find_map(|key| properties.get(*key)).cloned().unwrap_or_default();
    let mut lines = telling.trim().lines();
    let first = lines.next().unwrap_or_default().to_owned();
    if lines.next().is_some() { format!("{first} …") } else { first }
}
