//! Tells the layouts of other tools from ours, so that their files are not passed over in silence.

use std::fmt;

/// A layout of migrations that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// Flyway's: `V1.2__create_users.sql`, with `U1.2__…` to undo it.
    Flyway,
    /// golang-migrate's, and sqlx's with a way back: `000001_create_users.up.sql` and `.down.sql`.
    UpAndDown,
    /// dbmate's: `20260101_create_users.sql`, with `-- migrate:up` and `-- migrate:down` in it.
    Dbmate,
    /// sqlx's without a way back: `20260101_create_users.sql`.
    Sqlx,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::Flyway => "Flyway",
            Layout::UpAndDown => "golang-migrate (or sqlx)",
            Layout::Dbmate => "dbmate",
            Layout::Sqlx => "sqlx",
        })
    }
}

/// What a file is in another tool's layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) layout: Layout,
    /// As the tool writes it: digits, and for Flyway parts of them.
    pub(crate) version: Vec<String>,
    pub(crate) name: String,
    /// Whether it is the way back.
    pub(crate) is_down: bool,
}

/// What a file is, by its name and, where that leaves two, by its text.
pub(crate) fn recognise(file: &str, text: &str) -> Option<Foreign> {
    let stem = file.strip_suffix(".sql")?;
    if let Some((version, name)) = stem.split_once("__")
        && let Some(numbers) = version.strip_prefix(['V', 'U'])
    {
        let version: Vec<String> = numbers.split(['.', '_']).map(str::to_owned).collect();
        let all_digits = version.iter().all(|part| is_number(part));
        return all_digits.then(|| Foreign {
            layout: Layout::Flyway,
            version,
            name: plain(name),
            is_down: file.starts_with('U'),
        });
    }
    let (stem, way) = match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
        (Some(stem), _) => (stem, Some(false)),
        (None, Some(stem)) => (stem, Some(true)),
        (None, None) => (stem, None),
    };
    let (version, name) = stem.split_once('_')?;
    if !is_number(version) {
        return None;
    }
    let layout = match way {
        Some(_) => Layout::UpAndDown,
        None if text.lines().any(|line| is_mark(line, "up")) => Layout::Dbmate,
        None => Layout::Sqlx,
    };
    Some(Foreign {
        layout,
        version: vec![version.to_owned()],
        name: plain(name),
        is_down: way.unwrap_or_default(),
    })
}

/// Whether a line is dbmate's mark of a part.
pub(crate) fn is_mark(line: &str, part: &str) -> bool {
    let comment = line.trim_start().strip_prefix("--").map(str::trim_start);
    let mark = comment.and_then(|comment| comment.strip_prefix("migrate:")?.split_whitespace().next());
    mark == Some(part)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name as directories of ours have it.
fn plain(name: &str) -> String {
    let letter = |one: char| if one.is_ascii_alphanumeric() { one } else { '_' };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, text: &str, expected: Option<(Layout, &[&str], &str, bool)>) {
        let seen = recognise(file, text);
        let seen = seen.as_ref().map(|one| {
            let version: Vec<&str> = one.version.iter().map(String::as_str).collect();
            (one.layout, version, one.name.as_str(), one.is_down)
        });
        let expected =
            expected.map(|(layout, version, name, is_down)| (layout, version.to_vec(), name, is_down));
        assert_eq!(seen, expected, "{file}");
    }

    #[test]
    fn each_tools_files_are_known_and_nobody_elses() {
        check("V1__init.sql", "", Some((Layout::Flyway, &["1"], "init", false)));
        check(
            "V2024.11_2__add a-column.sql",
            "",
            Some((Layout::Flyway, &["2024", "11", "2"], "add_a_column", false)),
        );
        check("U1__init.sql", "", Some((Layout::Flyway, &["1"], "init", true)));
        check("000001_init.up.sql", "", Some((Layout::UpAndDown, &["000001"], "init", false)));
        check("000001_init.down.sql", "", Some((Layout::UpAndDown, &["000001"], "init", true)));
        check(
            "20240101_init.sql",
            "  --migrate:up transaction:false\nSELECT 1",
            Some((Layout::Dbmate, &["20240101"], "init", false)),
        );
        check(
            "20240101_init.sql",
            "SELECT 1; -- not migrate:up",
            Some((Layout::Sqlx, &["20240101"], "init", false)),
        );
        for other in [
            "schema.sql",
            "R__views.sql",
            "notes_1.sql",
            "V1_init.sql",
            "Vx__init.sql",
            "1_init.txt",
            "1.sql",
        ] {
            check(other, "", None);
        }
    }
}
