//! Which crate describes which setting: a part of `layers`.
//!
//! Descriptions are made in a crate's `src/settings.rs` or `src/settings/` and nowhere else; no two crates
//! describe one name; the umbrella describes none. It reads sources, not types: who imports
//! `Setting`, `Text`, `Foreign` or `Group` from `db_core::settings` can describe.

use std::collections::BTreeMap;
use std::fs;

use crate::failure::Result;
use crate::{children, workspace};

/// It collects what the others describe.
const UMBRELLA: &str = "db-platform";

/// The types that describe.
const DESCRIBE: [&str; 4] = ["Setting", "Text", "Foreign", "Group"];

/// Everything that is described where it must not be, in this workspace.
pub(crate) fn findings() -> Result<Vec<String>> {
    let root = workspace::root();
    let mut git =
        children::command("git", &["ls-files", "--cached", "--others", "--exclude-standard", "crates"]);
    let listed = children::output(git.current_dir(root))?;
    let mut sources = Vec::new();
    for path in listed.lines().filter(|path| path.ends_with(".rs")) {
        // A file that was deleted and not yet staged is still listed.
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            sources.push((path.to_owned(), text));
        }
    }
    Ok(look(sources.iter().map(|(path, text)| (path.as_str(), text.as_str()))))
}

fn look<'a>(sources: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut described: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, text) in sources {
        let Some((member, inside)) = path.strip_prefix("crates/").and_then(|path| path.split_once("/src/"))
        else {
            continue;
        };
        // Tests make up settings of their own.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        if inside != "settings.rs" && !inside.starts_with("settings/") {
            for name in imports(text) {
                findings.push(format!(
                    "{path} describes settings ({name}): do that in {member}'s src/settings.rs"
                ));
            }
            continue;
        }
        for name in names(text) {
            if member == UMBRELLA {
                findings.push(format!("{path} describes {name}: leave that to the crate that it belongs to"));
            }
            match described.insert(name, member) {
                Some(other) if other != member => {
                    findings.push(format!("{name} is described by {other} and by {member}"));
                }
                _ => {}
            }
        }
    }
    findings
}

/// The types for describing that a source names by their path or in a `use`.
fn imports(text: &str) -> Vec<&'static str> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut found: Vec<&str> = Vec::new();
    for rest in code.join("\n").split("settings::").skip(1) {
        let named = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => {
                rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').next().unwrap_or_default()
            }
        };
        let mut words = named.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '*');
        let describes = |word: &&str| DESCRIBE.contains(word) || *word == "*";
        if let Some(word) = words.find(describes) {
            found.push(DESCRIBE.into_iter().find(|known| *known == word).unwrap_or("*"));
        }
    }
    found
}

/// The names and aliases in a source's descriptions.
fn names(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for part in text.split("name: \"").skip(1) {
        names.extend(part.split('"').next());
    }
    for part in text.split("aliases: &[").skip(1) {
        names.extend(part.split(']').next().unwrap_or_default().split('"').skip(1).step_by(2));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = r#"
        use db_core::settings::{Group, Setting};
        const A: Setting<u32> = Setting {
            name: "DB_A",
            aliases: &[
                "DB_B",
                "DB_C",
            ],
        };
    "#;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(look([("crates/db-pool/src/settings.rs", POOL), (path, text)].into_iter()), expected);
    }

    #[test]
    fn a_planted_description_elsewhere_is_found() {
        let outside = [
            "crates/db-pool/src/config.rs describes settings (Setting): do that in db-pool's src/settings.rs",
        ];
        check("crates/db-pool/src/config.rs", "use db_core::settings::Setting;", &outside);
        check("crates/db-pool/src/config.rs", "use db_core::settings::{Reader,\n    Setting,\n};", &outside);
        check("crates/db-pool/src/config.rs", "const A: db_core::settings::Setting<u32> = B;", &outside);
        check("crates/db-pool/src/config.rs", "use db_core::settings::{InvalidSettings, Reader};", &[]);
        check("crates/db-pool/src/config.rs", "/// See `db_core::settings::Setting`.", &[]);
        check("crates/db-pool/src/config.rs", "#[cfg(test)]\nuse db_core::settings::Setting;", &[]);
        check("crates/db-pool/tests/it/config.rs", "use db_core::settings::Setting;", &[]);
        check("crates/db-pool/src/settings/more.rs", "Setting { name: \"DB_D\" }", &[]);
    }

    #[test]
    fn a_name_that_two_crates_describe_is_found() {
        let text = "Setting { name: \"DB_D\", aliases: &[\"DB_C\"] }";
        check("crates/db-retry/src/settings.rs", text, &["DB_C is described by db-pool and by db-retry"]);
        check("crates/db-retry/src/settings.rs", "Setting { name: \"DB_D\", aliases: &[] }", &[]);
    }

    #[test]
    fn the_umbrella_describes_nothing() {
        let found =
            ["crates/db-platform/src/settings.rs describes DB_D: leave that to the crate that it belongs to"];
        check("crates/db-platform/src/settings.rs", "Setting { name: \"DB_D\" }", &found);
    }
}
