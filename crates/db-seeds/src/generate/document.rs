//! Looks into documents, and changes them: the operators of jsonb that conditions use.

use serde_json::{Map, Value};

use super::expression::Expression;
use super::worth::{Values, Worth, text_of};

/// A part of a document: its column, and the names and places on the way to it.
pub(crate) struct Path<'a> {
    pub(crate) column: &'a str,
    pub(crate) steps: Vec<String>,
}

/// The part that `column -> 'a' ->> 'b'` or `column #>> '{a,b}'` names.
pub(crate) fn path<'a>(part: &'a Expression, row: &dyn Values) -> Option<Path<'a>> {
    match part {
        Expression::Column(column) => Some(Path { column, steps: Vec::new() }),
        Expression::Binary(operator, left, right) => {
            let mut found = path(left, row)?;
            let steps = right.worth(row);
            match operator.as_str() {
                "->" | "->>" => found.steps.push(text_of(&steps)?),
                "#>" | "#>>" => found.steps.extend(texts(&steps)?),
                _ => return None,
            }
            Some(found)
        }
        Expression::Cast(part, _) => path(part, row),
        _ => None,
    }
}

/// A value as a document.
pub(crate) fn of(worth: &Worth) -> Option<Value> {
    match worth {
        Worth::Document(document) => Some(document.clone()),
        Worth::Text(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// The texts of a list, or of an array that is written as text.
pub(crate) fn texts(worth: &Worth) -> Option<Vec<String>> {
    super::worth::list(worth.clone())?.iter().map(text_of).collect()
}

fn step<'a>(document: &'a Value, step: &str) -> Option<&'a Value> {
    match document {
        Value::Object(map) => map.get(step),
        Value::Array(list) => {
            let at: i64 = step.parse().ok()?;
            list.get(usize::try_from(if at < 0 { at + list.len() as i64 } else { at }).ok()?)
        }
        _ => None,
    }
}

/// `document operator name`, for `?`, `?&`, `?|`, `->`, `->>`, `#>` and `#>>`.
pub(crate) fn part(operator: &str, document: &Worth, name: &Worth) -> Worth {
    let Some(document) = of(document) else { return Worth::Unknown };
    let has = |name: &str| match &document {
        Value::Object(map) => map.contains_key(name),
        Value::Array(list) => list.iter().any(|one| one.as_str() == Some(name)),
        Value::String(text) => text == name,
        _ => false,
    };
    match operator {
        "?" => return text_of(name).map_or(Worth::Unknown, |name| Worth::Boolean(has(&name))),
        "?&" | "?|" => {
            let Some(names) = texts(name) else { return Worth::Unknown };
            let found = match operator {
                "?&" => names.iter().all(|name| has(name)),
                _ => names.iter().any(|name| has(name)),
            };
            return Worth::Boolean(found);
        }
        _ => {}
    }
    let steps = if operator.starts_with('#') { texts(name) } else { text_of(name).map(|name| vec![name]) };
    let Some(steps) = steps else { return Worth::Unknown };
    let found = steps.iter().try_fold(&document, |document, name| step(document, name));
    match found {
        None => Worth::Null,
        Some(value) if !operator.ends_with(">>") => Worth::Document(value.clone()),
        Some(Value::Null) => Worth::Null,
        Some(Value::String(text)) => Worth::Text(text.clone()),
        Some(value) => Worth::Text(value.to_string()),
    }
}

/// Whether a document has all of another one in it.
pub(crate) fn contains(whole: &Worth, part: &Worth) -> Worth {
    match (of(whole), of(part)) {
        (Some(whole), Some(part)) => Worth::Boolean(has_within(&whole, &part)),
        _ => Worth::Unknown,
    }
}

fn has_within(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| has_within(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| has_within(whole, part)))
        }
        (Value::Array(whole), part) => whole.contains(part),
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        (whole, part) => whole == part,
    }
}

/// The name that `jsonb_typeof` has for it.
pub(crate) fn kind(worth: &Worth) -> Option<&'static str> {
    Some(match of(worth)? {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
        Value::Number(_) => "number",
    })
}

/// The document with this value at the end of a way, or without what is there. What is on the way is made.
pub(crate) fn with(document: Option<&str>, steps: &[String], value: Option<Value>) -> String {
    let parsed = document.and_then(|document| serde_json::from_str(document).ok());
    let mut document: Value = parsed.unwrap_or_else(|| Value::Object(Map::new()));
    change(&mut document, steps, value);
    document.to_string()
}

fn change(document: &mut Value, steps: &[String], value: Option<Value>) {
    let Some((first, rest)) = steps.split_first() else {
        *document = value.unwrap_or(Value::Null);
        return;
    };
    let place: Option<usize> = first.parse().ok();
    let fits = document.is_object() || (document.is_array() && place.is_some());
    if !fits {
        let empty = if place.is_some() { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
        *document = empty;
    }
    match document {
        Value::Object(map) if rest.is_empty() => {
            _ = match value {
                Some(value) => map.insert(first.clone(), value),
                None => map.remove(first),
            };
        }
        Value::Object(map) => change(map.entry(first.clone()).or_insert(Value::Null), rest, value),
        Value::Array(list) => {
            let place = place.unwrap_or_default().min(100);
            while list.len() <= place {
                list.push(Value::Null);
            }
            change(&mut list[place], rest, value);
        }
        _ => {}
    }
}

/// A document with all of another one in it: names are added, elements too.
pub(crate) fn merged(document: &Value, part: &Value) -> Value {
    match (document, part) {
        (Value::Object(document), Value::Object(part)) => {
            let mut merged = document.clone();
            for (name, part) in part {
                let with = document.get(name).map_or_else(|| part.clone(), |has| self::merged(has, part));
                merged.insert(name.clone(), with);
            }
            Value::Object(merged)
        }
        (Value::Array(document), Value::Array(part)) => {
            let mut merged = document.clone();
            merged.extend(part.iter().filter(|part| !document.contains(part)).cloned());
            Value::Array(merged)
        }
        (_, part) => part.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_looked_into_and_changed() {
        let text = |text: &str| Worth::Text(text.to_owned());
        let way = |way: &str| way.split('.').map(str::to_owned).collect::<Vec<_>>();
        let document = with(Some(r#"{"a": 1}"#), &way("type"), Some(Value::from("b")));
        assert_eq!(part("?", &text(&document), &text("type")), Worth::Boolean(true));
        assert_eq!(part("->>", &text(&document), &text("type")), text("b"));
        assert_eq!(part("->>", &text(&document), &text("a")), text("1"));
        assert_eq!(part("->>", &text(&document), &text("none")), Worth::Null);
        assert_eq!(with(Some(&document), &way("a"), None), r#"{"type":"b"}"#);
        assert_eq!(with(None, &way("a"), Some(Value::from(2))), r#"{"a":2}"#);
        let deep = with(Some("7"), &way("a.0.b"), Some(Value::from("c")));
        assert_eq!(deep, r#"{"a":[{"b":"c"}]}"#);
        assert_eq!(part("#>>", &text(&deep), &text("{a,0,b}")), text("c"));
        assert_eq!(part("?&", &text(&deep), &text("{a,b}")), Worth::Boolean(false));
        assert_eq!(contains(&text(&deep), &text(r#"{"a":[{}]}"#)), Worth::Boolean(true));
        let both = merged(&serde_json::json!({"a": [1]}), &serde_json::json!({"a": [2], "b": {}}));
        assert_eq!(both, serde_json::json!({"a": [1, 2], "b": {}}));
    }
}
