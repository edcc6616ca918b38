//! Reads a corpus of cases: SQL under headings, one schema for each case.

use std::fs;
use std::path::Path;

use db_migrations::Migrations;

/// One case of a corpus.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The schema that it runs in.
    pub(crate) schema: String,
    /// The texts under its headings: `before`, `up`, `down`, and those with their text on the line.
    pub(crate) parts: Vec<(String, String)>,
}

impl Case {
    pub(crate) fn has(&self, heading: &str) -> bool {
        self.parts.iter().any(|(name, _)| name == heading)
    }

    pub(crate) fn part(&self, heading: &str) -> &str {
        self.parts.iter().find(|(name, _)| name == heading).map_or("", |(_, text)| text.trim())
    }
}

/// Reads a corpus; `prefix` begins the names of the schemas, and of roles, which are the whole server's.
pub(crate) fn read(text: &str, prefix: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut ground: Option<String> = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("--! ") {
            let (name, value) = heading.split_once(": ").unwrap_or((heading.trim_end_matches(':'), ""));
            if name == "ground" {
                ground = Some(String::new());
            } else if name == "case" {
                let schema = format!("{prefix}{}", cases.len() + 1);
                let ground = ground.iter().map(|ground| ("ground".to_owned(), ground.clone()));
                cases.push(Case { name: value.to_owned(), schema, parts: ground.collect() });
            } else if let Some(case) = cases.last_mut() {
                let value = value.replace("{s}", &case.schema);
                case.parts.push((name.to_owned(), value));
            }
        } else if let Some(case) = cases.last_mut() {
            let line = line.replace("{s}", &case.schema);
            if let Some((_, text)) = case.parts.last_mut() {
                text.push_str(&line);
                text.push('\n');
            }
        } else if let Some(ground) = &mut ground {
            ground.push_str(line);
            ground.push('\n');
        }
    }
    cases
}

/// Writes the cases as one directory of migrations: before each case the one that prepares it.
pub(crate) fn migrations(cases: &[Case]) -> Migrations {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: String, up: String, down: Option<String>| {
        let path: &Path = &directory.path().join(name);
        fs::create_dir(path).unwrap();
        fs::write(path.join("up.sql"), up).unwrap();
        if let Some(down) = down {
            fs::write(path.join("down.sql"), down).unwrap();
        }
    };
    for (number, case) in cases.iter().enumerate() {
        let here = format!("SET search_path = {}, public;", case.schema);
        // What the case before left behind would only make the catalogs larger.
        let former = number.checked_sub(1).and_then(|former| cases.get(former));
        let drop = former.map(|former| format!("DROP SCHEMA {} CASCADE;", former.schema)).unwrap_or_default();
        let before = format!(
            "{drop} CREATE SCHEMA {}; {here} {}\n{}",
            case.schema,
            case.part("ground"),
            case.part("before")
        );
        write(format!("{:05}_before", 2 * number), before, None);
        let down = case.has("down").then(|| format!("{here} {}", case.part("down")));
        write(format!("{:05}_case", 2 * number + 1), format!("{here} {}", case.part("up")), down);
    }
    Migrations::read(directory.path()).unwrap()
}

/// The version of a case's migration.
pub(crate) fn version(number: usize) -> String {
    format!("{:05}", 2 * number + 1)
}
