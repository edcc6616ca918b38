//! `dbctl backup list`.

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use db_platform::backup::{Backups, Summary};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::args::Options;
use crate::backup_args::Of;
use crate::error::CliError;
use crate::repository::{self, BackupSettings};
use crate::table::table;
use crate::{FOUND, say};

pub(crate) async fn run(of: &Of, options: &Options) -> Result<ExitCode, CliError> {
    let opened = BackupSettings::read(options)?.open().await?;
    let clusters = match of.cluster {
        Some(id) => vec![id],
        None => opened.clusters().await?,
    };
    let (mut texts, mut values, mut is_damaged) = (Vec::new(), Vec::new(), false);
    for id in clusters {
        let backups = repository::cluster(&opened, Some(id)).await?.backups().await?;
        is_damaged |= !backups.damaged.is_empty();
        texts.push(text(id, &backups));
        values.push(value(id, &backups));
    }
    let text = if texts.is_empty() {
        "no backups; `dbctl backup take` takes one".to_owned()
    } else {
        texts.join("\n\n")
    };
    say::result(options.json, &text, &json!({ "clusters": values }));
    Ok(if is_damaged { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

const HEAD: [&str; 7] = ["BACKUP", "AGE", "TOOK", "SIZE", "STORED", "SERVER", "NOTES"];

/// A table of backups, the newest last.
pub(crate) fn rows(backups: &[Summary]) -> String {
    let rows: Vec<Vec<String>> = backups.iter().map(row).collect();
    table(&HEAD, &rows, &[1, 2, 3, 4])
}

fn row(summary: &Summary) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(summary.label.clone());
    notes.extend(summary.pinned.then(|| "pinned".to_owned()));
    notes.extend(summary.parent.as_ref().map(|parent| format!("since {parent}")));
    notes.extend(
        (!summary.bad_pages.is_empty()).then(|| format!("{} damaged pages", summary.bad_pages.len())),
    );
    vec![
        summary.id.to_string(),
        age((Utc::now() - summary.ended).to_std().unwrap_or_default()),
        age((summary.ended - summary.began).to_std().unwrap_or_default()),
        size(summary.figures.plain_bytes),
        size(summary.figures.stored_bytes),
        format!(
            "{}{}",
            version(summary.server.version),
            if summary.server.standby { " standby" } else { "" }
        ),
        notes.join(", "),
    ]
}

fn text(cluster: u64, backups: &Backups) -> String {
    let mut lines = vec![format!("cluster {cluster}"), rows(&backups.whole)];
    lines.extend(backups.damaged.iter().map(|damaged| format!("DAMAGED {}: {}", damaged.id, damaged.why)));
    lines.join("\n")
}

fn value(cluster: u64, backups: &Backups) -> Value {
    let damaged: Vec<Value> =
        backups.damaged.iter().map(|damaged| json!({ "id": damaged.id, "why": damaged.why })).collect();
    // A number of this size is a text: JavaScript rounds it.
    json!({ "cluster": cluster.to_string(), "backups": backups.whole, "damaged": damaged })
}

/// `150008` as `15.8`.
pub(crate) fn version(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

pub(crate) fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A duration in its two greatest units: `3 d 4 h`, `12 min 5 s`, `0.4 s`.
pub(crate) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_versions_are_short() {
        let check =
            |seconds: f64, expected: &str| assert_eq!(age(Duration::from_secs_f64(seconds)), expected);
        check(0.42, "0.4 s");
        check(59.9, "59 s");
        check(725.0, "12 min 5 s");
        check(90_000.0, "1 d 1 h");
        check(7_260.0, "2 h 1 min");
        assert_eq!(version(150_008), "15.8");
    }
}
