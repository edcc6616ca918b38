//! Texts that match a pattern of LIKE or of a regular expression, and whether a text does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::thread::LocalKey;

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::draw::Draw;

/// Repetitions without an end are drawn up to this many beyond their least.
const MOST_REPETITIONS: u32 = 8;

/// Whether `text operator pattern` is true; `None` for an operator or a pattern that is not known here.
pub(crate) fn matches(operator: &str, text: &str, pattern: &str) -> Option<bool> {
    let (operator, negated) = match operator.strip_prefix('!') {
        Some(rest) => (rest, true),
        None => (operator, false),
    };
    if let Some((ahead, rest)) = looks_ahead(operator, pattern) {
        let all = ahead.iter().map(|(with, is)| Some(matches(operator, text, with)? == *is));
        let all = all.chain([matches(operator, text, &rest)]).collect::<Option<Vec<bool>>>()?;
        return Some(all.into_iter().all(|is| is) != negated);
    }
    let place = OPERATORS.iter().position(|one| *one == operator)?;
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Forms<Rc<Regex>>>> = RefCell::new(HashMap::new());
    }
    let regex = kept(&KNOWN, pattern, place, || regex(&in_rust(operator, pattern), operator.ends_with('*')))?;
    Some(regex.is_match(text) != negated)
}

/// A text for which `text operator pattern` is true, for `~`, `~*`, `~~` and `~~*`.
pub(crate) fn text_for(operator: &str, pattern: &str, draw: &mut Draw) -> Option<String> {
    if let Some((ahead, rest)) = looks_ahead(operator, pattern) {
        let mut text = String::new();
        for (with, is) in &ahead {
            if *is {
                text += &text_for(operator, with.trim_start_matches('^').trim_start_matches(".*"), draw)?;
            }
        }
        return Some(text + &text_for(operator, &rest, draw)?);
    }
    let place = OPERATORS.iter().position(|one| *one == operator)?;
    thread_local! {
        static PARSED: RefCell<HashMap<String, Forms<Rc<Hir>>>> = RefCell::new(HashMap::new());
    }
    let hir = kept(&PARSED, pattern, place, || {
        ParserBuilder::new().build().parse(&in_rust(operator, pattern)).ok().map(Rc::new)
    })?;
    let mut text = String::new();
    write(&hir, draw, &mut text)?;
    Some(text)
}

/// What a pattern that begins with `^(?=…)` or `^(?!…)` wants ahead, and the rest of it: our syntax knows
/// neither.
fn looks_ahead(operator: &str, pattern: &str) -> Option<(Vec<(String, bool)>, String)> {
    let mut rest =
        pattern.strip_prefix('^').filter(|rest| operator.starts_with("~") && rest.starts_with("(?"))?;
    let mut ahead = Vec::new();
    while let Some(inner) = rest.strip_prefix("(?=").or_else(|| rest.strip_prefix("(?!")) {
        let mut depth = 1;
        let (mut escaped, mut in_class) = (false, false);
        let end = inner.char_indices().find(|(_, c)| {
            let plain = !escaped;
            escaped = plain && *c == '\\';
            match c {
                '[' if plain => in_class = true,
                ']' if plain => in_class = false,
                '(' if plain && !in_class => depth += 1,
                ')' if plain && !in_class => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let (end, _) = end?;
        ahead.push((format!("^{}", &inner[..end]), rest.starts_with("(?=")));
        rest = &inner[end + 1..];
    }
    (!ahead.is_empty()).then(|| (ahead, format!("^{rest}")))
}

/// The operators that patterns are matched by.
const OPERATORS: [&str; 4] = ["~", "~*", "~~", "~~*"];

/// What was made of a pattern for each operator; `Some(None)` where nothing could be.
type Forms<T> = [Option<Option<T>>; 4];

/// What is made of a pattern is kept, because a check is asked for each row.
fn kept<T: Clone>(
    known: &'static LocalKey<RefCell<HashMap<String, Forms<T>>>>,
    pattern: &str,
    place: usize,
    make: impl FnOnce() -> Option<T>,
) -> Option<T> {
    known.with_borrow_mut(|known| {
        if !known.contains_key(pattern) {
            known.insert(pattern.to_owned(), Forms::default());
        }
        known.get_mut(pattern)?[place].get_or_insert_with(make).clone()
    })
}

fn in_rust(operator: &str, pattern: &str) -> String {
    match operator {
        "~" | "~*" => of_postgres(pattern),
        _ => of_like(pattern),
    }
}

/// The text that every match of a pattern begins with; empty where that is not one text.
pub(crate) fn start_of(operator: &str, pattern: &str) -> String {
    let anchored = match operator {
        "~" => pattern.starts_with('^'),
        _ => operator == "~~",
    };
    let parse = || ParserBuilder::new().build().parse(&in_rust(operator, pattern)).ok();
    let Some(hir) = anchored.then(parse).flatten() else {
        return String::new();
    };
    let HirKind::Concat(parts) = hir.kind() else { return String::new() };
    let texts = parts.iter().skip_while(|part| matches!(part.kind(), HirKind::Look(_)));
    let texts = texts.map_while(|part| match part.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok(),
        _ => None,
    });
    texts.collect()
}

/// The syntax is PostgreSQL's; `\y`, `\m` and `\M` are the only words of it that Rust spells otherwise.
pub(crate) fn of_postgres(pattern: &str) -> String {
    let pattern =
        pattern.strip_prefix("(?i)").map_or_else(|| pattern.to_owned(), |rest| format!("(?i){rest}"));
    pattern.replace(r"\y", r"\b").replace(r"\m", r"\b").replace(r"\M", r"\b").replace(r"\Z", r"\z")
}

fn of_like(pattern: &str) -> String {
    let mut regex = String::from("(?s)^");
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '\\' => regex.extend(characters.next().map(|c| regex_syntax::escape(&c.to_string()))),
            c => regex.push_str(&regex_syntax::escape(&c.to_string())),
        }
    }
    regex.push('$');
    regex
}

