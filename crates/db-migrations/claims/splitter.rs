//! Random texts for the splitter, and a second opinion on those that people wrote.

use std::ops::Range;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use db_migrations::split;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use squawk_syntax::SourceFile;
use squawk_syntax::ast::AstNode;

use crate::{Figure, Size};

/// What statements are made of, where they can be cut wrongly.
const PIECES: &[&str] = &[
    "'",
    "''",
    "\"",
    "\\",
    "E'",
    "e'",
    "U&'",
    "B'",
    "$",
    "$$",
    "$a$",
    "$é$",
    "$1",
    "--",
    "/*",
    "*/",
    ";",
    "(",
    ")",
    "[",
    "\n",
    "\r",
    "\t",
    " ",
    "a",
    "é",
    "漢",
    "\u{a0}",
    "\0",
    "0",
    ".",
    ",",
    "as ",
    "create ",
    "or ",
    "replace ",
    "function ",
    "procedure ",
    "begin ",
    "atomic ",
    "case ",
    "end",
    "select ",
    "set standard_conforming_strings = off",
    "reset all",
];

pub(crate) fn measure(size: Size) -> Figure {
    let inputs = if size == Size::Nightly { 10_000_000 } else { 1_000_000 };
    let mut random = StdRng::seed_from_u64(5);
    let (mut panics, mut lost, mut statements) = (0, Vec::new(), 0);
    std::panic::set_hook(Box::new(|_| ()));
    for _ in 0..inputs {
        let text = text(&mut random);
        match catch_unwind(|| ranges(&text)) {
            Err(_) => panics += 1,
            Ok(found) => {
                statements += found.len();
                if let Some(piece) = between(&text, &found).find(|piece| !is_blank(piece)) {
                    lost.push(format!("{piece:?} of {text:?}"));
                }
            }
        }
    }
    let _ = std::panic::take_hook();
    let (files, compared, differ) = second_opinion();
    let wrong = panics + lost.len() + differ.len();
    lost.truncate(5);
    Figure {
        value: wrong as f64,
        unit: "panics, losses and differences",
        holds: wrong == 0 && compared > 100,
        detail: json!({
            "inputs": inputs,
            "statements": statements,
            "panics": panics,
            "lost": lost,
            "corpus_files": files,
            "corpus_statements": compared,
            "differ": differ,
        }),
    }
}

fn text(random: &mut StdRng) -> String {
    let pieces = random.random_range(0..30);
    (0..pieces)
        .map(|_| match random.random_range(0..20) {
            0 => random.random::<char>().to_string(),
            _ => PIECES[random.random_range(0..PIECES.len())].to_owned(),
        })
        .collect()
}

fn ranges(text: &str) -> Vec<Range<usize>> {
    let range = |one: &db_migrations::Statement<'_>| one.offset..one.offset + one.text.len();
    split(text).iter().map(range).collect()
}

/// What lies before, between and behind the statements.
fn between<'a>(text: &'a str, statements: &'a [Range<usize>]) -> impl Iterator<Item = &'a str> {
    let ends = std::iter::once(0).chain(statements.iter().map(|one| one.end));
    let starts = statements.iter().map(|one| one.start).chain(std::iter::once(text.len()));
    ends.zip(starts).map(|(end, start)| text.get(end..start).unwrap_or("not a range"))
}

/// Whether a text holds white space, comments and semicolons only: told without the splitter's own lexer.
fn is_blank(text: &str) -> bool {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}', ';']);
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        } else if rest.starts_with("/*") {
            rest = behind_comment(rest);
        } else {
            return rest.is_empty();
        }
    }
}

fn behind_comment(mut rest: &str) -> &str {
    let mut depth = 0;
    while let Some(first) = rest.chars().next() {
        let step = match rest.get(..2) {
            Some("/*") => 1,
            Some("*/") => -1,
            _ => 0,
        };
        depth += step;
        rest = &rest[if step == 0 { first.len_utf8() } else { 2 }..];
        if depth == 0 {
            break;
        }
    }
    rest
}

/// Compares with squawk-syntax, a full parser, on every file that we have: files, statements, and where they
/// differ.
fn second_opinion() -> (usize, usize, Vec<String>) {
    let mut files = Vec::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in ["../../migrations", "tests/corpus"] {
        sql_files(&here.join(directory), &mut files);
    }
    let (mut compared, mut differ) = (0, Vec::new());
    for file in &files {
        // The corpus of the checks is played in a schema of its own, whose name is filled in.
        let text = std::fs::read_to_string(file).unwrap().replace("{s}", "s");
        let ours: Vec<&str> = split(&text).iter().map(|one| one.text).collect();
        let parsed = SourceFile::parse(&text);
        let theirs: Vec<String> = parsed.tree().stmts().map(|one| one.syntax().text().to_string()).collect();
        compared += ours.len();
        // Their statements reach to the semicolon, over comments.
        let same =
            |(one, other): &(&&str, &String)| other.trim_start().strip_prefix(**one).is_some_and(is_blank);
        let first = ours.iter().zip(&theirs).find(|pair| !same(pair));
        if first.is_some() || ours.len() != theirs.len() {
            differ.push(format!(
                "{}: {} against {}, first {first:?}",
                file.display(),
                ours.len(),
                theirs.len()
            ));
        }
    }
    (files.len(), compared, differ)
}

fn sql_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            sql_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            found.push(path);
        }
    }
}
