//! `prove`: measures what we promise.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use lexopt::Arg;
use serde_json::{Value, json};

use crate::command::{Command, Options, unexpected};
use crate::failure::{Failure, Result};
use crate::{children, claims_page, say, table, test, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "prove",
    line: "measure what we promise; without arguments, list the claims",
    help: "
cargo xtask prove                        lists all claims
cargo xtask prove pool                   measures an area
cargo xtask prove pool-3 routing-1       measures some claims
cargo xtask prove --write-docs           writes docs/claims.md from the last figures

--nightly measures at full size. --json prints one object a line; progress goes to standard error. Exit status 0 only if
every measured claim holds. Only the crates whose claims are asked for are compiled. The
figures are kept in target/claims/, one file a claim.",
    run,
};

/// One claim and the crate that can measure it.
#[derive(Debug)]
struct Claim {
    id: String,
    package: String,
    value: Value,
}

fn run(mut options: Options) -> Result {
    let (mut asked, mut nightly, mut json, mut write) = (Vec::new(), false, false, false);
    while let Some(arg) = options.next()? {
        match arg {
            Arg::Long("nightly") => nightly = true,
            Arg::Long("json") => json = true,
            Arg::Long("write-docs") => write = true,
            Arg::Value(value) => asked.push(value.to_string_lossy().into_owned()),
            other => return Err(unexpected(&other)),
        }
    }
    let space = workspace::read()?;
    let kept = space.target.join("claims");
    let claims = list(&space, if write { &[] } else { &asked })?;
    if write {
        return claims_page::write(
            &claims.iter().map(|claim| claim.value.clone()).collect::<Vec<_>>(),
            &kept,
        );
    }
    if asked.is_empty() {
        show_list(&claims, json);
        return Ok(());
    }
    let chosen = choose(&claims, &asked)?;
    fs::create_dir_all(&kept)?;
    test::not_to_be_had(&say::note)?;
    let mut figures = Vec::new();
    for package in space.packages.iter().map(|package| &package.name) {
        let ids: Vec<&str> =
            chosen.iter().filter(|one| one.package == *package).map(|one| one.id.as_str()).collect();
        if !ids.is_empty() {
            figures.extend(measure(package, &ids, nightly, json, &kept)?);
        }
    }
    if !json {
        show(&figures);
    }
    judge(&chosen, &figures)
}

/// Asks every crate that has a bench target `claims` what it claims. Each is compiled for that, so where some
/// claims are asked for, only the crates are whose sources declare one of them.
fn list(space: &workspace::Workspace, asked: &[String]) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    let having =
        space.packages.iter().filter(|package| package.benches.iter().any(|bench| bench == "claims"));
    let is_declared = |id: &String| is_asked(id, asked);
    let declaring = having.filter(|package| {
        asked.is_empty() || declared(&package.folder.join("claims")).iter().any(is_declared)
    });
    for package in declaring {
        let text = children::output(bench(&package.name).arg("list").current_dir(workspace::root()))?;
        for value in objects(&text)? {
            let id = value["claim"].as_str().unwrap_or_default().to_owned();
            claims.push(Claim { id, package: package.name.clone(), value });
        }
    }
    claims.sort_by_key(|claim| order(&claim.id));
    Ok(claims)
}

/// The ids of the claims that the sources below a folder declare.
fn declared(folder: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            ids.extend(declared(&path));
        } else if let Ok(text) = fs::read_to_string(path) {
            let lines = text.lines().map(str::trim_start);
            let named = lines.filter_map(|line| line.strip_prefix("id: \"")?.split('"').next());
            ids.extend(named.map(str::to_owned));
        }
    }
    ids
}

fn is_asked(id: &str, asked: &[String]) -> bool {
    asked.iter().any(|word| id == word || area(id) == word)
}

