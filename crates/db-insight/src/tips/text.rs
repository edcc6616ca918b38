//! Advice on a statement's text alone, where there is no plan: results without a bound, and `SELECT *`.

use db_statement::{normalize, touched};

use super::{Severity, Tip, TipCode};

/// What a statement's text alone says against it.
///
/// ```
/// use db_insight::{TipCode, tips_on_text};
///
/// let codes: Vec<TipCode> = tips_on_text("SELECT * FROM orders").iter().map(|tip| tip.code).collect();
/// assert_eq!(codes, [TipCode::UnboundedResult, TipCode::SelectStar]);
/// assert!(tips_on_text("SELECT id FROM orders WHERE id = $1").is_empty());
/// assert!(tips_on_text("SELECT count(*) FROM orders").is_empty());
/// ```
#[must_use]
pub fn tips_on_text(sql: &str) -> Vec<Tip> {
    let normal = normalize(sql);
    let words = upper_level(&normal);
    if words.first().is_none_or(|first| *first != "select") || touched(sql).reads.is_empty() {
        return Vec::new();
    }
    let list: Vec<&str> = words.iter().skip(1).take_while(|word| **word != "from").copied().collect();
    let mut tips = Vec::new();
    if is_unbounded(&words, &list) {
        tips.push(tip(
            TipCode::UnboundedResult,
            "the query has neither a condition nor a LIMIT: it returns the whole table, however large that grows",
            "take pages (WHERE key > last ORDER BY key LIMIT n), a cursor, or what is needed only",
        ));
    }
    if list.iter().any(|word| *word == "*" || word.ends_with(".*")) {
        tips.push(tip(
            TipCode::SelectStar,
            "the query asks for all columns, those that nobody reads and those that come later included",
            "name the columns: less is sent, an index alone may answer, and a new column breaks nobody",
        ));
    }
    tips
}

fn tip(code: TipCode, evidence: &str, fix: &str) -> Tip {
    Tip {
        code,
        severity: Severity::Info,
        node: "Statement".to_owned(),
        evidence: evidence.to_owned(),
        fix: fix.to_owned(),
        at: None,
        ms: 0.0,
    }
}

/// No condition, no bound, and no aggregate that makes one row of all.
fn is_unbounded(words: &[&str], list: &[&str]) -> bool {
    let has = |word: &str| words.contains(&word);
    let bounds = ["where", "limit", "fetch", "union", "intersect", "except", "having", "join"];
    let aggregates = [
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "array_agg",
        "string_agg",
        "jsonb_agg",
        "json_agg",
        "bool_or",
        "exists",
    ];
    let is_one_row = list.iter().any(|word| aggregates.contains(word)) && !has("group");
    has("from") && !bounds.iter().any(|word| has(word)) && !is_one_row
}

/// The words outside all parentheses.
fn upper_level(normal: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let mut words = Vec::new();
    let mut start = None;
    for (at, byte) in normal.bytes().enumerate() {
        let is_word = byte.is_ascii_alphanumeric() || byte >= 0x80 || b"_.*\"".contains(&byte);
        if let (Some(from), false) = (start, is_word) {
            words.extend(normal.get(from..at).filter(|_| depth == 0));
            start = None;
        }
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if is_word && start.is_none() => start = Some(at),
            _ => {}
        }
    }
    words.extend(start.and_then(|from| normal.get(from..)).filter(|_| depth == 0));
    words
}
