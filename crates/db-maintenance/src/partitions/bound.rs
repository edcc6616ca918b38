//! The bounds of a partition, as `pg_get_expr` prints them.

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// From the first inclusively to the second exclusively; each has a value for each column of the key.
    Range(Vec<Datum>, Vec<Datum>),
    /// Any of these values; none is NULL.
    List(Vec<Option<String>>),
    /// What remains, divided by the modulus.
    Hash { modulus: u32, remainder: u32 },
    /// What fits nowhere else.
    Default,
}

/// One value of a bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Datum {
    Lowest,
    Value(String),
    Highest,
}

impl Bounds {
    /// Reads the server's text; none where it is not understood.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "DEFAULT" {
            return Some(Bounds::Default);
        }
        let rest = text.strip_prefix("FOR VALUES ")?;
        if let Some(rest) = rest.strip_prefix("FROM (") {
            let (from, rest) = values(rest)?;
            let (to, rest) = values(rest.strip_prefix(" TO (")?)?;
            return rest.is_empty().then(|| Bounds::Range(edges(from), edges(to)));
        }
        if let Some(rest) = rest.strip_prefix("IN (") {
            let (all, rest) = values(rest)?;
            let value = |value: Value| match value {
                Value::Word(word) if word == "NULL" => None,
                Value::Word(text) | Value::Quoted(text) => Some(text),
            };
            return rest.is_empty().then(|| Bounds::List(all.into_iter().map(value).collect()));
        }
        let rest = rest.strip_prefix("WITH (modulus ")?.strip_suffix(')')?;
        let (modulus, remainder) = rest.split_once(", remainder ")?;
        Some(Bounds::Hash { modulus: modulus.parse().ok()?, remainder: remainder.parse().ok()? })
    }
}

enum Value {
    Quoted(String),
    Word(String),
}

fn edges(values: Vec<Value>) -> Vec<Datum> {
    let edge = |value| match value {
        Value::Word(word) if word == "MINVALUE" => Datum::Lowest,
        Value::Word(word) if word == "MAXVALUE" => Datum::Highest,
        Value::Quoted(text) if text == "-infinity" => Datum::Lowest,
        Value::Quoted(text) if text == "infinity" => Datum::Highest,
        Value::Word(text) | Value::Quoted(text) => Datum::Value(text),
    };
    values.into_iter().map(edge).collect()
}

/// Values up to the closing parenthesis, and what comes after it.
fn values(mut text: &str) -> Option<(Vec<Value>, &str)> {
    let mut all = Vec::new();
    loop {
        // A text with backslashes is printed as E'…' with each of them twice.
        let (escaped, quoted) = match text.strip_prefix("E'") {
            Some(rest) => (true, Some(rest)),
            None => (false, text.strip_prefix('\'')),
        };
        match quoted {
            Some(rest) => {
                let (value, rest) = quoted_text(rest, escaped)?;
                all.push(Value::Quoted(value));
                text = rest;
            }
            None => {
                let end = text.find([',', ')'])?;
                all.push(Value::Word(text[..end].to_owned()));
                text = &text[end..];
            }
        }
        // A cast that is printed behind a value, as in '1'::bigint.
        let end = text.find([',', ')'])?;
        text = &text[end..];
        match text.strip_prefix(", ") {
            Some(rest) => text = rest,
            None => return Some((all, text.strip_prefix(')')?)),
        }
    }
}

fn quoted_text(text: &str, escaped: bool) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices().peekable());
    while let Some((at, c)) = chars.next() {
        let doubled = chars.peek().is_some_and(|(_, next)| *next == c);
        match c {
            '\'' if doubled => {
                value.push(c);
                chars.next();
            }
            '\'' => return Some((value, &text[at + 1..])),
            '\\' if escaped && doubled => {
                value.push(c);
                chars.next();
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Datum {
        Datum::Value(text.to_owned())
    }

    #[test]
    fn bounds_are_read_as_the_server_prints_them() {
        let range = Bounds::parse("FOR VALUES FROM ('2026-01-01 00:00:00+00') TO (MAXVALUE)");
        assert_eq!(range, Some(Bounds::Range(vec![value("2026-01-01 00:00:00+00")], vec![Datum::Highest])));
        let two = Bounds::parse("FOR VALUES FROM (1, MINVALUE) TO (10, '5')");
        assert_eq!(two, Some(Bounds::Range(vec![value("1"), Datum::Lowest], vec![value("10"), value("5")])));
        let list = Bounds::parse(r"FOR VALUES IN ('it''s, (so)', NULL, E'a\\b', 3)");
        let texts = ["it's, (so)", "", r"a\b", "3"].map(|text| Some(text.to_owned()));
        let texts: Vec<_> = texts.into_iter().map(|text| text.filter(|text| !text.is_empty())).collect();
        assert_eq!(list, Some(Bounds::List(texts)));
        let hash = Bounds::parse("FOR VALUES WITH (modulus 4, remainder 3)");
        assert_eq!(hash, Some(Bounds::Hash { modulus: 4, remainder: 3 }));
        assert_eq!(Bounds::parse("DEFAULT"), Some(Bounds::Default));
        assert_eq!(Bounds::parse("FOR VALUES FROM ('a"), None);
    }
}
