//! Finds the calls of functions in the tokens of a statement, and what each may leave in its session.
//!
//! A name before a parenthesis is a call, unless the grammar says otherwise: a list of columns, a type, a key
//! word. Where that is not clear it is taken for one, which costs a reset too many at worst.

use super::catalog::{Meaning, Meanings, Version};
use super::tokens::Token;
use crate::HarmlessFunctions;

/// What is known of functions: those of the server's version, and those that the service declares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) version: Version,
    pub(crate) harmless: HarmlessFunctions,
}

/// What was read of a statement, as far as calls need it.
#[derive(Default)]
pub(super) struct Calls<'a> {
    name: Option<Name<'a>>,
    /// The last token, and the one before it.
    before: [Option<Token<'a>>; 2],
}

/// A name, perhaps qualified, that the last tokens make up.
#[derive(Clone, Copy)]
struct Name<'a> {
    schema: Option<Part<'a>>,
    last: Part<'a>,
    /// Whether a point came after it.
    open: bool,
    /// What goes before it: the last token, and the one before that.
    after: [Option<Token<'a>>; 2],
}

#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a [u8],
    quoted: bool,
}

/// A call of a function that may leave something behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Its name as `pg_proc` has it, with the schema that the text names.
    pub(super) name: String,
    /// Whether it is not one of PostgreSQL's own.
    pub(super) ours: bool,
}

impl<'a> Calls<'a> {
    /// Reads the next token; the call that it shows.
    pub(super) fn read(&mut self, token: Token<'a>, known: &Known) -> Option<Call> {
        let mut found = None;
        self.name = match token {
            Token::Word(text) => Some(self.named(Part { text, quoted: false })),
            Token::Quoted(text) => Some(self.named(Part { text, quoted: true })),
            Token::Sign(b'.') => self.name.map(|name| Name { open: true, ..name }),
            Token::Sign(b'(') => {
                found = self.name.filter(|name| !name.open).and_then(|name| name.called(known));
                None
            }
            Token::Sign(_) | Token::Constant | Token::Escaped => None,
        };
        self.before = [Some(token), self.before[0]];
        found
    }

    fn named(&self, last: Part<'a>) -> Name<'a> {
        match self.name.filter(|name| name.open) {
            Some(name) => Name { schema: Some(name.last), last, open: false, after: name.after },
            None => Name { schema: None, last, open: false, after: self.before },
        }
    }
}

impl Part<'_> {
    /// The name that the server takes it for.
    fn name(self) -> String {
        let text = String::from_utf8_lossy(self.text);
        if self.quoted { text.replace("\"\"", "\"") } else { text.to_ascii_lowercase() }
    }
}

impl Name<'_> {
    /// The call that it is, before a parenthesis, where that may leave something behind.
    fn called(self, known: &Known) -> Option<Call> {
        if self.is_no_call() {
            return None;
        }
        let (schema, name) = (self.schema.map(Part::name), self.last.name());
        let meanings = if schema.as_deref().is_none_or(|schema| schema == "pg_catalog") {
            Meanings::of(&name)
        } else {
            Meanings::default()
        };
        let is = |meaning| meanings.has(meaning, known.version);
        let bare = schema.is_none() && !self.last.quoted;
        let ours = !is(Meaning::Changing);
        if is(Meaning::Harmless)
            || (bare && is(Meaning::Keyword))
            || (bare && is(Meaning::Operator) && self.is_operator(&name, known.version))
            // Its third argument decides, and whoever reads the statement looks at it.
            || (name == "set_config" && !ours)
            || known.harmless.declares(schema.as_deref(), &name, ours)
        {
            return None;
        }
        let name = schema.map_or(name.clone(), |schema| format!("{schema}.{name}"));
        Some(Call { name, ours })
    }

    /// Whether what goes before it shows that it is no function's name.
    fn is_no_call(&self) -> bool {
        let after = |words: &[&str]| matches!(self.after[0], Some(Token::Word(word)) if is(word, words));
        let own = |words: &[&str]| self.schema.is_none() && !self.last.quoted && is(self.last.text, words);
        match self.after {
            // The first word of a statement says what it is: EXPLAIN (…), VACUUM (…).
            [None, _] => self.schema.is_none() && !self.last.quoted,
            // A type: `::numeric(10, 2)`.
            [Some(Token::Sign(b':')), Some(Token::Sign(b':'))] => true,
            // `FILTER (WHERE …)`, `OVER (…)`.
            [Some(Token::Sign(b')')), _] if own(&["filter", "over"]) => true,
            _ => {
                // A table or its alias before columns, a common table expression, a type.
                after(&["into", "as", "table", "references", "exists", "copy", "with", "recursive"])
                    || (own(&["conflict"]) && after(&["on"]))
                    || (own(&["by"]) && after(&["group", "order", "partition"]))
                    || (own(&["sets"]) && after(&["grouping"]))
                    || (own(&["materialized"]) && after(&["as", "not"]))
                    || (own(&["insert"]) && after(&["then"]))
                    || (own(&["key"]) && after(&["primary", "foreign"]))
                    // `a OPERATOR(pg_catalog.+) b`, an operator that is named with its schema.
                    || (own(&["operator"]) && self.follows_an_operand(Version::default()))
                    || (own(&["varying"]) && after(&["character", "char", "bit", "nchar"]))
                    || (own(&["set"]) && (after(&["update"]) || self.follows_an_operand(Version::default())))
            }
        }
    }

    fn is_operator(&self, name: &str, version: Version) -> bool {
        let negated = matches!(self.after[0], Some(Token::Word(word)) if is(word, &["not"]));
        (negated && is(name.as_bytes(), &["like", "ilike", "similar"])) || self.follows_an_operand(version)
    }

    /// Whether what goes before it ends an operand, or is part of a join.
    fn follows_an_operand(&self, version: Version) -> bool {
        match self.after[0] {
            Some(Token::Constant | Token::Quoted(_) | Token::Escaped | Token::Sign(b')' | b']')) => true,
            Some(Token::Word(word)) => {
                let name = String::from_utf8_lossy(word).to_ascii_lowercase();
                !Meanings::of(&name).has(Meaning::Keyword, version) || is(word, VALUES)
            }
            _ => false,
        }
    }
}

