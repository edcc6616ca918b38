//! What reports and pages say about each subject, made from what was collected; the same words in both.
//!
//! A section is made from what is known, and says of the rest why it is not: an empty table would look like
//! peace.

#[cfg(all(feature = "alerts", feature = "dashboard"))]
mod alerts;
mod bloat;
mod checks;
mod connections;
mod growth;
mod indexes;
mod locks;
mod replication;
mod server;
mod statements;
mod tables;
mod transactions;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(all(feature = "alerts", feature = "dashboard"))]
pub(crate) use alerts::alerts;
pub(crate) use bloat::bloat;
pub(crate) use checks::checks;
#[cfg(feature = "dashboard")]
pub(crate) use checks::for_people;
pub(crate) use connections::connections;
pub(crate) use growth::growth;
pub(crate) use indexes::indexes;
pub(crate) use locks::{blocking, locks};
pub(crate) use replication::replication;
pub(crate) use server::{extensions, server, settings};
pub(crate) use statements::server_statements;
#[cfg(feature = "dashboard")]
pub(crate) use statements::{load_table, of_fingerprint};
pub(crate) use tables::{sizes, vacuum};
pub(crate) use transactions::{hit_ratio, transactions};

use crate::panel::{Panel, Value};
use crate::server::{Section, Skipped};

/// What was read, or the panel that says why it is not known.
fn known<T>(section: &Section<T>, panel: Panel) -> Result<(&T, Panel), Panel> {
    match section.get() {
        Ok(value) => Ok((value, panel)),
        Err(skipped) => Err(panel.missing(why(skipped))),
    }
}

fn why(skipped: &Skipped) -> String {
    skipped.detail.clone()
}

/// A count that the server keeps as a signed number.
fn count(number: i64) -> Value {
    u64::try_from(number).map_or(Value::Missing, Value::Count)
}

fn some_count(number: Option<i64>) -> Value {
    number.map_or(Value::Missing, count)
}

fn some_seconds(seconds: Option<f64>) -> Value {
    seconds.map_or(Value::Missing, Value::Seconds)
}

fn bytes(number: i64) -> Value {
    Value::Bytes(number as f64)
}

fn some_bytes(number: Option<i64>) -> Value {
    number.map_or(Value::Missing, bytes)
}

/// A moment in seconds since 1970.
fn at(seconds: Option<f64>) -> Value {
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .and_then(|since| UNIX_EPOCH.checked_add(since))
        .map_or(Value::Missing, Value::At)
}

/// How long ago that was.
fn since(seconds: Option<f64>) -> Option<f64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    seconds.map(|seconds| (now - seconds).max(0.0))
}

/// A share in hundredths; none of nothing.
fn percent(part: f64, whole: f64) -> Value {
    if whole > 0.0 { Value::Percent(part * 100.0 / whole) } else { Value::Missing }
}

/// A name with its schema, as people write it: without the schema where that is `public`.
fn qualified(schema: &str, name: &str) -> String {
    if schema == "public" { name.to_owned() } else { format!("{schema}.{name}") }
}