fn measure(package: &str, ids: &[&str], nightly: bool, json: bool, kept: &Path) -> Result<Vec<Value>> {
    say::note(&format!("measuring {} ({package})", ids.join(", ")));
    let mut command = bench(package);
    command.arg("run").args(ids).current_dir(workspace::root());
    if nightly {
        command.arg("--nightly");
    }
    let mut text = String::new();
    let ended = children::watch_output(&mut command, |line| {
        if json {
            say::result(line);
        }
        text.push_str(line);
        text.push('\n');
    });
    let mut figures = objects(&text)?;
    for figure in &figures {
        let mut record = figure.clone();
        record["date"] = json!(today());
        record["machine"] = json!(claims_page::machine());
        let id = figure["claim"].as_str().unwrap_or("unnamed");
        fs::write(kept.join(format!("{id}.json")), format!("{record:#}\n"))?;
    }
    // A claim that does not hold may make its program end unsuccessfully; the figures say so better than its
    // status.
    let reason = ended.err().map_or_else(|| "its program printed none".to_owned(), |error| error.to_string());
    figures.extend(silent(ids, &figures, &reason));
    Ok(figures)
}

/// Claims of which no figure came, as ones that do not hold.
fn silent(ids: &[&str], figures: &[Value], reason: &str) -> Vec<Value> {
    let silent = ids.iter().filter(|id| !figures.iter().any(|figure| figure["claim"] == **id));
    silent
        .map(|id| {
            let detail = json!({ "not_measured": reason });
            json!({ "claim": id, "unit": "no figure", "holds": false, "detail": detail })
        })
        .collect()
}

fn bench(package: &str) -> std::process::Command {
    children::cargo(&["bench", "--quiet", "--package", package, "--bench", "claims", "--"])
}

fn choose<'a>(claims: &'a [Claim], asked: &[String]) -> Result<Vec<&'a Claim>> {
    let is = |claim: &Claim, word: &String| is_asked(&claim.id, std::slice::from_ref(word));
    if let Some(unknown) = asked.iter().find(|word| !claims.iter().any(|claim| is(claim, word))) {
        return Err(Failure::said(format!(
            "there is no claim or area {unknown}: `cargo xtask prove` lists them"
        )));
    }
    Ok(claims.iter().filter(|claim| is_asked(&claim.id, asked)).collect())
}

fn judge(chosen: &[&Claim], figures: &[Value]) -> Result {
    let missing: Vec<&str> = chosen
        .iter()
        .filter(|claim| !figures.iter().any(|figure| figure["claim"] == claim.id.as_str()))
        .map(|claim| claim.id.as_str())
        .collect();
    let broken: Vec<&str> = figures
        .iter()
        .filter(|figure| figure["holds"] != true)
        .filter_map(|figure| figure["claim"].as_str())
        .collect();
    match (missing.is_empty(), broken.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => Err(Failure::said(format!("no figure came for {}", missing.join(", ")))),
        (true, false) => Err(Failure::said(format!("does not hold: {}", broken.join(", ")))),
    }
}

fn show_list(claims: &[Claim], json: bool) {
    if json {
        claims.iter().for_each(|claim| say::result(&claim.value.to_string()));
        return;
    }
    let rows: Vec<_> = claims
        .iter()
        .map(|claim| vec![claim.id.clone(), cell(&claim.value["target"]), cell(&claim.value["sentence"])])
        .collect();
    say::result(&table::render(&["claim", "target", "sentence"], &rows));
}

fn show(figures: &[Value]) {
    let row = |figure: &Value| {
        let holds = if figure["holds"] == true { "holds" } else { "DOES NOT HOLD" };
        let measured = format!("{} {}", cell(&figure["figure"]), cell(&figure["unit"]));
        vec![
            cell(&figure["claim"]),
            holds.to_owned(),
            measured,
            cell(&figure["target"]),
            cell(figure["detail"].get("not_measured").unwrap_or(&figure["sentence"])),
        ]
    };
    let rows: Vec<_> = figures.iter().map(row).collect();
    say::result(&table::render(&["claim", "", "figure", "target", "sentence"], &rows));
}

