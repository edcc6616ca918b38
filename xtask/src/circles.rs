//! Circles of files: files of one crate that use each other all the way round.
//!
//! Two files that are one idea may know each other. More of them are one file in pieces: what two of them
//! share belongs below both. The strongly connected components are found by Tarjan's algorithm ("Depth-first
//! search and linear graph algorithms", 1972).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::failure::Result;
use crate::workspace;

/// The circles that there are still, each a crate and its files: none may be added, and what was taken out
/// stays out.
const KNOWN: &[(&str, &[&str])] = &[
    (
        "db-cache",
        &[
            "cache",
            "config",
            "entry",
            "envelope",
            "feed_task",
            "first_tier",
            "flights",
            "guarded_tier",
            "hot_keys",
            "key",
            "key_id",
            "keys",
            "keyspace",
            "keyspace_counts",
            "knowledge",
            "look",
            "mode",
            "plan",
            "policy",
            "protocol",
            "report",
            "sampler",
            "second_tier",
            "solo",
            "stats",
            "token",
            "unheard",
        ],
    ),
    ("db-cache", &["redis", "redis::connection", "redis::link", "redis::read"]),
    ("db-platform", &["cache_part", "cursor", "db", "read", "transaction", "warming"]),
    ("db-migrations", &["check::accepted", "check::findings", "check::report", "check::rules"]),
    ("db-migrations", &["ledger", "migrator", "plan", "policy", "repair", "run", "status"]),
    ("db-pool", &["adaptive", "alarm", "counters", "histogram", "inner", "metrics", "returning", "slot"]),
    (
        "db-seeds",
        &[
            "generate::call",
            "generate::document",
            "generate::expression",
            "generate::instant",
            "generate::network",
            "generate::parser",
            "generate::worth",
        ],
    ),
    (
        "db-seeds",
        &["generate::apart", "generate::bounds", "generate::cell", "generate::flat", "generate::repair"],
    ),
];

/// A file, by its path of modules.
type Module = Vec<String>;

/// What is wrong with the circles of one of our crates.
pub(crate) fn findings(package: &str) -> Result<Vec<String>> {
    let src = workspace::root().join("crates").join(package).join("src");
    if src.is_dir() { findings_in(package, &src) } else { Ok(Vec::new()) }
}

fn findings_in(package: &str, src: &Path) -> Result<Vec<String>> {
    let mut files = BTreeMap::new();
    collect(src, &mut Vec::new(), &mut files)?;
    let modules: BTreeSet<&Module> = files.keys().collect();
    let uses: BTreeMap<&Module, BTreeSet<&Module>> =
        files.iter().map(|(module, text)| (module, used(module, text, &modules))).collect();
    let known: Vec<BTreeSet<&str>> = KNOWN
        .iter()
        .filter(|(of, _)| *of == package)
        .map(|(_, files)| files.iter().copied().collect())
        .collect();
    let mut left: BTreeSet<&str> = known.iter().flatten().copied().collect();
    let mut findings = Vec::new();
    for circle in circles(&uses) {
        let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        if known.iter().any(|known| names.is_subset(known)) {
            left.retain(|name| !names.contains(name));
        } else {
            findings.push(format!("{package}: a circle of files: {}", sorted(&names)));
        }
    }
    if !left.is_empty() {
        findings.push(format!(
            "{package}: in no circle any more, so not in KNOWN of xtask's circles.rs: {}",
            sorted(&left)
        ));
    }
    Ok(findings)
}

fn sorted(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

/// Reads every file but tests and the root.
fn collect(directory: &Path, module: &mut Module, files: &mut BTreeMap<Module, String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        module.push(name.to_owned());
        if path.is_dir() {
            collect(&path, module, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && name != "tests"
            && !(module.len() == 1 && matches!(name, "lib" | "main"))
        {
            files.insert(module.clone(), code(&fs::read_to_string(&path)?));
        }
        module.pop();
    }
    Ok(())
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The other files that a file names.
fn used<'m>(module: &Module, code: &str, modules: &BTreeSet<&'m Module>) -> BTreeSet<&'m Module> {
    let mut used = BTreeSet::new();
    for path in paths(code) {
        let (mut at, mut rest): (Module, &[String]) = match path.first().map(String::as_str) {
            Some("crate") => (Vec::new(), &path[1..]),
            Some("self") => (module.clone(), &path[1..]),
            Some("super") => (module.clone(), &path[..]),
            _ => continue,
        };
        while rest.first().is_some_and(|word| word == "super") {
            at.pop();
            rest = &rest[1..];
        }
        while let Some((word, after)) = rest.split_first() {
            at.push(word.clone());
            if !modules.contains(&at) {
                at.pop();
                break;
            }
            rest = after;
        }
        used.extend(modules.get(&at).filter(|other| ***other != *module));
    }
    used
}

/// Every path that begins at the crate or at the file, those of a `use` with braces each by itself.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            if !code[..at].ends_with(|c: char| is_word(c) || c == ':') {
                branches(&code[at..], &mut Vec::new(), &mut paths);
            }
        }
    }
    paths
}

