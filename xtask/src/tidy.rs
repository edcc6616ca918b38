//! `tidy`: the parts of the house style that a machine can see.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::command::{Command, Options};
use crate::failure::{Failure, Result};
use crate::{children, say, width, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "tidy",
    line: "check the house style: file heads, lengths, names, links",
    help: "
cargo xtask tidy

Every .rs file opens with a //! sentence and has at most 500 lines; no mod.rs; nothing is called utils, common, helpers,
manager or types; lints are expected with a reason, never allowed; no blanks at the ends of lines, no tabs in .rs files;
comments and
prose are at most 110 characters wide; links between markdown files lead somewhere; the line that a claim fails without is there. It looks at what git knows
or would add.",
    run,
};

const MOST_LINES: usize = 500;
const NO_NAMES: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "manager", "managers", "types"];
const TEXTS: [&str; 8] = ["rs", "md", "toml", "sql", "yml", "yaml", "sh", "py"];

/// How a claim's declaration begins to name a line of the source.
const FAILS_WITHOUT: &str = "fails_without: \"";

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn run(options: Options) -> Result {
    options.none()?;
    check_workspace()
}

/// Checks this workspace.
pub(crate) fn check_workspace() -> Result {
    let root = workspace::root();
    let mut git = children::command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed = children::output(git.current_dir(root))?;
    let mut findings = Vec::new();
    let mut files = 0;
    for path in listed.lines() {
        // A file that was deleted and not yet staged is still listed.
        let Ok(bytes) = fs::read(root.join(path)) else { continue };
        files += 1;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        findings.extend(look(path, &text, &|link| root.join(link).exists()));
        findings.extend(gone(path, &text, &|file| fs::read_to_string(root.join(file)).ok()));
    }
    for finding in &findings {
        say::result(&finding.to_string());
    }
    match findings.len() {
        0 => {
            say::note(&format!("tidy: {files} files"));
            Ok(())
        }
        count => Err(Failure::said(format!("{count} findings"))),
    }
}

/// Everything that is wrong with one file; `exists` says whether a path from the root leads somewhere.
fn look(path: &str, text: &str, exists: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, what: String| findings.push(Finding { path: path.to_owned(), line, what });
    let file = Path::new(path);
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if extension == "rs" {
        let folders =
            file.parent().into_iter().flat_map(Path::components).filter_map(|part| part.as_os_str().to_str());
        if let Some(name) = folders.chain([stem]).find(|name| NO_NAMES.contains(name)) {
            find(1, format!("{name} says nothing: name it after what is in it"));
        }
        if stem == "mod" {
            find(1, "mod.rs: name the file after its module".to_owned());
        }
        if !text.starts_with("//! ") {
            find(1, "opens without a //! sentence that says what it is for".to_owned());
        }
        let lines = text.lines().count();
        if lines > MOST_LINES {
            find(lines, format!("{lines} lines, at most {MOST_LINES}: it holds more than one thing"));
        }
    }
    if !TEXTS.contains(&extension) {
        return findings;
    }
    for (line, width) in width::too_wide(path, text) {
        find(line, format!("{width} characters, at most {}", width::WIDEST));
    }
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.ends_with([' ', '\t']) {
            find(number, "blanks at the end of the line".to_owned());
        }
        if extension == "rs" {
            // Written in two parts, or this very line would be a finding.
            if line.trim_start().starts_with(concat!("#[al", "low("))
                || line.contains(concat!("#![al", "low("))
            {
                find(number, "a lint is expected with a reason, never allowed".to_owned());
            }
            if line.contains('\t') {
                find(number, "a tab".to_owned());
            }
        }
        if extension == "md" {
            fenced ^= line.trim_start().starts_with("```");
            for link in links(line).filter(|_| !fenced) {
                let target = file.parent().unwrap_or(Path::new("")).join(link);
                if !exists(&target) {
                    find(number, format!("the link to {link} leads nowhere"));
                }
            }
        }
    }
    findings
}

/// The lines that claims fail without and that are not there; `read` gives the text of a file, by its path
/// from the root.
fn gone(path: &str, text: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(named) = line.trim().strip_prefix(FAILS_WITHOUT) else { continue };
        let named = named.trim_end_matches("\",").replace("\\\"", "\"");
        let (file, words) = named.split_once(": ").unwrap_or((&named, ""));
        if words.is_empty() || !read(file).is_some_and(|text| text.contains(words)) {
            let what = format!("the claim fails without a line that is not there: {named}");
            findings.push(Finding { path: path.to_owned(), line: index + 1, what });
        }
    }
    findings
}

/// The local files that a line of markdown links to.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let link = rest.split([')', ' ']).next()?;
        let link = link.split('#').next()?;
        let elsewhere = link.contains("://") || link.starts_with("mailto:") || link.contains("::");
        (!link.is_empty() && !elsewhere).then_some(link)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[(usize, &str)]) {
        let found = look(path, text, &|link| {
            link == Path::new("docs/./here.md") || link == Path::new("docs/here.md")
        });
        let lines: Vec<usize> = found.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, expected.iter().map(|(line, _)| *line).collect::<Vec<_>>(), "{found:?}");
        for (finding, (_, what)) in found.iter().zip(expected) {
            assert!(finding.what.contains(what), "{finding}");
        }
    }

    #[test]
    fn planted_faults_in_rust_files_are_found() {
        check("src/a.rs", "//! Good.\nfn a() {}\n", &[]);
        check("src/a.rs", "fn a() {}\n", &[(1, "opens without")]);
        check("src/mod.rs", "//! Good.\n", &[(1, "mod.rs")]);
        check("src/utils.rs", "//! Good.\n", &[(1, "utils says nothing")]);
        check("src/common/a.rs", "//! Good.\n", &[(1, "common says nothing")]);
        check("src/a.rs", concat!("//! Good.\n#[al", "low(dead_code)]\n"), &[(2, "never allowed")]);
        check("src/a.rs", concat!("//! Good.\n#![al", "low(dead_code)]\n"), &[(2, "never allowed")]);
        check("src/a.rs", "//! Good.\n\tfn a() {} \n", &[(2, "blanks"), (2, "a tab")]);
        let long = format!("//! Good.\n{}", "// line\n".repeat(500));
        check("src/a.rs", &long, &[(501, "at most 500")]);
    }

    #[test]
    fn planted_faults_in_other_files_are_found() {
        check("docs/a.md", "[b](here.md) [c](./here.md#part) [d](https://e.f/g) [h](crate::I)\n", &[]);
        check("docs/a.md", "text [b](gone.md) \n", &[(1, "blanks"), (1, "gone.md leads nowhere")]);
        check("docs/a.md", "```\n[b](gone.md)\n```\n[b](gone.md)\n", &[(4, "gone.md")]);
        check("a.toml", "a = 1 \n", &[(1, "blanks")]);
        check("a.csv", "a, \n", &[]);
    }

    #[test]
    fn a_line_that_a_claim_fails_without_must_be_there() {
        let read = |file: &str| (file == "src/a.rs").then(|| "    if x == \"y\" { go() }\n".to_owned());
        let check = |named: &str, expected: usize| {
            let claim = format!("//! Good.\n        {FAILS_WITHOUT}{named}\",\n");
            let found = gone("claims/main.rs", &claim, &read);
            assert_eq!(found.len(), expected, "{found:?}");
        };
        check(r#"src/a.rs: if x == \"y\" {"#, 0);
        check("src/a.rs: if x == z {", 1);
        check("src/b.rs: go()", 1);
        check("src/a.rs", 1);
        check("src/a.rs: ", 1);
        check("", 1);
    }
}
