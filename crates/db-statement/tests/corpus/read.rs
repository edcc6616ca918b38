//! Reads the corpora: blocks of lines that an empty line sets apart, without comments.

/// The blocks of a corpus; `\n` and `\t` in a line stand for what they stand for elsewhere.
pub(crate) fn blocks(text: &str) -> Vec<Vec<String>> {
    let line = |line: &str| line.replace("\\n", "\n").replace("\\t", "\t");
    let block = |block: &str| block.lines().filter(|one| !one.starts_with("--")).map(line).collect();
    text.split("\n\n").map(block).filter(|block: &Vec<String>| !block.is_empty()).collect()
}

/// The first line of each block with each other one.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let of = |block: Vec<String>| {
        let first = block[0].clone();
        block.into_iter().skip(1).map(move |other| (first.clone(), other)).collect::<Vec<_>>()
    };
    blocks(text).into_iter().flat_map(of).collect()
}

/// Pairs with the same fingerprint.
pub(crate) const EQUAL: &str = include_str!("equal.sql");

/// Pairs with different ones.
pub(crate) const DIFFERENT: &str = include_str!("different.sql");
