//! Lays out what rustfmt lays out, with its default settings, so that none is needed.

/// The last column of an attribute that stays in one line.
const ATTRIBUTE: usize = 99;

/// The last column of a derive that stays in one line.
const DERIVE: usize = 96;

/// The last column of a macro's call that stays in one line, with its semicolon.
const CALL: usize = 101;

/// The last column of a list of short words that fills its lines.
const FILLED: usize = 99;

/// So long a word may be for the list to fill its lines.
const SHORT: usize = 10;

/// `#[derive(…)]`, indented by so many spaces.
pub(super) fn derive(derives: &[String], indent: usize) -> String {
    let (space, list) = (" ".repeat(indent), derives.join(", "));
    let line = format!("{space}#[derive({list})]\n");
    if width(&line) <= DERIVE {
        return line;
    }
    let whole = format!("{space}    {list},\n");
    let lines = if width(&whole) <= CALL {
        whole
    } else {
        derives.iter().map(|one| format!("{space}    {one},\n")).collect()
    };
    format!("{space}#[derive(\n{lines}{space})]\n")
}

/// `#[diesel(postgres_type(…))]`, indented by so many spaces.
pub(super) fn postgres_type(parts: &[String], indent: usize) -> String {
    let space = " ".repeat(indent);
    let line = format!("{space}#[diesel(postgres_type({}))]\n", parts.join(", "));
    if width(&line) <= ATTRIBUTE {
        return line;
    }
    let lines: Vec<String> = parts.iter().map(|part| format!("{space}    {part}")).collect();
    format!("{space}#[diesel(postgres_type(\n{}\n{space}))]\n", lines.join(",\n"))
}

/// A call of a macro with a list of names, indented by so many spaces.
pub(super) fn call(name: &str, words: &[&str], indent: usize) -> String {
    let space = " ".repeat(indent);
    let line = format!("{space}{name}!({},);\n", words.join(", "));
    if width(&line) <= CALL {
        return line;
    }
    let mut lines = vec![format!("{space}{name}!(")];
    if words.iter().all(|word| word.len() <= SHORT) {
        let mut line = format!("{space}   ");
        for word in words {
            if line.len() + word.len() + 2 > FILLED {
                lines.push(std::mem::replace(&mut line, format!("{space}   ")));
            }
            line.push_str(&format!(" {word},"));
        }
        lines.push(line);
    } else {
        lines.extend(words.iter().map(|word| format!("{space}    {word},")));
    }
    lines.push(format!("{space});\n"));
    lines.join("\n")
}

fn width(line: &str) -> usize {
    line.trim_end_matches('\n').chars().count()
}
