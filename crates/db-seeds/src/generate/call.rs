//! What the functions that conditions call are worth.

use regex::Regex;

use super::document;
use super::expression::Expression;
use super::instant::{self, part_of, truncated};
use super::network;
use super::pattern;
use super::worth::{Values, Worth, binary, equal, number, text_of};

pub(crate) fn call(name: &str, arguments: &[Expression], row: &dyn Values) -> Worth {
    if matches!(name, "now" | "clock_timestamp" | "transaction_timestamp" | "statement_timestamp") {
        return Worth::Time(row.now() as f64);
    }
    let mut worths: Vec<Worth> = arguments.iter().map(|argument| argument.worth(row)).collect();
    if worths.contains(&Worth::Unknown) {
        return Worth::Unknown;
    }
    let nulls = worths.iter().filter(|worth| **worth == Worth::Null).count();
    match name {
        "num_nonnulls" => return Worth::Number((worths.len() - nulls) as f64),
        "num_nulls" => return Worth::Number(nulls as f64),
        "coalesce" => return worths.into_iter().find(|worth| *worth != Worth::Null).unwrap_or(Worth::Null),
        "greatest" | "least" => {
            let sign = if name == "greatest" { ">" } else { "<" };
            let better = |one: Worth, other: Worth| match binary(sign, one.clone(), other.clone()) {
                Worth::Boolean(true) => one,
                Worth::Boolean(false) => other,
                _ => Worth::Unknown,
            };
            let given = worths.into_iter().filter(|worth| *worth != Worth::Null);
            return given.reduce(better).unwrap_or(Worth::Null);
        }
        "nullif" => {
            return match worths.as_slice() {
                [one, other] if equal(one, other) => Worth::Null,
                [one, _] => one.clone(),
                _ => Worth::Unknown,
            };
        }
        "concat" => {
            let texts: Option<String> =
                worths.iter().filter(|worth| **worth != Worth::Null).map(text_of).collect();
            return texts.map_or(Worth::Unknown, Worth::Text);
        }
        "array_position" => {
            let (Some(Worth::List(list)), Some(wanted)) = (worths.first(), worths.get(1)) else {
                return if worths.first() == Some(&Worth::Null) { Worth::Null } else { Worth::Unknown };
            };
            let is = |one: &Worth| equal(one, wanted) || (*one == Worth::Null && *wanted == Worth::Null);
            return list.iter().position(is).map_or(Worth::Null, |at| Worth::Number(at as f64 + 1.0));
        }
        _ => {}
    }
    if nulls > 0 {
        return Worth::Null;
    }
    for worth in &mut worths {
        if let Worth::Label(labels, at) = worth {
            *worth = Worth::Text(labels.get(*at).cloned().unwrap_or_default());
        }
    }
    of_texts(name, &worths).or_else(|| of_others(name, &worths)).unwrap_or(Worth::Unknown)
}

/// A count of characters from the end, where it is negative, as `left` and `right` have it.
fn counted(text: &str, count: f64) -> usize {
    let length = text.chars().count();
    if count < 0.0 { length.saturating_sub(-count as usize) } else { (count as usize).min(length) }
}

