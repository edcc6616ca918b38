//! Suggests a materialized view or partitions, where the workload shows that they would do what no index
//! does.
//!
//! Both change how a service is written and run, so neither is a statement to run as it is: each says
//! why, what it costs, and how it is begun.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::catalog::{Catalog, Table};
use super::condition::{Classifier, Use};
use super::plan::{Reading, number};
use super::suggestion::Suggestion;
use super::workload::Query;

/// A statement that reads fewer rows is quick enough without a view.
const FEWEST_READ: f64 = 100_000.0;
/// How many rows it reads for each that it returns, at least.
const READ_FOR_EACH: f64 = 100.0;
/// A view that is refreshed each hour must be asked more often than that, at least.
const FEWEST_CALLS_A_DAY: f64 = 48.0;
/// Smaller tables are vacuumed, indexed and emptied well as they are.
const SMALLEST_PARTITIONED: f64 = 10.0 * 1024.0 * 1024.0 * 1024.0;
/// The part of a table's statements that must name a range of the column.
const MOST_STATEMENTS: f64 = 0.5;
/// How far the rows lie in the order of the column.
const IN_ORDER: f64 = 0.9;

/// A change that a person has to think about: a materialized view, or partitions.
///
/// ```no_run
/// # fn show(advice: &db_insight::indexes::Advice) {
/// for one in &advice.larger_changes {
///     println!("{} for {}: {}; {}", one.kind, one.tables.join(", "), one.why, one.how);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LargerChange {
    /// `materialized_view` or `partitioning`.
    pub kind: &'static str,
    /// The statements that it is for.
    pub cases: Vec<Value>,
    /// The tables that it is about.
    pub tables: Vec<String>,
    /// What the workload shows.
    pub why: String,
    /// How it is begun.
    pub how: String,
    /// The part of these statements' cost that it saves, 0 to 1; none where that is not only a matter of
    /// cost.
    pub gain: Option<f64>,
    /// What it costs, and what must be changed with it.
    pub notes: Vec<String>,
}

/// How much a statement reads, and what is left of it once it is grouped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    read: f64,
    returned: f64,
}

/// Of a plan whose result is groups of what it reads, the same for everybody; none of others.
pub(crate) fn summary(plan: &Value) -> Option<Summary> {
    let mut node = plan;
    loop {
        match node.get("Node Type")?.as_str()? {
            "Aggregate" | "Group" => break,
            "Limit" | "Sort" | "Incremental Sort" | "Result" | "Gather" | "Gather Merge"
            | "Subquery Scan" | "WindowAgg" => {
                // What is asked once beforehand stands among its children.
                let below = node.get("Plans")?.as_array()?;
                node = below.iter().find(|child| {
                    let how = child.get("Parent Relationship").and_then(Value::as_str);
                    !matches!(how, Some("InitPlan" | "SubPlan"))
                })?;
            }
            _ => return None,
        }
    }
    // What depends on a parameter, on the moment or on who asks is another result each time.
    let text = node.to_string();
    let depends = text.split('$').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let depends =
        depends || ["now()", "CURRENT_", "LOCALTIME", "SESSION_USER"].iter().any(|it| text.contains(it));
    let read = largest_scan(node, 0);
    (!depends && read > 0.0).then(|| Summary { read, returned: number(node, "Plan Rows").max(1.0) })
}

/// Deeper plans are not read.
const DEEPEST: usize = 300;

fn largest_scan(node: &Value, depth: usize) -> f64 {
    let below = node.get("Plans").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_scan = node.get("Relation Name").is_some();
    if is_scan || depth > DEEPEST {
        return if is_scan { number(node, "Plan Rows") } else { 0.0 };
    }
    let sums = matches!(node.get("Node Type").and_then(Value::as_str), Some("Append" | "Merge Append"));
    let each = below.iter().map(|child| largest_scan(child, depth + 1));
    if sums { each.sum() } else { each.fold(0.0, f64::max) }
}

/// What the workload as a whole would gain from.
pub(crate) fn of_workload(
    catalog: &Catalog,
    read: &[(Query, Reading)],
    suggestions: &[Suggestion],
) -> Vec<LargerChange> {
    let views = read.iter().filter(|(query, _)| {
        // An index that does it is less trouble.
        !suggestions.iter().any(|one| one.case == query.id && one.gain >= 0.5)
    });
    let mut found: Vec<LargerChange> =
        views.filter_map(|(query, reading)| materialized_view(catalog, query, reading)).collect();
    found.extend(catalog.tables.iter().filter_map(|table| partitioning(catalog, table, read)));
    found
}

