//! Copies the migrations of other tools into directories of ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::MigrationError;
use crate::layout::{Foreign, Layout, is_mark, recognise};
use crate::source::{REPEATABLE, Version, without_mark};

/// One migration that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Its version here.
    pub version: Version,
    /// The directory that was made; of a repeatable migration, the file.
    pub path: PathBuf,
    /// The files that it was made from.
    pub from: Vec<PathBuf>,
    /// What a person has to see to.
    pub remarks: Vec<String>,
}

/// What becomes of one version.
#[derive(Default)]
struct Parts {
    name: String,
    up: Option<String>,
    down: Option<String>,
    outside_transaction: bool,
    from: Vec<PathBuf>,
}

/// Copies the migrations in `from`, in the layout of Flyway, golang-migrate, sqlx or dbmate, into `into`,
/// which is made where it is missing. Nothing is written where anything is wrong. Repeatable migrations of
/// Flyway are copied as they are.
///
/// The order stays, also for programs that order versions as text: each gets as many digits as the longest
/// has. Of Flyway's versions each part does: `1.2` and `1.10` become `102` and `110`.
///
/// # Errors
/// [`MigrationError::Read`], [`MigrationError::Write`]; [`MigrationError::NothingToImport`];
/// [`MigrationError::Import`] where a version has no way up, two files are the same migration, or it is there
/// already.
pub fn import(from: &Path, into: &Path) -> Result<Vec<Imported>, MigrationError> {
    let (found, repeatable) = read(from)?;
    if found.is_empty() && repeatable.is_empty() {
        return Err(MigrationError::NothingToImport { directory: from.to_owned() });
    }
    let widths = widths(found.keys());
    let mut planned = Vec::new();
    for (version, parts) in found {
        let wrong =
            |reason: &str| MigrationError::Import { path: parts.from[0].clone(), reason: reason.to_owned() };
        let digits = digits(&version, &widths);
        let path = into.join(format!("{digits}_{}", parts.name));
        if path.exists() {
            return Err(wrong(&format!("{} is there already", path.display())));
        }
        let up = parts.up.ok_or_else(|| wrong("it only has a way back"))?;
        let remarks = remarks(&up);
        let mut files = vec![("up.sql", up)];
        files.extend(parts.down.map(|down| ("down.sql", down)));
        if parts.outside_transaction {
            files.push(("metadata.toml", "run_in_transaction = false\n".to_owned()));
        }
        let version = Version::from_stored(digits);
        planned.push((Imported { version, path, from: parts.from, remarks }, files));
    }
    for (name, file) in repeatable {
        let path = into.join(format!("{name}.sql"));
        let wrong = |reason: String| MigrationError::Import { path: file.clone(), reason };
        if path.exists() {
            return Err(wrong(format!("{} is there already", path.display())));
        }
        let text = text_of(&file)?;
        let imported =
            Imported { version: Version::from_stored(name), path, remarks: remarks(&text), from: vec![file] };
        planned.push((imported, vec![("", text)]));
    }
    for (imported, files) in &planned {
        for (file, text) in files {
            let path = if file.is_empty() { imported.path.clone() } else { imported.path.join(file) };
            write(&path, text)?;
        }
    }
    Ok(planned.into_iter().map(|(imported, _)| imported).collect())
}

type Found = (BTreeMap<Vec<u128>, Parts>, BTreeMap<String, PathBuf>);

fn read(from: &Path) -> Result<Found, MigrationError> {
    let mut found: BTreeMap<Vec<u128>, Parts> = BTreeMap::new();
    let mut repeatable = BTreeMap::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(from).map_err(unreadable(from))? {
        files.push(entry.map_err(unreadable(from))?.path());
    }
    files.sort();
    for path in files.into_iter().filter(|path| path.is_file()) {
        let Some(file) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        let Some(stem) = file.strip_suffix(".sql") else { continue };
        if stem.starts_with(REPEATABLE) {
            repeatable.insert(stem.to_owned(), path);
            continue;
        }
        let text = text_of(&path)?;
        let Some(foreign) = recognise(&file, &text) else { continue };
        let Some(version) = numbers(&foreign) else {
            let reason = "its version is too long".to_owned();
            return Err(MigrationError::Import { path, reason });
        };
        let parts = found.entry(version).or_default();
        if !add(parts, foreign, text, &path) {
            let reason = format!("another file is the same version: {}", parts.from[0].display());
            return Err(MigrationError::Import { path, reason });
        }
        parts.from.push(path);
    }
    Ok((found, repeatable))
}

/// Adds a file to its version; false where that has one already.
fn add(parts: &mut Parts, foreign: Foreign, text: String, path: &Path) -> bool {
    let (up, down) = match foreign.layout {
        Layout::Dbmate => split_marks(&text),
        _ if foreign.is_down => (None, Some(text)),
        _ => (Some(text), None),
    };
    if (up.is_some() && parts.up.is_some()) || (down.is_some() && parts.down.is_some()) {
        return false;
    }
    if let Some(up) = &up {
        parts.name = foreign.name;
        parts.outside_transaction = runs_outside(foreign.layout, up, path);
    } else if parts.name.is_empty() {
        parts.name = foreign.name;
    }
    parts.up = parts.up.take().or(up);
    parts.down = parts.down.take().or(down);
    true
}

/// Whether the tool was told to run it outside of a transaction.
fn runs_outside(layout: Layout, up: &str, path: &Path) -> bool {
    let first = up.lines().next().unwrap_or_default();
    match layout {
        Layout::Sqlx | Layout::UpAndDown => first.trim() == "-- no-transaction",
        Layout::Dbmate => first.contains("transaction:false"),
        Layout::Flyway => {
            let mut settings = path.as_os_str().to_owned();
            settings.push(".conf");
            let said = fs::read_to_string(settings).unwrap_or_default();
            said.lines().any(|line| line.replace(' ', "").eq_ignore_ascii_case("executeInTransaction=false"))
        }
    }
}

