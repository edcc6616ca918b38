//! Which tables statements touch, by a corpus.

use db_statement::{Table, touched};

const CORPUS: &str = include_str!("../corpus/touched.txt");

fn shown(tables: &[Table]) -> String {
    tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_statement_of_the_corpus_touches_what_it_says() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in CORPUS.lines().filter(|line| !line.starts_with("-- One")) {
        let (text, want) = line.rsplit_once('|').unwrap();
        let found = touched(text.trim());
        let mut parts = Vec::new();
        // In the order of what is shown, which is not that of schema and name.
        let sorted = |tables: &[Table]| {
            let mut names: Vec<String> = tables.iter().map(ToString::to_string).collect();
            names.sort_by_key(|name| name.replace('"', ""));
            names.join(" ")
        };
        for (mark, tables) in [("r:", &found.reads), ("w:", &found.writes)] {
            if !tables.is_empty() {
                parts.push(format!("{mark} {}", sorted(tables)));
            }
        }
        if !found.complete {
            parts.push("?".to_owned());
        }
        count += 1;
        if parts.join(" ") != want.trim() {
            wrong.push(format!("{text}\n  is   {}\n  want {}", parts.join(" "), want.trim()));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 120, "{count}");
}

#[test]
fn limits_make_the_answer_incomplete_and_cost_no_more() {
    let deep = format!("DELETE FROM t WHERE a = {}1", "(".repeat(1_000_000));
    let found = touched(&deep);
    assert_eq!((shown(&found.writes), found.complete), ("t".to_owned(), false));
    let names: Vec<String> = (0..300_000).map(|n| format!("t{n}")).collect();
    let found = touched(&format!("SELECT * FROM {}", names.join(", ")));
    assert_eq!((found.reads.len(), found.complete), (db_statement::MOST_TABLES, false));
    let ctes: Vec<String> = (0..100_000).map(|n| format!("c{n} AS (SELECT * FROM c0, c{n})")).collect();
    assert!(!touched(&format!("WITH {} SELECT 1", ctes.join(", "))).complete);
}