fn of_texts(name: &str, worths: &[Worth]) -> Option<Worth> {
    let first = match worths.first()? {
        Worth::Text(text) => text.clone(),
        Worth::Number(number) => number.to_string(),
        _ => return None,
    };
    let text = first.as_str();
    let characters = || text.chars();
    Some(match (name, &worths[1..]) {
        ("length" | "char_length" | "character_length", []) => Worth::Number(characters().count() as f64),
        ("octet_length", []) => Worth::Number(text.len() as f64),
        ("lower" | "upper", []) if text.starts_with(['[', '(']) => end_of_range(name, text)?,
        ("isempty", []) => Worth::Boolean(text == "empty"),
        ("strpos" | "position", [Worth::Text(part)]) => {
            let before = text.find(part.as_str()).map(|at| text[..at].chars().count() + 1);
            Worth::Number(before.unwrap_or_default() as f64)
        }
        ("starts_with", [Worth::Text(start)]) => Worth::Boolean(text.starts_with(start)),
        ("left", [Worth::Number(count)]) => Worth::Text(characters().take(counted(text, *count)).collect()),
        ("right", [Worth::Number(count)]) => {
            Worth::Text(characters().skip(characters().count() - counted(text, *count)).collect())
        }
        ("substring" | "substr", [Worth::Number(from)]) => {
            Worth::Text(characters().skip((*from - 1.0).max(0.0) as usize).collect())
        }
        ("substring" | "substr", [Worth::Number(from), Worth::Number(count)]) if *count >= 0.0 => {
            let end = (*from - 1.0 + count).max(0.0);
            let from = (*from - 1.0).max(0.0);
            Worth::Text(characters().skip(from as usize).take((end - from).max(0.0) as usize).collect())
        }
        ("substring" | "substr", [Worth::Text(with)]) => {
            let found = regex(with, false)?.captures(text).and_then(|found| found.get(1).or(found.get(0)));
            found.map_or(Worth::Null, |found| Worth::Text(found.as_str().to_owned()))
        }
        ("split_part", [Worth::Text(by), Worth::Number(place)]) if *place >= 1.0 && !by.is_empty() => {
            Worth::Text(text.split(by.as_str()).nth(*place as usize - 1).unwrap_or_default().to_owned())
        }
        ("lower", []) => Worth::Text(text.to_lowercase()),
        ("upper", []) => Worth::Text(text.to_uppercase()),
        ("initcap", []) => Worth::Text(initials(text)),
        ("reverse", []) => Worth::Text(characters().rev().collect()),
        // `x SIMILAR TO y` is printed as `x ~ similar_to_escape(y)`.
        ("similar_to_escape", []) => Worth::Text(pattern::of_similar(text)),
        ("btrim" | "trim", []) => Worth::Text(text.trim_matches(' ').to_owned()),
        ("ltrim", []) => Worth::Text(text.trim_start_matches(' ').to_owned()),
        ("rtrim", []) => Worth::Text(text.trim_end_matches(' ').to_owned()),
        ("btrim" | "trim", [Worth::Text(of)]) => {
            Worth::Text(text.trim_matches(|c| of.contains(c)).to_owned())
        }
        ("ltrim", [Worth::Text(of)]) => Worth::Text(text.trim_start_matches(|c| of.contains(c)).to_owned()),
        ("rtrim", [Worth::Text(of)]) => Worth::Text(text.trim_end_matches(|c| of.contains(c)).to_owned()),
        ("lpad" | "rpad", [Worth::Number(length), with @ ..]) => {
            let with = match with {
                [Worth::Text(with)] => with.as_str(),
                _ => " ",
            };
            let (length, has) = ((*length).clamp(0.0, 1e4) as usize, characters().count());
            if has >= length {
                return Some(Worth::Text(characters().take(length).collect()));
            }
            let filling: String = with.chars().cycle().take(length - has).collect();
            Worth::Text(if name == "lpad" { filling + text } else { first + &filling })
        }
        ("repeat", [Worth::Number(times)]) => Worth::Text(text.repeat((*times).clamp(0.0, 1e3) as usize)),
        ("replace", [Worth::Text(from), Worth::Text(to)]) => Worth::Text(text.replace(from.as_str(), to)),
        ("translate", [Worth::Text(from), Worth::Text(to)]) => {
            let to: Vec<char> = to.chars().collect();
            let one = |c: char| match from.chars().position(|one| one == c) {
                Some(at) => to.get(at).copied(),
                None => Some(c),
            };
            Worth::Text(characters().filter_map(one).collect())
        }
        ("regexp_replace", [Worth::Text(what), Worth::Text(with), flags @ ..]) => {
            let flags = flags.first().and_then(text_of).unwrap_or_default();
            let regex = regex(what, flags.contains('i'))?;
            let with = with.replace('$', "$$").replace(r"\&", "${0}");
            let with = (1..10).fold(with, |with, n| with.replace(&format!(r"\{n}"), &format!("${{{n}}}")));
            let times = usize::from(!flags.contains('g'));
            Worth::Text(regex.replacen(text, times, with.as_str()).into_owned())
        }
        ("string_to_array", [Worth::Text(by)]) if !by.is_empty() => {
            let parts = text.split(by.as_str()).filter(|_| !text.is_empty());
            Worth::List(parts.map(|part| Worth::Text(part.to_owned())).collect())
        }
        ("ascii", []) => Worth::Number(f64::from(characters().next().map_or(0, u32::from))),
        ("get_bit", [Worth::Number(at)]) if text.chars().all(|c| matches!(c, '0' | '1')) => {
            Worth::Number(f64::from(u8::from(text.chars().nth(*at as usize)? == '1')))
        }
        ("bit_count", []) if text.chars().all(|c| matches!(c, '0' | '1')) => {
            Worth::Number(text.matches('1').count() as f64)
        }
        ("family" | "masklen" | "host" | "network", []) => network::call(name, text)?,
        ("date_part" | "extract", [of]) => part_of(text, of),
        ("date_trunc", [of]) => truncated(text, of),
        _ => return None,
    })
}