/// The regular expression of a pattern of `SIMILAR TO`: that of a whole text, in which `%` and `_` mean what
/// they mean in LIKE, and a dot is a dot.
pub(crate) fn of_similar(pattern: &str) -> String {
    let (mut regex, mut in_class) = (String::from("^(?:"), false);
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => regex.extend(characters.next().map(|c| regex_syntax::escape(&c.to_string()))),
            '%' if !in_class => regex.push_str(".*"),
            '_' if !in_class => regex.push('.'),
            '.' | '^' | '$' if !in_class => {
                regex.push('\\');
                regex.push(c);
            }
            c => {
                in_class = (in_class || c == '[') && c != ']';
                regex.push(c);
            }
        }
    }
    regex + ")$"
}

type Compiled = Option<Rc<Regex>>;

/// A regular expression, compiled once: a copy of a `Regex` has to make its caches anew, a shared one has
/// not.
pub(crate) fn regex(pattern: &str, any_case: bool) -> Compiled {
    thread_local! {
        static COMPILED: RefCell<HashMap<(String, bool), Compiled>> = RefCell::new(HashMap::new());
    }
    COMPILED.with_borrow_mut(|compiled| {
        let build = || {
            let regex = RegexBuilder::new(pattern).case_insensitive(any_case).size_limit(1 << 20).build();
            regex.ok().map(Rc::new)
        };
        compiled.entry((pattern.to_owned(), any_case)).or_insert_with(build).clone()
    })
}

fn write(hir: &Hir, draw: &mut Draw, text: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(class) => text.push(one_of(class, draw)?),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min.saturating_add(MOST_REPETITIONS));
            let most = most.min(repetition.min.saturating_add(64));
            let times = repetition.min + draw.below(u64::from(most - repetition.min) + 1) as u32;
            for _ in 0..times {
                write(&repetition.sub, draw, text)?;
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, draw, text)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, draw, text))?,
        HirKind::Alternation(parts) => {
            write(parts.get(draw.below(parts.len() as u64) as usize)?, draw, text)?;
        }
    }
    Some(())
}

/// A character of the class; a letter or a digit where the class has one.
fn one_of(class: &Class, draw: &mut Draw) -> Option<char> {
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => {
            class.iter().map(|range| (u32::from(range.start()), u32::from(range.end()))).collect()
        }
        Class::Bytes(class) => {
            class.iter().map(|range| (u32::from(range.start()), u32::from(range.end()))).collect()
        }
    };
    const PLEASANT: [(u32, u32); 4] = [(0x61, 0x7a), (0x30, 0x39), (0x41, 0x5a), (0x20, 0x7e)];
    let mut within: Vec<(u32, u32)> = Vec::new();
    for (least, most) in PLEASANT {
        let common = ranges.iter().map(|(from, to)| (*from.max(&least), *to.min(&most)));
        within.extend(common.filter(|(from, to)| from <= to));
        // Letters and digits before signs.
        if most == 0x5a && !within.is_empty() {
            break;
        }
    }
    let ranges = if within.is_empty() { ranges } else { within };
    let total: u64 = ranges.iter().map(|(from, to)| u64::from(to - from) + 1).sum();
    let mut at = draw.below(total);
    for (from, to) in ranges {
        let size = u64::from(to - from) + 1;
        if at < size {
            return char::from_u32(from + at as u32);
        }
        at -= size;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(operator: &str, pattern: &str) {
        for row in 0..50 {
            let text = text_for(operator, pattern, &mut Draw::new(1, row)).unwrap_or_default();
            assert_eq!(matches(operator, &text, pattern), Some(true), "{text:?} {operator} {pattern}");
        }
    }

    #[test]
    fn what_is_made_for_a_pattern_matches_it() {
        check("~", "^[A-Z]{3}-[0-9]{4}$");
        check("~", r"^\d{5}(-\d{4})?$");
        check("~*", r"^[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}$");
        check("~", r"^#[0-9a-fA-F]{6}$");
        check("~", r"^(\+|00)[1-9][0-9 \-\(\)\.]{7,32}$");
        check("~~", "%@%");
        check("~~", "a_c%");
        check("~~*", r"100\%");
        check("~", "^(draft|sent|paid)$");
        check("~", r"\yword\y");
        check("~", "^[^@]+@[^@]+$");
        check("~", "^(?=.*[A-Z])(?=.*[0-9]).{8,}$");
    }

    #[test]
    fn what_similar_to_says_is_known() {
        check("~", &of_similar("[0-9]{3}"));
        check("~", &of_similar("(draft|sent)_%"));
        assert_eq!(matches("~", "a.b", &of_similar("a.b")), Some(true));
        assert_eq!(matches("~", "axb", &of_similar("a.b")), Some(false));
        assert_eq!(matches("~", "xab", &of_similar("a_")), Some(false));
        assert_eq!(matches("~", "a%", &of_similar("a\\%")), Some(true));
    }

    #[test]
    fn a_pattern_that_is_not_one_is_not_known() {
        assert_eq!(matches("~", "a", "("), None);
        assert_eq!(text_for("~", "(", &mut Draw::new(1, 1)), None);
        assert_eq!(matches("&&", "a", "a"), None);
    }
}