fn materialized_view(catalog: &Catalog, query: &Query, reading: &Reading) -> Option<LargerChange> {
    let Summary { read, returned } = reading.summary?;
    let calls = query.calls_per_day?;
    if read < FEWEST_READ || read / returned < READ_FOR_EACH || calls < FEWEST_CALLS_A_DAY {
        return None;
    }
    let tables: BTreeMap<i64, &Table> = reading
        .scans
        .iter()
        .filter_map(|scan| catalog.table(&scan.schema, &scan.table))
        .map(|table| catalog.whole(table))
        .map(|table| (table.oid, table))
        .collect();
    let volatile = reading.scans.iter().any(|scan| {
        let table = catalog.table(&scan.schema, &scan.table);
        let classifier = table.map(|table| Classifier { catalog, table, alias: &scan.alias });
        scan.conditions.iter().any(|expr| classifier.as_ref().is_none_or(|one| one.is_volatile(expr)))
    });
    if tables.is_empty() || volatile || !reading.writes.is_empty() {
        return None;
    }
    let mut notes = vec![
        "it answers with what was true at its last refresh: whoever asks must be content with that"
            .to_owned(),
    ];
    if let Some(days) = catalog.window_days.filter(|days| *days >= 1.0) {
        let writes: f64 = tables.values().map(|table| (table.inserts + table.updates) / days).sum();
        notes.push(format!("its tables are written {writes:.0} times a day"));
    }
    let hourly = 1.0 - 24.0 / calls;
    let rows_cost = returned * catalog.costs.cpu_tuple + catalog.costs.random_page;
    let gain = (hourly - rows_cost / reading.cost.max(1.0)).clamp(0.0, 1.0);
    if gain < 0.5 {
        return None;
    }
    Some(LargerChange {
        kind: "materialized_view",
        cases: vec![query.id.clone()],
        tables: tables.values().map(|table| table.shown.clone()).collect(),
        why: format!(
            "it reads {read:.0} rows to return {returned:.0}, the same for everybody, {calls:.0} times \
             a day, and no index spares that"
        ),
        how: "CREATE MATERIALIZED VIEW … AS the statement without its ORDER BY and LIMIT; a unique \
              index on what it groups by; REFRESH MATERIALIZED VIEW CONCURRENTLY once an hour, which \
              costs as much as the statement does now"
            .to_owned(),
        gain: Some((gain * 1e4).round() / 1e4),
        notes,
    })
}

fn partitioning(catalog: &Catalog, table: &Table, read: &[(Query, Reading)]) -> Option<LargerChange> {
    let bytes = table.pages * 8192.0;
    if table.kind != "r" || table.root.is_some() || bytes < SMALLEST_PARTITIONED {
        return None;
    }
    // How many statements name a range of each column of time, and how many read the table at all.
    let (mut of, mut all) = (BTreeMap::<&str, (Vec<Value>, bool)>::new(), 0_usize);
    for (query, reading) in read {
        let scans =
            reading.scans.iter().filter(|scan| scan.schema == table.schema && scan.table == table.name);
        let mut ranges: BTreeSet<String> = BTreeSet::new();
        let mut is_read = false;
        for scan in scans {
            is_read = true;
            let classifier = Classifier { catalog, table, alias: &scan.alias };
            let uses = scan.conditions.iter().flat_map(|expr| classifier.condition(expr).uses);
            ranges.extend(uses.filter_map(|one| match one {
                Use::Range { key } => key.column,
                _ => None,
            }));
        }
        all += usize::from(is_read);
        let is_removed = reading.deletes.iter().any(|one| one.0 == table.schema && one.1 == table.name);
        for column in table.columns.iter().filter(|column| ranges.contains(&column.name)) {
            let (cases, removes) = of.entry(column.name.as_str()).or_default();
            cases.push(query.id.clone());
            *removes |= is_removed;
        }
    }
    let is_time = |name: &str| {
        let column = table.column(name);
        let kind = column.map(|column| column.kind.as_str()).unwrap_or_default();
        let in_order = column.and_then(|column| column.correlation).is_some_and(|it| it.abs() >= IN_ORDER);
        in_order && (kind == "date" || kind.starts_with("timestamp"))
    };
    let (column, (cases, removes)) = of
        .into_iter()
        .filter(|(name, _)| is_time(name))
        .max_by_key(|(_, (cases, removes))| (*removes, cases.len()))?;
    if !removes && (cases.len() as f64) < MOST_STATEMENTS * all as f64 {
        return None;
    }
    let what =
        if removes { "rows are removed by a range of it" } else { "most statements read a range of it" };
    let mut notes: Vec<String> = table
        .indexes
        .iter()
        .filter(|index| index.unique && index.keys.iter().all(|key| key.text != column))
        .map(|index| {
            format!("{} must take {column} in: a key of a partitioned table holds its column", index.shown)
        })
        .collect();
    if catalog.foreign_keys.iter().any(|key| key.referenced == table.oid) {
        notes.push("other tables refer to it: their foreign keys need the new key".to_owned());
    }
    Some(LargerChange {
        kind: "partitioning",
        cases,
        tables: vec![table.shown.clone()],
        why: format!(
            "{:.0} GiB lie in the order of {column}, and {what}: a partition is dropped at once, and \
             the others are not read",
            bytes / (1024.0 * 1024.0 * 1024.0)
        ),
        how: format!("dbctl partitions convert {} --by {column} --every month --plan", table.shown),
        gain: None,
        notes,
    })
}