/// A pattern of the server's as one of ours.
fn regex(with: &str, any_case: bool) -> Option<std::rc::Rc<Regex>> {
    pattern::regex(&pattern::of_postgres(with), any_case)
}

/// The first letter of each word as a capital, the others small.
fn initials(text: &str) -> String {
    let mut within = false;
    let one = |c: char| {
        let begins = !std::mem::replace(&mut within, c.is_alphanumeric());
        if begins { c.to_uppercase().next().unwrap_or(c) } else { c.to_lowercase().next().unwrap_or(c) }
    };
    text.chars().map(one).collect()
}

fn of_others(name: &str, worths: &[Worth]) -> Option<Worth> {
    let rounded = |by: fn(f64) -> f64, worth: &Worth| number(worth).map(|number| Worth::Number(by(number)));
    Some(match (name, worths) {
        ("length" | "octet_length", [Worth::Bytes(length)]) => Worth::Number(*length as f64),
        ("abs", [Worth::Time(time)]) => Worth::Time(time.abs()),
        ("abs", [worth]) => rounded(f64::abs, worth)?,
        ("sign", [worth]) => rounded(|number| if number == 0.0 { 0.0 } else { number.signum() }, worth)?,
        ("floor", [worth]) => rounded(f64::floor, worth)?,
        ("ceil" | "ceiling", [worth]) => rounded(f64::ceil, worth)?,
        ("trunc", [worth]) => rounded(f64::trunc, worth)?,
        ("round", [worth]) => rounded(f64::round, worth)?,
        ("sqrt", [worth]) => rounded(f64::sqrt, worth)?,
        ("round" | "trunc", [worth, Worth::Number(places)]) => {
            let number = number(worth).filter(|_| places.abs() < 15.0)?;
            let scale = 10_f64.powi(*places as i32);
            let by = if name == "round" { f64::round } else { f64::trunc };
            Worth::Number(by(number * scale) / scale)
        }
        ("mod", [left, right]) => binary("%", left.clone(), right.clone()),
        ("power" | "pow", [left, right]) => binary("^", left.clone(), right.clone()),
        ("make_date", [year, month, day]) => {
            let date = chrono::NaiveDate::from_ymd_opt(
                number(year)? as i32,
                number(month)? as u32,
                number(day)? as u32,
            )?;
            Worth::Date((date - chrono::NaiveDate::default()).num_days() as f64)
        }
        ("cardinality", [Worth::List(list)]) => Worth::Number(list.len() as f64),
        ("array_length" | "array_upper", [Worth::List(list), Worth::Number(1.0)]) => match list.len() {
            0 => Worth::Null,
            length => Worth::Number(length as f64),
        },
        ("array_ndims" | "array_lower", [Worth::List(list), ..]) => match list.len() {
            0 => Worth::Null,
            _ => Worth::Number(1.0),
        },
        ("array_to_string", [Worth::List(list), Worth::Text(by), ..]) => {
            let texts: Option<Vec<String>> =
                list.iter().filter(|one| **one != Worth::Null).map(text_of).collect();
            Worth::Text(texts?.join(by))
        }
        ("array_remove", [Worth::List(list), one]) => {
            Worth::List(list.iter().filter(|other| !equal(one, other)).cloned().collect())
        }
        ("jsonb_typeof" | "json_typeof", [worth]) => Worth::Text(document::kind(worth)?.to_owned()),
        ("jsonb_array_length" | "json_array_length", [Worth::Document(document)]) => {
            Worth::Number(document.as_array()?.len() as f64)
        }
        ("jsonb_exists", [document, key]) => binary("?", document.clone(), key.clone()),
        ("to_char", [of, Worth::Text(form)]) => Worth::Text(instant::in_form(of, form)?),
        ("date_part" | "extract", [Worth::Text(field), of]) => part_of(field, of),
        ("date_trunc", [Worth::Text(field), of, ..]) => truncated(field, of),
        _ => return None,
    })
}

/// The lower or upper end of a range as the server writes it; NULL where it has none.
fn end_of_range(which: &str, range: &str) -> Option<Worth> {
    let inner = range.get(1..range.len().checked_sub(1)?)?;
    let (lower, upper) = inner.split_once(',')?;
    let end = if which == "lower" { lower } else { upper }.trim_matches('"');
    Some(if end.is_empty() { Worth::Null } else { Worth::Text(end.to_owned()) })
}
