//! What PostgreSQL's text format calls a node.

use super::node::Node;

/// As the text format of EXPLAIN names the node.
pub(super) fn label(node: &Node) -> String {
    let mut label = String::new();
    if node.fields.flag("Parallel Aware") {
        label += "Parallel ";
    }
    if node.fields.flag("Async Capable") {
        label += "Async ";
    }
    label += &name(node);
    if node.is_index_scan() {
        if node.fields.text("Scan Direction") == Some("Backward") {
            label += " Backward";
        }
        if let Some(index) = &node.index {
            label += &format!(" using {}", quoted(index));
        }
    }
    if node.is("Bitmap Index Scan") {
        if let Some(index) = &node.index {
            label += &format!(" on {}", quoted(index));
        }
        return label;
    }
    label + &target(node)
}

fn name(node: &Node) -> String {
    let field = |name: &str| node.fields.text(name).unwrap_or_default();
    match node.kind.as_str() {
        "Aggregate" => {
            let mode = match field("Partial Mode") {
                "Partial" => "Partial ",
                "Finalize" => "Finalize ",
                _ => "",
            };
            let strategy = match field("Strategy") {
                "Sorted" => "Group",
                "Hashed" => "Hash",
                "Mixed" => "Mixed",
                _ => "",
            };
            format!("{mode}{strategy}Aggregate")
        }
        "SetOp" => {
            let strategy = if field("Strategy") == "Hashed" { "Hash" } else { "" };
            format!("{strategy}SetOp {}", field("Command")).trim_end().to_owned()
        }
        kind @ ("Hash Join" | "Merge Join") => match field("Join Type") {
            "" | "Inner" => kind.to_owned(),
            join => kind.replace(" Join", &format!(" {join} Join")),
        },
        "Nested Loop" => match field("Join Type") {
            "" | "Inner" => "Nested Loop".to_owned(),
            join => format!("Nested Loop {join} Join"),
        },
        "ModifyTable" if !field("Operation").is_empty() => field("Operation").to_owned(),
        "Foreign Scan" if !matches!(field("Operation"), "" | "Select") => {
            format!("Foreign {}", field("Operation"))
        }
        "Custom Scan" => format!("Custom Scan ({})", field("Custom Plan Provider")),
        kind => kind.to_owned(),
    }
}

/// ` on big b`: the object, and what the statement calls it where that is another name.
fn target(node: &Node) -> String {
    let object = node.relation.as_deref().or_else(|| {
        ["Function Name", "Table Function Name", "CTE Name", "Tuplestore Name"]
            .into_iter()
            .find_map(|field| node.fields.text(field))
    });
    let alias = node.alias.as_deref();
    let schema = node.schema.as_deref().filter(|_| object.is_some());
    let Some(first) = object.or(alias) else { return String::new() };
    let mut target = String::from(" on ");
    if let Some(schema) = schema {
        target += &format!("{}.", quoted(schema));
    }
    target += &quoted(first);
    if let Some(alias) = alias.filter(|alias| *alias != first) {
        target += &format!(" {}", quoted(alias));
    }
    target
}

/// A name as SQL has it.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.chars().all(|next| next.is_ascii_lowercase() || next.is_ascii_digit() || next == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