/// The parts of a file of dbmate's: behind its marks.
fn split_marks(text: &str) -> (Option<String>, Option<String>) {
    let (mut up, mut down) = (None::<String>, None::<String>);
    let mut is_down = None;
    for line in text.split_inclusive('\n') {
        if is_mark(line, "up") {
            is_down = Some(false);
        } else if is_mark(line, "down") {
            is_down = Some(true);
        }
        match is_down {
            None => {}
            Some(false) => up.get_or_insert_default().push_str(line),
            Some(true) => down.get_or_insert_default().push_str(line),
        }
    }
    (up, down)
}

fn remarks(up: &str) -> Vec<String> {
    let mut remarks = Vec::new();
    if up.contains("${") {
        remarks.push("it has a placeholder ${…}, which is not replaced: write what it stands for".to_owned());
    }
    if up.lines().any(|line| line.trim_start().starts_with('\\')) {
        remarks.push("a line begins with a backslash: commands of psql are no SQL".to_owned());
    }
    remarks
}

fn numbers(foreign: &Foreign) -> Option<Vec<u128>> {
    foreign.version.iter().map(|part| part.parse().ok()).collect()
}

/// How many digits each part gets.
fn widths<'a>(versions: impl Iterator<Item = &'a Vec<u128>>) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    for version in versions {
        for (place, part) in version.iter().enumerate() {
            let width = part.to_string().len();
            match widths.get_mut(place) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    widths
}

fn digits(version: &[u128], widths: &[usize]) -> String {
    let part = |place: usize| version.get(place).copied().unwrap_or_default();
    widths.iter().enumerate().map(|(place, width)| format!("{:0width$}", part(place))).collect()
}

fn text_of(path: &Path) -> Result<String, MigrationError> {
    fs::read_to_string(path).map(without_mark).map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> MigrationError {
    let path = path.to_owned();
    move |source| MigrationError::Read { path, source }
}

fn write(path: &Path, text: &str) -> Result<(), MigrationError> {
    let failed = |source| MigrationError::Write { path: path.to_owned(), source };
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Migrations;

    fn imported(files: &[(&str, &str)]) -> Result<(tempfile::TempDir, Vec<Imported>), MigrationError> {
        let from = tempfile::tempdir().unwrap();
        for (file, text) in files {
            fs::write(from.path().join(file), text).unwrap();
        }
        let into = tempfile::tempdir().unwrap();
        let imported = import(from.path(), &into.path().join("migrations"))?;
        Ok((into, imported))
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[(&str, &str, Option<&str>, bool)]) {
        let (into, _) = imported(files).unwrap();
        let migrations = Migrations::read(&into.path().join("migrations")).unwrap();
        let seen: Vec<_> = migrations
            .iter()
            .chain(migrations.repeatable())
            .map(|one| (one.label(), one.up.clone(), one.down.clone(), one.run_in_transaction))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(label, up, down, inside)| {
                ((*label).to_owned(), (*up).to_owned(), down.map(str::to_owned), *inside)
            })
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_order_of_each_tool_stays() {
        check(
            &[
                ("V1.2__a.sql", "A"),
                ("V1.10__b c.sql", "B"),
                ("V2__d.sql", "D"),
                ("V2__d.sql.conf", "executeInTransaction = false"),
                ("U1.2__a.sql", "UNDO A"),
                ("R__views.sql", "VIEWS"),
            ],
            &[
                ("102_a", "A", Some("UNDO A"), true),
                ("110_b_c", "B", None, true),
                ("200_d", "D", None, false),
                ("R__views", "VIEWS", None, true),
            ],
        );
        check(
            &[
                ("000002_b.up.sql", "-- no-transaction\nB"),
                ("000001_a.up.sql", "A"),
                ("000001_a.down.sql", "UNDO"),
            ],
            &[("1_a", "A", Some("UNDO"), true), ("2_b", "-- no-transaction\nB", None, false)],
        );
        check(
            &[("20240101_a.sql", "-- migrate:up transaction:false\nA\n-- migrate:down\nUNDO\n")],
            &[("20240101_a", "-- migrate:up transaction:false\nA\n", Some("-- migrate:down\nUNDO\n"), false)],
        );
        check(&[("20240101_a.sql", "\u{feff}A")], &[("20240101_a", "A", None, true)]);
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_is_written() {
        let refused = |files: &[(&str, &str)]| imported(files).unwrap_err().to_string();
        assert!(refused(&[("README.md", "")]).contains("no migration"), "{}", refused(&[]));
        assert!(refused(&[("1_a.down.sql", "")]).contains("way back"));
        assert!(refused(&[("1_a.up.sql", ""), ("01_b.up.sql", "")]).contains("same version"));
        let long = format!("{}_a.up.sql", "9".repeat(60));
        assert!(refused(&[(&long, "")]).contains("too long"));
    }

    #[test]
    fn what_a_person_must_see_to_is_named() {
        let (_into, imported) = imported(&[("V1__a.sql", "GRANT SELECT ON t TO ${role}")]).unwrap();
        assert!(imported[0].remarks[0].contains("placeholder"), "{imported:?}");
    }

    #[test]
    fn nothing_is_overwritten() {
        let from = tempfile::tempdir().unwrap();
        fs::write(from.path().join("1_a.up.sql"), "A").unwrap();
        let into = tempfile::tempdir().unwrap();
        import(from.path(), into.path()).unwrap();
        let again = import(from.path(), into.path()).unwrap_err();
        assert!(again.to_string().contains("there already"), "{again}");
    }
}
