//! Names of tables and columns in Rust, by diesel's rule: what is no identifier becomes one.

use std::collections::BTreeSet;

/// Words that cannot name a table or a column in Rust: keywords, and three that `table!` takes for itself.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "_", "abstract", "as", "async", "await", "become", "box", "break", "columns", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "if", "impl", "in", "is_nullable",
    "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "Self",
    "self", "static", "struct", "super", "table", "trait", "true", "try", "type", "typeof", "unsafe", "unsized",
    "use", "virtual", "where", "while", "yield",
];

/// A name in Rust; `table` is that of the table whose column it is.
pub(super) fn rust_name(sql_name: &str, table: Option<&str>) -> String {
    let mut name = mapped(sql_name);
    if is_reserved(&name) {
        name.push('_');
    }
    // The table may have got one, too.
    if table == Some(&name) { name + "_" } else { name }
}

/// The names of all in Rust, each another one: where diesel's rule gives two the same, the later one gets
/// underscores.
pub(super) fn rust_names<'a>(sql_names: impl Iterator<Item = &'a str>, table: Option<&str>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let name = |sql_name| {
        let mut name = rust_name(sql_name, table);
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        name
    };
    sql_names.map(name).collect()
}

/// Whether a name is the same in Rust: only such a schema can be named in `table!`.
pub(super) fn is_identifier(name: &str) -> bool {
    !name.is_empty() && rust_name(name, None) == name
}

/// One that ends with an underscore is never reserved, so that one more always helps.
fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.is_empty() || (name.starts_with("__") && !name.ends_with('_'))
}

/// Each run of characters that Rust's names do not have becomes an underscore.
fn mapped(name: &str) -> String {
    let mut mapped = String::new();
    let mut was_underscore = false;
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        mapped.push('_');
        was_underscore = true;
    }
    for one in name.chars() {
        if one.is_ascii_alphanumeric() || one == '_' {
            mapped.push(one);
            was_underscore = false;
        } else {
            if !was_underscore {
                mapped.push('_');
            }
            was_underscore = true;
        }
    }
    mapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers_as_with_diesel() {
        let names =
            ["id", "type", "Self", "_", "__a", "__a_", "2fa", "a-b", "a - b", "naïve", "-", "columns", "ß"];
        let shown: Vec<String> = names.iter().map(|name| rust_name(name, None)).collect();
        insta::assert_snapshot!(
            shown.join(" "),
            @"id type_ Self_ __ __a_ __a_ _2fa a_b a_b na_ve __ columns_ __"
        );
        assert_eq!(rust_name("people", Some("people")), "people_");
        assert_eq!(rust_name("type", Some("type_")), "type__");
        assert!(is_identifier("app") && !is_identifier("my app") && !is_identifier("type"));
    }

    #[test]
    fn two_names_never_become_one() {
        assert_eq!(
            rust_names(["a b", "a-b", "a_b", "a_b_"].into_iter(), None),
            ["a_b", "a_b_", "a_b__", "a_b___"]
        );
    }
}