/// Adds the paths of a tree of names; what follows it.
fn branches<'c>(mut code: &'c str, stem: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> &'c str {
    let depth = stem.len();
    loop {
        let end = code.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(code.len());
        if end == 0 {
            break;
        }
        stem.push(code[..end].to_owned());
        let Some(after) = code[end..].strip_prefix("::") else {
            code = &code[end..];
            break;
        };
        let Some(inside) = after.strip_prefix('{') else {
            code = after;
            continue;
        };
        code = inside.trim_start();
        while !code.is_empty() && !code.starts_with('}') {
            code = branches(code, stem, paths);
            code = code.trim_start_matches(|c: char| c != ',' && c != '}');
            code = code.strip_prefix(',').unwrap_or(code).trim_start();
        }
        stem.truncate(depth);
        return code.strip_prefix('}').unwrap_or(code);
    }
    paths.push(stem.clone());
    stem.truncate(depth);
    code
}

/// The groups of more than two that use each other all the way round.
fn circles<'m>(uses: &BTreeMap<&'m Module, BTreeSet<&'m Module>>) -> Vec<Vec<&'m Module>> {
    let mut search = Search {
        uses,
        numbers: BTreeMap::new(),
        lowest: BTreeMap::new(),
        path: Vec::new(),
        found: Vec::new(),
    };
    for module in uses.keys() {
        if !search.numbers.contains_key(module) {
            search.visit(module);
        }
    }
    search.found
}

struct Search<'s, 'm> {
    uses: &'s BTreeMap<&'m Module, BTreeSet<&'m Module>>,
    numbers: BTreeMap<&'m Module, usize>,
    lowest: BTreeMap<&'m Module, usize>,
    path: Vec<&'m Module>,
    found: Vec<Vec<&'m Module>>,
}

impl<'m> Search<'_, 'm> {
    fn visit(&mut self, module: &'m Module) -> usize {
        let number = self.numbers.len();
        self.numbers.insert(module, number);
        self.path.push(module);
        let mut lowest = number;
        for other in self.uses.get(module).into_iter().flatten() {
            match self.numbers.get(other) {
                None => lowest = lowest.min(self.visit(other)),
                Some(seen) if self.path.contains(other) => lowest = lowest.min(*seen),
                Some(_) => {}
            }
        }
        self.lowest.insert(module, lowest);
        if lowest == number
            && let Some(at) = self.path.iter().position(|on_path| *on_path == module)
        {
            let circle = self.path.split_off(at);
            if circle.len() > 2 {
                self.found.push(circle);
            }
        }
        lowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings_of(files: &[(&str, &str)]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        findings_in("some-crate", directory.path()).unwrap()
    }

    #[test]
    fn three_files_that_use_each_other_are_found_and_a_pair_is_not() {
        let pair = [
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "fn f() { crate::a::g() }"),
            ("lib.rs", "use crate::a::A;"),
        ];
        assert!(findings_of(&pair).is_empty());
        let three = [
            ("a.rs", "use crate::{b::{self, B}, x::Y};"),
            ("b/c.rs", "use super::super::a::{A as Other};"),
            ("b.rs", "use self::c::C; // use crate::z::Z;"),
            ("z.rs", "use crate::a::A;\n#[cfg(test)]\nmod tests {\n use super::super::b::B;\n}"),
        ];
        assert_eq!(findings_of(&three), ["some-crate: a circle of files: a, b, b::c"]);
    }

    #[test]
    fn a_path_in_the_text_counts_as_a_use_does() {
        let three =
            [("a.rs", "fn f(x: crate::b::B) {}"), ("b.rs", "impl crate::c::C {}"), ("c.rs", "use super::a;")];
        assert_eq!(findings_of(&three), ["some-crate: a circle of files: a, b, c"]);
    }
}
