//! Text with placeholders: `"${given} ${family}"`, `{"amount": ${integer:1:500}}`.

use crate::draw::Draw;
use crate::words;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Literal(String),
    Row { digits: usize },
    Integer { min: i64, max: i64 },
    Word,
    Words(u64),
    Given,
    Family,
    Company,
    Uuid,
    Column(String),
    Slug(String),
}

const ALLOWED: &str =
    "row, row:DIGITS, integer:MIN:MAX, word, words:N, given, family, company, uuid, column:NAME, slug:NAME";

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if !before.is_empty() {
                parts.push(Part::Literal(before.to_owned()));
            }
            let (name, after) =
                after.split_once('}').ok_or_else(|| format!("a placeholder is not closed: ${{{after}"))?;
            parts.push(Part::parse(name)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Template(parts))
    }

    /// The columns of the same row that the text quotes.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Column(name) | Part::Slug(name) => Some(name.as_str()),
            _ => None,
        })
    }

    pub(crate) fn fill(&self, row: u64, draw: &mut Draw, column: impl Fn(&str) -> String) -> String {
        let mut out = String::with_capacity(64);
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Row { digits } => out.push_str(&format!("{:0digits$}", row + 1)),
                Part::Integer { min, max } => {
                    out.push_str(&(min + draw.below(max.abs_diff(*min) + 1) as i64).to_string());
                }
                Part::Word => out.push_str(draw.pick(words::WORD)),
                Part::Words(count) => sentence(*count, draw, &mut out),
                Part::Given => out.push_str(draw.pick(words::GIVEN)),
                Part::Family => out.push_str(draw.pick(words::FAMILY)),
                Part::Company => {
                    out.push_str(draw.pick(words::COMPANY));
                    out.push(' ');
                    out.push_str(draw.pick(words::TRADE));
                }
                Part::Uuid => out.push_str(&draw.uuid().to_string()),
                Part::Column(name) => out.push_str(&column(name)),
                Part::Slug(name) => slug(&column(name), &mut out),
            }
        }
        out
    }
}

impl Part {
    fn parse(name: &str) -> Result<Part, String> {
        let unknown = || format!("unknown placeholder ${{{name}}} (allowed: {ALLOWED})");
        let mut pieces = name.split(':');
        let kind = pieces.next().unwrap_or_default();
        let arguments: Vec<&str> = pieces.collect();
        Ok(match (kind, arguments.as_slice()) {
            ("row", []) => Part::Row { digits: 0 },
            ("row", [digits]) => {
                Part::Row { digits: digits.parse().ok().filter(|d| *d <= 20).ok_or_else(unknown)? }
            }
            ("integer", [min, max]) => {
                let (min, max) = (min.parse().map_err(|_| unknown())?, max.parse().map_err(|_| unknown())?);
                if min > max {
                    return Err(format!("${{{name}}} is an empty range"));
                }
                Part::Integer { min, max }
            }
            ("word", []) => Part::Word,
            ("words", [count]) => Part::Words(count.parse().ok().filter(|n| *n <= 1000).ok_or_else(unknown)?),
            ("given", []) => Part::Given,
            ("family", []) => Part::Family,
            ("company", []) => Part::Company,
            ("uuid", []) => Part::Uuid,
            ("column", [column]) => Part::Column((*column).to_owned()),
            ("slug", [column]) => Part::Slug((*column).to_owned()),
            _ => return Err(unknown()),
        })
    }
}

fn sentence(count: u64, draw: &mut Draw, out: &mut String) {
    for n in 0..count {
        let word = draw.pick(words::WORD);
        match word.get(..1).filter(|_| n == 0) {
            Some(first) => {
                out.push_str(&first.to_uppercase());
                out.push_str(&word[1..]);
            }
            None => {
                out.push_str(if n == 0 { "" } else { " " });
                out.push_str(word);
            }
        }
    }
}

fn slug(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => out.push(c.to_ascii_lowercase()),
            _ => out.push('-'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_the_rest_is_left_alone() {
        let template =
            Template::parse(r#"{"n": ${integer:7:7}, "of": "${column:name}"} ${slug:name}-${row:4}$"#);
        let text = template.unwrap().fill(11, &mut Draw::new(1, 1), |_| "Ada Berg".into());
        assert_eq!(text, r#"{"n": 7, "of": "Ada Berg"} ada-berg-0012$"#);
    }

    #[test]
    fn a_wrong_placeholder_is_named() {
        assert!(
            Template::parse("${colour}")
                .unwrap_err()
                .starts_with("unknown placeholder ${colour} (allowed: row")
        );
        assert_eq!(Template::parse("${row").unwrap_err(), "a placeholder is not closed: ${row");
        assert_eq!(Template::parse("${integer:2:1}").unwrap_err(), "${integer:2:1} is an empty range");
    }
}
