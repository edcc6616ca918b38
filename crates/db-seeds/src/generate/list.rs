//! Arrays as the server writes them: `{a,"b c",NULL}`.

/// The elements of an array of one dimension, `None` for NULL; nothing where the text is none.
pub(crate) fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (mut found, mut part, mut quoted) = (Vec::new(), String::new(), false);
    if inner.trim().is_empty() {
        return Some(found);
    }
    let (mut in_quotes, mut characters) = (false, inner.chars());
    let end = |part: &mut String, quoted: &mut bool, found: &mut Vec<Option<String>>| {
        let text = std::mem::take(part);
        found.push((*quoted || !text.eq_ignore_ascii_case("null")).then_some(text));
        *quoted = false;
    };
    while let Some(c) = characters.next() {
        match c {
            '\\' => part.push(characters.next()?),
            '"' => (in_quotes, quoted) = (!in_quotes, true),
            ',' if !in_quotes => end(&mut part, &mut quoted, &mut found),
            '{' | '}' if !in_quotes => return None,
            c => part.push(c),
        }
    }
    end(&mut part, &mut quoted, &mut found);
    (!in_quotes).then_some(found)
}

/// The text of an array.
pub(crate) fn text(elements: &[Option<String>]) -> String {
    let texts = elements.iter().map(|element| match element {
        Some(text) => in_quotes(text),
        None => "NULL".to_owned(),
    });
    format!("{{{}}}", texts.collect::<Vec<_>>().join(","))
}

/// A text in quotes, as arrays and composite values have them.
pub(crate) fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_read_as_it_is_written() {
        let some = |text: &str| Some(text.to_owned());
        for list in [vec![], vec![some("a")], vec![some("a b"), None, some("NULL"), some("q\"\\,{}")]] {
            assert_eq!(elements(&text(&list)), Some(list));
        }
        assert_eq!(elements("{a,b}"), Some(vec![some("a"), some("b")]));
        assert_eq!(elements("{{1,2},{3,4}}"), None);
        assert_eq!(elements("a"), None);
    }
}
