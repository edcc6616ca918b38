//! The width of comments and of prose: what is longer than a line of code may be is hard to read beside it.
//!
//! rustfmt sees to code. Tables, blocks of code, addresses and what a program writes are as wide as they are.

/// As wide as rustfmt's `max_width`.
pub(crate) const WIDEST: usize = 110;

/// Pages that a program writes, and that a test compares with it.
const WRITTEN: [&str; 5] = [
    "docs/checks.md",
    "docs/claims.md",
    "docs/configuration.md",
    "docs/migration-rules.md",
    "docs/query-optimization.md",
];

/// The lines that are too wide, counted from 1, each with its width.
pub(crate) fn too_wide(path: &str, text: &str) -> Vec<(usize, usize)> {
    let is_rust = path.ends_with(".rs");
    if !(is_rust || path.ends_with(".md")) || WRITTEN.contains(&path) {
        return Vec::new();
    }
    let (mut found, mut fenced) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        let prose = match is_rust {
            true => comment(line),
            false => Some(line.trim_start()),
        };
        let Some(prose) = prose else {
            fenced = false;
            continue;
        };
        if prose.starts_with("```") {
            fenced = !fenced;
        }
        let width = line.chars().count();
        let may = fenced
            || prose.starts_with(['|', '#', '`'])
            || prose.starts_with("    ")
            || prose.contains("://");
        if width > WIDEST && !may {
            found.push((index + 1, width));
        }
    }
    found
}

/// The words of a line that is a comment as a whole.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let words = ["///", "//!", "//"].iter().find_map(|mark| line.strip_prefix(mark))?;
    Some(words.strip_prefix(' ').unwrap_or(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_as_wide_as_code_and_the_rest_as_it_is() {
        let long = "word ".repeat(30);
        let wide =
            |path: &str, text: &str| too_wide(path, text).iter().map(|(line, _)| *line).collect::<Vec<_>>();
        assert_eq!(
            wide("a.rs", &format!("//! Short.\n    /// {long}x\n// {long}x\nlet a = \"{long}\";\n")),
            [2, 3]
        );
        assert_eq!(
            wide("a.rs", &format!("/// ```\n/// {long}x\n/// ```\n/// | {long}x |\n/// {long}x\n")),
            [5]
        );
        assert_eq!(
            wide("a.rs", &format!("/// ```\nfn f() {{}}\n/// {long}x\n")),
            [3],
            "a fence ends with its comment"
        );
        assert_eq!(
            wide("docs/a.md", &format!("{long}x\n```\n{long}x\n```\n| {long}x |\n- {long}x\n")),
            [1, 6]
        );
        assert_eq!(wide("docs/a.md", &format!("[{long}](https://a.b)\n")), [] as [usize; 0]);
        assert_eq!(wide("docs/claims.md", &format!("{long}x\n")), [] as [usize; 0]);
        assert_eq!(wide("a.toml", &format!("# {long}x\n")), [] as [usize; 0]);
    }
}