/// A JSON value as a person reads it.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The JSON objects in a program's output, one a line; anything else there is an error.
pub(crate) fn objects(text: &str) -> Result<Vec<Value>> {
    let parse = |line: &str| {
        let value: Option<Value> = serde_json::from_str(line).ok();
        value
            .filter(Value::is_object)
            .ok_or_else(|| Failure::said(format!("expected a JSON object, found {line:?}")))
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

fn area(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(area, _)| area)
}

/// `pool-10` comes after `pool-9`.
pub(crate) fn order(id: &str) -> (String, u32) {
    (area(id).to_owned(), id.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(0))
}

/// The day in UTC, as year-month-day.
fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    day(since.as_secs() / 86_400)
}

// Days since 1970 to a date, counted in years that begin on 1 March, so that a leap day is a year's last.
fn day(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(11_016), "2000-02-29");
        assert_eq!(day(20_778), "2026-11-21");
    }

    #[test]
    fn an_area_or_an_id_chooses_and_anything_else_is_an_error() {
        let claim = |id: &str| Claim { id: id.to_owned(), package: String::new(), value: Value::Null };
        let claims = [claim("pool-1"), claim("pool-2"), claim("replica-routing-1")];
        let check = |asked: &str, expected: &[&str]| {
            let found: Vec<&str> = choose(&claims, &[asked.to_owned()])
                .unwrap_or_default()
                .iter()
                .map(|claim| claim.id.as_str())
                .collect();
            assert_eq!(found, expected, "{asked}");
        };
        check("pool", &["pool-1", "pool-2"]);
        check("pool-2", &["pool-2"]);
        check("replica-routing", &["replica-routing-1"]);
        check("poo", &[]);
    }

    #[test]
    fn only_the_crates_that_declare_what_is_asked_for_are_compiled() {
        let check = |member: &str, asked: &str, expected: bool| {
            let ids = declared(&workspace::root().join("crates").join(member).join("claims"));
            assert_eq!(ids.iter().any(|id| is_asked(id, &[asked.to_owned()])), expected, "{member}: {asked}");
        };
        check("db-pool", "pool-1", true);
        check("db-pool", "pool", true);
        check("db-platform", "pool", true);
        check("db-loader", "pool", false);
        check("db-pool", "poo", false);
        check("db-core", "pool", false);
    }

    /// Its program is compiled only where this finds the declaration.
    #[test]
    fn every_claim_on_the_page_is_found_in_a_source() {
        let page = fs::read_to_string(workspace::root().join("docs/claims.md")).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
        let mut found = declared(&workspace::root().join("benches/claims"));
        for member in fs::read_dir(workspace::root().join("crates")).unwrap() {
            found.extend(declared(&member.unwrap().path().join("claims")));
        }
        let lost: Vec<&str> =
            rows.filter(|id| id.contains('-') && !found.iter().any(|one| one == id)).collect();
        assert_eq!(lost, [""; 0]);
    }

    #[test]
    fn a_claim_without_a_figure_or_that_does_not_hold_fails() {
        let claim = Claim { id: "pool-1".to_owned(), package: String::new(), value: Value::Null };
        assert!(judge(&[&claim], &[json!({"claim": "pool-1", "holds": true})]).is_ok());
        assert!(judge(&[&claim], &[json!({"claim": "pool-1", "holds": false})]).is_err());
        assert!(judge(&[&claim], &[]).is_err());
        let silent =
            silent(&["pool-1", "pool-2"], &[json!({"claim": "pool-2", "holds": true})], "it was killed");
        assert_eq!((silent.len(), &silent[0]["detail"]["not_measured"]), (1, &json!("it was killed")));
        assert!(judge(&[&claim], &silent).is_err());
    }
}