/// Key words that are values, or end one.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "end",
    "default",
    "user",
    "current_user",
    "session_user",
    "current_role",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_catalog",
    "localtime",
    "localtimestamp",
];

fn is(word: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::tokens::Tokens;
    use super::*;

    fn calls(sql: &str) -> Vec<String> {
        let known = Known { harmless: "harmless, app.tidy, st_*".parse().unwrap(), ..Known::default() };
        let mut calls = Calls::default();
        Tokens::of(sql).filter_map(|(token, _)| calls.read(token, &known)).map(|call| call.name).collect()
    }

    #[test]
    fn functions_that_are_not_known_are_found_wherever_they_are_called() {
        for (sql, found) in [
            ("SELECT settle(1)", "settle"),
            ("SELECT app . /* here */ \"Settle\" -- and\n (1)", "app.Settle"),
            ("SELECT * FROM settle(1) AS t (a, b)", "settle"),
            ("SELECT DISTINCT ON (a) settle(b) FROM t", "settle"),
            ("INSERT INTO t (a) VALUES (SETTLE($1)) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, 2)", "settle"),
            ("UPDATE t SET a = settle(a) WHERE b IN (1, 2)", "settle"),
            ("SELECT a[1:settle(2)] FROM t", "settle"),
            ("SELECT nextval('s'), setseed(1)", "nextval setseed"),
            ("SELECT other.lower('X')", "other.lower"),
            ("SELECT \"LOWER\"('X'), \"pg_catalog\".\"setval\"('s', 1)", "LOWER pg_catalog.setval"),
            ("SELECT x.app.settle(1)", "app.settle"),
            ("SELECT join(1), (similar(1))", "join similar"),
            ("SELECT 1 FROM t JOIN settle(1) ON set(2)", "settle set"),
            ("EXPLAIN (ANALYZE) SELECT by(1), conflict(2), over(3), \"in\"(4)", "by conflict over in"),
            ("SELECT \"cast\"(1), tidy(1), other.tidy(1)", "cast tidy other.tidy"),
            ("SELECT operator(1), a OPERATOR(pg_catalog.+) settle(1)", "operator settle"),
        ] {
            assert_eq!(calls(sql).join(" "), found, "{sql}");
        }
    }

    #[test]
    fn what_is_no_call_or_harmless_is_not_found() {
        for sql in [
            "SELECT lower('X'), count(*) FILTER (WHERE a) OVER (PARTITION BY (b) ORDER BY (c)), \"upper\"('x')",
            "SELECT pg_catalog.lower('X'), now(), gen_random_uuid(), jsonb_build_object('a', 1), left('a', 1)",
            "INSERT INTO \"t\" (\"a\", b) VALUES ($1, (DEFAULT)) ON CONFLICT (\"a\") DO NOTHING RETURNING (a)",
            "INSERT INTO app.t AS x (a) SELECT 1",
            "WITH w (a) AS (SELECT 1), v AS MATERIALIZED (SELECT 2) SELECT a FROM w JOIN (SELECT 1) AS v (b) ON (true)",
            "WITH RECURSIVE w(a) AS (SELECT 1) SELECT * FROM w NATURAL JOIN (SELECT 1) x LEFT JOIN (VALUES (1)) y ON (1 = 1)",
            "SELECT a::numeric(10, 2), CAST(b AS varchar(5)), c::pg_catalog.bpchar(3), d::character varying(3)",
            "SELECT 1 WHERE a LIKE ('b') AND \"a\" NOT ILIKE ('b') AND $1 IN (1) AND EXISTS (SELECT 1) OR NOT (a IS NULL)",
            "SELECT 1 WHERE CASE WHEN (a) THEN (b) ELSE (c) END LIKE ('d') GROUP BY GROUPING SETS ((a), (b))",
            "SELECT harmless(1), other.harmless(2), app.tidy(3), st_within(4), public.st_x(5)",
            "SELECT a = ANY($1), b <> ALL ('{}'), ARRAY(SELECT 1), row(1, 2), coalesce(a, nullif(b, c))",
            "SELECT now() OPERATOR(pg_catalog.-) b, (a) OPERATOR (app.@@) $1",
            "COPY t (a, b) FROM STDIN",
            "UPDATE t SET (a, b) = (1, 2)",
            "MERGE INTO t USING (SELECT 1) AS s (a) ON (true) WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
            "SELECT set_config('a.b', 'c', true) FROM t TABLESAMPLE bernoulli (10)",
            "SELECT extract(year FROM now()), substring('a' FROM 1), trim(both ' ' FROM 'x'), interval '1' day",
            "SELECT 'settle(1)', \"settle\", settle FROM t -- settle(1)",
        ] {
            assert_eq!(calls(sql), Vec::<String>::new(), "{sql}");
        }
    }
}
