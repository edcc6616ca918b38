//! Looks into documents, and changes them: the operators of jsonb that conditions use.

use serde_json::{Map, Value};

use super::worth::Worth;

/// `document operator name`, for `?`, `->` and `->>`.
pub(crate) fn part(operator: &str, document: &Worth, name: &Worth) -> Worth {
    let (Worth::Text(document), Worth::Text(name)) = (document, name) else { return Worth::Unknown };
    let Ok(parsed) = serde_json::from_str::<Value>(document) else { return Worth::Unknown };
    match (operator, parsed.get(name)) {
        ("?", found) => Worth::Boolean(found.is_some()),
        (_, None) => Worth::Null,
        ("->>", Some(Value::Null)) => Worth::Null,
        ("->>", Some(Value::String(text))) => Worth::Text(text.clone()),
        (_, Some(value)) => Worth::Text(value.to_string()),
    }
}

/// The document with this value under this name, or without the name.
pub(crate) fn with(document: Option<&str>, name: &str, value: Option<Value>) -> String {
    let parsed = document.and_then(|document| serde_json::from_str(document).ok());
    let mut map = match parsed {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    match value {
        Some(value) => map.insert(name.to_owned(), value),
        None => map.remove(name),
    };
    Value::Object(map).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_looked_into_and_changed() {
        let text = |text: &str| Worth::Text(text.to_owned());
        let document = with(Some(r#"{"a": 1}"#), "type", Some(Value::from("b")));
        assert_eq!(part("?", &text(&document), &text("type")), Worth::Boolean(true));
        assert_eq!(part("->>", &text(&document), &text("type")), text("b"));
        assert_eq!(part("->>", &text(&document), &text("a")), text("1"));
        assert_eq!(part("->>", &text(&document), &text("none")), Worth::Null);
        assert_eq!(with(Some(&document), "a", None), r#"{"type":"b"}"#);
        assert_eq!(with(None, "a", Some(Value::from(2))), r#"{"a":2}"#);
    }
}
