//! Finds the copies of masked values in other columns: whole, within texts, within documents and lists.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::generate::column_type::ColumnType;

/// A value of fewer characters is a copy only where it is the whole value: `de` is in many words.
const SHORTEST_WITHIN: usize = 5;

/// Values and what they became.
#[derive(Debug, Default)]
pub(crate) struct Copies(HashMap<String, String>);

/// Replaces copies.
pub(crate) struct Replacer {
    whole: HashMap<String, String>,
    within: Option<AhoCorasick>,
    by: Vec<String>,
}

impl Copies {
    pub(crate) fn note(&mut self, value: &str, masked: &str) {
        if !value.is_empty() && value != masked {
            self.0.entry(value.to_owned()).or_insert_with(|| masked.to_owned());
        }
    }

    pub(crate) fn replacer(self) -> Replacer {
        let mut long: Vec<(&String, &String)> =
            self.0.iter().filter(|(value, _)| value.chars().count() >= SHORTEST_WITHIN).collect();
        long.sort();
        // Within a document a text stands as JSON writes it.
        let mut values: Vec<String> = long.iter().map(|(value, _)| (*value).clone()).collect();
        let mut by: Vec<String> = long.iter().map(|(_, masked)| (*masked).clone()).collect();
        for (value, masked) in &long {
            let (escaped, masked) = (escaped(value), escaped(masked));
            if escaped != **value {
                values.push(escaped);
                by.push(masked);
            }
        }
        let built = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(&values);
        Replacer { within: built.ok().filter(|_| !values.is_empty()), by, whole: self.0 }
    }
}

fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::String(text.to_owned()).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

impl Replacer {
    /// The value with every copy replaced; `None` where it has none. A short text that is a code is no copy.
    pub(crate) fn replaced(
        &self,
        value: &str,
        holds: &ColumnType,
        is_code: impl Fn() -> bool,
    ) -> Option<String> {
        // A number that looks like another is none of its copies.
        let texts = matches!(
            holds,
            ColumnType::Text(..)
                | ColumnType::Json
                | ColumnType::Array(_)
                | ColumnType::Composite(_)
                | ColumnType::Xml
                | ColumnType::Pairs
                | ColumnType::Words
                | ColumnType::Uuid
                | ColumnType::Path
        );
        if !texts {
            return None;
        }
        let most = if let ColumnType::Text(Some(most), _) = holds { *most as usize } else { usize::MAX };
        let fitting = |text: String| text.chars().take(most).collect();
        if let (Some(masked), ColumnType::Text(..) | ColumnType::Uuid) = (self.whole.get(value), holds) {
            let is_short = value.chars().count() < SHORTEST_WITHIN;
            return (!is_short || !is_code()).then(|| fitting(masked.clone()));
        }
        let within = self.within.as_ref()?;
        within.is_match(value).then(|| fitting(within.replace_all(value, &self.by)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_found_whole_within_texts_and_within_documents() {
        let mut copies = Copies::default();
        copies.note("ada@home.org", "x@example.com");
        copies.note("Ada \"B\" Byron", "Mei Sato");
        copies.note("de", "fr");
        let replacer = copies.replacer();
        let text = ColumnType::Text(None, false);
        let check = |value: &str, holds: &ColumnType, replaced: Option<&str>| {
            assert_eq!(replacer.replaced(value, holds, || false).as_deref(), replaced, "{value}");
        };
        check("de", &text, Some("fr"));
        check("order", &text, None);
        check("wrote to ADA@home.org today", &text, Some("wrote to x@example.com today"));
        check(r#"{"by": "Ada \"B\" Byron"}"#, &ColumnType::Json, Some(r#"{"by": "Mei Sato"}"#));
        check("{ada@home.org,b}", &ColumnType::Array(Box::new(text.clone())), Some("{x@example.com,b}"));
        check("12", &ColumnType::Float, None);
        assert_eq!(replacer.replaced("de", &text, || true), None, "a code");
        let short = ColumnType::Text(Some(6), false);
        assert_eq!(replacer.replaced("ada@home.org", &short, || true).as_deref(), Some("x@exam"));
    }
}
