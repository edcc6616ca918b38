//! What did not fit into memory and went to disk: sorts, hash tables, aggregates, intermediate rows.

use super::view::View;
use super::{Tip, TipCode};
use crate::plan::{Fields, Node, count};

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    for (at, node) in view.nodes() {
        let tip = match node.kind.as_str() {
            "Sort" | "Incremental Sort" => sort(view, at, node),
            "Hash" => hash(view, at, node),
            "Aggregate" => aggregate(view, at, node),
            _ => tuplestore(view, at, node),
        };
        tips.extend(tip);
    }
}

/// The next power of two, in megabytes, from 4 to 65,536.
pub(super) fn next_size(megabytes: f64) -> u64 {
    let mut size = 4;
    while (size as f64) < megabytes && size < 65_536 {
        size *= 2;
    }
    size
}

fn megabytes(kilobytes: f64) -> String {
    if kilobytes < 1024.0 { format!("{kilobytes:.0} kB") } else { format!("{:.1} MB", kilobytes / 1024.0) }
}

fn sort(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let own = std::iter::once(&node.fields).chain(&node.workers);
    let disk: f64 = own.map(disk_of_sort).sum();
    if disk <= 0.0 {
        return None;
    }
    let evidence = format!("sorts {} rows on disk: {}", count(node.total_rows()), megabytes(disk));
    // In memory a row takes about twice what it takes on disk.
    let each = disk / node.loops().max(1.0);
    let size = next_size((each * 2.2).max(node.total_rows() / node.loops().max(1.0) * 0.06) / 1024.0);
    let keys: Vec<&str> =
        node.fields.texts().filter(|(field, _)| *field == "Sort Key").map(|(_, text)| text).collect();
    let order = crate::plan::masked(&keys.join(", "));
    let fix = format!(
        "an index in the order of {order}, fewer or narrower rows, or SET LOCAL work_mem = '{size}MB'"
    );
    view.tip(TipCode::DiskSort, at, view.own(at), evidence, fix)
}

fn disk_of_sort(fields: &Fields) -> f64 {
    let plain = match fields.text("Sort Space Type") {
        Some("Disk") => fields.number("Sort Space Used").unwrap_or_default(),
        _ => 0.0,
    };
    let groups =
        ["Full-sort Groups", "Pre-sorted Groups"].into_iter().filter_map(|group| fields.value(group));
    let spaces =
        groups.filter_map(|group| group.get("Sort Space Disk")?.get("Peak Sort Space Used")?.as_f64());
    plain + spaces.sum::<f64>()
}

fn hash(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let batches = node.fields.number("Hash Batches")?;
    if batches <= 1.0 {
        return None;
    }
    let original = node.fields.number("Original Hash Batches").unwrap_or(batches);
    let peak = node.fields.number("Peak Memory Usage").unwrap_or_default();
    let grew = if original < batches { format!(", planned were {}", count(original)) } else { String::new() };
    let evidence = format!(
        "the hash table of {} rows went to disk in {} batches{grew}",
        count(node.total_rows()),
        count(batches)
    );
    let size = next_size(peak * batches * 1.2 / 1024.0);
    let fix = format!(
        "SET LOCAL work_mem = '{size}MB' (or hash_mem_multiplier) for this query, or join fewer or narrower rows"
    );
    let join = node.parent.map_or(0.0, |parent| view.own(parent));
    view.tip(TipCode::HashBatchesSpill, at, view.own(at) + join, evidence, fix)
}

fn aggregate(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let every = || std::iter::once(&node.fields).chain(&node.workers);
    let sum = |field: &str| every().filter_map(|fields| fields.number(field)).sum::<f64>();
    let batches = every().filter_map(|fields| fields.number("HashAgg Batches")).fold(0.0, f64::max);
    let disk = sum("Disk Usage");
    if batches <= 1.0 && disk <= 0.0 {
        return None;
    }
    let evidence = format!("the groups went to disk in {} batches: {}", count(batches), megabytes(disk));
    let each = every().filter_map(|fields| fields.number("Disk Usage")).fold(0.0, f64::max);
    let peak = every().filter_map(|fields| fields.number("Peak Memory Usage")).fold(0.0, f64::max);
    let size = next_size((peak + each * 2.0) / 1024.0);
    let fix = format!(
        "SET LOCAL work_mem = '{size}MB' (or hash_mem_multiplier) for this query, or an index in the order of the groups"
    );
    view.tip(TipCode::HashaggSpill, at, view.own(at), evidence, fix)
}

/// Rows that are kept to be read again. Since 18 the server says where; before, what was written tells.
fn tuplestore(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let keeps = matches!(
        node.kind.as_str(),
        "Materialize"
            | "CTE Scan"
            | "WindowAgg"
            | "Recursive Union"
            | "Function Scan"
            | "Table Function Scan"
    );
    if !keeps {
        return None;
    }
    let pages = |of: &Node| of.fields.number("Temp Written Blocks").unwrap_or_default();
    // What a CTE writes is counted at its scan.
    let below: f64 = node.children.iter().filter_map(|child| view.node(*child)).map(pages).sum();
    let kilobytes = match node.fields.text("Storage") {
        Some("Disk") => node.fields.number("Maximum Storage").unwrap_or_default(),
        Some(_) => return None,
        None => (pages(node) - below) * 8.0,
    };
    if kilobytes < 1024.0 || node.is("CTE Scan") && node.fields.text("Storage").is_none() {
        return None;
    }
    let evidence = format!("rows to be read again went to disk: {}", megabytes(kilobytes));
    let size = next_size(kilobytes * 1.5 / 1024.0);
    let fix = format!("keep fewer or narrower rows, or SET LOCAL work_mem = '{size}MB'");
    view.tip(TipCode::TuplestoreOnDisk, at, view.own(at), evidence, fix)
}
