//! The settings in a URL's `options`, split as the server splits them.
//!
//! Source: PostgreSQL's `pg_split_opts` and `ParseLongOption`: blanks separate, a backslash takes the next
//! character as it is; `-c name=value`, `-cname=value` and `--name=value` set, and a `-` in a name counts as
//! `_`.

use std::collections::BTreeMap;

use crate::DatabaseUrl;

impl DatabaseUrl {
    /// The settings that `options` makes at the start of each session, by their names in lower case.
    ///
    /// ```
    /// let url: db_core::DatabaseUrl =
    ///     "postgres://ann@db/app?options=-cstatement_timeout%3D5min%20--search-path%3Dshop".parse().unwrap();
    /// let settings = url.session_settings();
    /// assert_eq!(settings["statement_timeout"], "5min");
    /// assert_eq!(settings["search_path"], "shop");
    /// ```
    pub fn session_settings(&self) -> BTreeMap<String, String> {
        self.param("options").map(settings).unwrap_or_default()
    }
}

pub(super) fn settings(options: &str) -> BTreeMap<String, String> {
    let words = words(options);
    let mut words = words.iter();
    let mut found = BTreeMap::new();
    while let Some(word) = words.next() {
        let pair = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(long), _) => Some(long),
            (None, Some("")) => words.next().map(String::as_str),
            (None, joined) => joined,
        };
        if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
            found.insert(name.trim().replace('-', "_").to_ascii_lowercase(), value.to_owned());
        }
    }
    found
}

fn words(options: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut letters = options.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.get_or_insert_default().extend(letters.next()),
            letter if letter.is_ascii_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_setting_is_known() {
        let check = |options: &str, expected: &[(&str, &str)]| {
            let found: Vec<_> = settings(options).into_iter().collect();
            let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(found, expected, "{options}");
        };
        check("-c statement_timeout=5min", &[("statement_timeout", "5min")]);
        check("-cStatement_Timeout=5min", &[("statement_timeout", "5min")]);
        check("--statement-timeout=7s", &[("statement_timeout", "7s")]);
        check("  -c TimeZone=Europe/Zurich\t--jit=off -c", &[("jit", "off"), ("timezone", "Europe/Zurich")]);
        check(r"-c search_path=a,\ b -c x=\\", &[("search_path", "a, b"), ("x", r"\")]);
        check("-c a=1 -c a=2", &[("a", "2")]);
        check("-B 8MB statement_timeout=1", &[]);
    }
}
