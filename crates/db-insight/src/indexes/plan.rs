//! Where a plan's cost could be saved by an index: its scans, what is sorted above them, and what they are
//! joined with.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::expression::{Column, Expr};
use super::larger_change::{Summary, summary};

/// One scan of a table in a plan.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) alias: String,
    /// What it costs each time, and how often it runs.
    pub(crate) cost: f64,
    pub(crate) loops: f64,
    pub(crate) rows: f64,
    /// What must hold for its rows.
    pub(crate) conditions: Vec<Expr>,
    /// Joins that could look its rows up.
    pub(crate) joins: Vec<Join>,
    /// An order of its rows that would save a sort.
    pub(crate) order: Option<Order>,
    /// `min` or `max` of this, over all its rows.
    pub(crate) extreme: Option<Expr>,
    /// The columns that the statement needs of it.
    pub(crate) needed: BTreeSet<String>,
    /// How many partitions were read; the figures are their sum.
    pub(crate) partitions: usize,
    /// The part of it that a limit above leaves, where nothing sorts between.
    pub(crate) fraction: f64,
    /// The index that it reads now, and whether backward.
    pub(crate) index: Option<(String, bool)>,
    /// Whether it reads by an index, or by several.
    pub(crate) indexed: bool,
}

/// A join that could be a nested loop with this scan inside.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// What it compares.
    pub(crate) conditions: Vec<Expr>,
    /// The rows and the cost of its other side.
    pub(crate) outer_rows: f64,
    pub(crate) outer_cost: f64,
    /// What the join costs now.
    pub(crate) cost: f64,
    pub(crate) loops: f64,
}

/// Rows that are wanted in an order.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) keys: Vec<SortKey>,
    /// What the sort or the limit above it costs now.
    pub(crate) cost: f64,
    pub(crate) loops: f64,
    /// How many rows are wanted of how many; none where all are.
    pub(crate) limit: Option<(f64, f64)>,
    /// What else costs below it, beside the scan: the other sides of joins.
    pub(crate) beside: f64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortKey {
    pub(crate) expr: Expr,
    pub(crate) desc: bool,
    pub(crate) nulls_first: bool,
}

/// All that a plan says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) cost: f64,
    pub(crate) scans: Vec<Scan>,
    /// The names of all indexes that it uses.
    pub(crate) indexes: BTreeSet<String>,
    /// Rows that are removed from which table.
    pub(crate) deletes: Vec<(String, String, f64)>,
    /// Tables that are written, and what is done.
    pub(crate) writes: Vec<(String, String, String)>,
    /// How much it groups, if its result is groups that are the same for everybody.
    pub(crate) summary: Option<Summary>,
}

impl Reading {
    /// Reads what `EXPLAIN (VERBOSE, FORMAT JSON)` gave.
    pub(crate) fn of(answer: &Value) -> Option<Self> {
        let plan = answer.get(0)?.get("Plan")?;
        let mut reading =
            Reading { cost: number(plan, "Total Cost"), summary: summary(plan), ..Reading::default() };
        let mut needed = BTreeMap::new();
        need(plan, &mut needed);
        let mut walker = Walker { reading: &mut reading, needed: &needed };
        walker.walk(plan, &Above { loops: 1.0, ..Above::default() }, 0);
        Some(reading)
    }
}

pub(crate) fn number(node: &Value, name: &str) -> f64 {
    node.get(name).and_then(Value::as_f64).unwrap_or_default()
}

fn text<'a>(node: &'a Value, name: &str) -> &'a str {
    node.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn children(node: &Value) -> &[Value] {
    node.get("Plans").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn expressions(node: &Value, name: &str) -> Vec<Expr> {
    match node.get(name) {
        Some(Value::String(text)) => Expr::parse(text).conjuncts(),
        _ => Vec::new(),
    }
}

/// The columns that each alias must give to the nodes above its scan.
fn need(node: &Value, needed: &mut BTreeMap<String, BTreeSet<String>>) {
    let kind = text(node, "Node Type");
    let passes =
        matches!(kind, "Hash" | "Materialize" | "Gather" | "Gather Merge" | "Limit" | "Memoize" | "LockRows");
    let is_scan = node.get("Relation Name").is_some() && children(node).is_empty();
    let mut take = |value: &Value| {
        for column in value.as_str().map(|text| Expr::parse(text).columns()).unwrap_or_default() {
            needed.entry(column.alias).or_default().insert(column.name);
        }
    };
    for name in [
        "Filter",
        "Index Cond",
        "Recheck Cond",
        "Hash Cond",
        "Merge Cond",
        "Join Filter",
        "One-Time Filter",
        "Order By",
        "TID Cond",
    ] {
        if let Some(value) = node.get(name) {
            take(value);
        }
    }
    for name in ["Sort Key", "Group Key", "Presorted Key"] {
        node.get(name).and_then(Value::as_array).into_iter().flatten().for_each(&mut take);
    }
    if !passes && !is_scan {
        node.get("Output").and_then(Value::as_array).into_iter().flatten().for_each(&mut take);
    }
    children(node).iter().for_each(|child| need(child, needed));
}

/// What stands above a node.
#[derive(Debug, Clone, Default)]
struct Above {
    loops: f64,
    joins: Vec<Join>,
    order: Option<Order>,
    limit: Option<(f64, f64)>,
    extreme: Option<Expr>,
    /// Nothing of what is above can be had from the order of rows here.
    outputs_are_needed: bool,
}

struct Walker<'a> {
    reading: &'a mut Reading,
    needed: &'a BTreeMap<String, BTreeSet<String>>,
}

/// Deeper plans are not read.
const DEEPEST: usize = 300;

impl Walker<'_> {
    fn walk(&mut self, node: &Value, above: &Above, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        if let Some(name) = node.get("Index Name").and_then(Value::as_str) {
            self.reading.indexes.insert(name.to_owned());
        }
        let kind = text(node, "Node Type");
        for child in children(node) {
            let relation = text(child, "Parent Relationship");
            if relation == "InitPlan" || relation == "SubPlan" {
                let loops = if relation == "SubPlan" { subplan_loops(node, child) } else { 1.0 };
                self.walk(
                    child,
                    &Above { loops: loops * above.loops.max(1.0), ..Above::default() },
                    depth + 1,
                );
            }
        }
        let below: Vec<&Value> = children(node)
            .iter()
            .filter(|child| !matches!(text(child, "Parent Relationship"), "InitPlan" | "SubPlan"))
            .collect();
        match kind {
            "Seq Scan" | "Index Scan" | "Index Only Scan" | "Bitmap Heap Scan" | "Tid Scan"
            | "Sample Scan" => {
                if kind != "Sample Scan" && kind != "Tid Scan" {
                    self.scan(node, above);
                }
                // The indexes of a bitmap.
                self.indexes_below(node);
            }
            "Limit" => {
                for child in below {
                    let all = number(child, "Plan Rows").max(1.0);
                    let mut inner = above.clone();
                    inner.limit = Some((number(node, "Plan Rows").clamp(1.0, all), all));
                    // The cost of the limit is what is paid; a part of what stands below it.
                    inner.order = Some(order_of(node, above, Vec::new(), inner.limit));
                    self.walk(child, &inner, depth + 1);
                }
            }
            "Sort" | "Incremental Sort" => {
                let keys = sort_keys(node, "Sort Key");
                for child in below {
                    let mut inner = Above { limit: None, ..above.clone() };
                    let from_limit = above.order.as_ref().filter(|order| order.keys.is_empty());
                    inner.order = Some(match from_limit {
                        Some(order) => Order { keys: keys.clone(), ..order.clone() },
                        None => order_of(node, above, keys.clone(), None),
                    });
                    self.walk(child, &inner, depth + 1);
                }
            }
            "Aggregate" => {
                let plain = text(node, "Strategy") == "Plain";
                let grouped = text(node, "Strategy") == "Sorted";
                for child in below {
                    let mut inner = Above { loops: above.loops, ..Above::default() };
                    if plain {
                        inner.extreme = extreme(node);
                    }
                    if grouped && above.order.as_ref().is_none() && !child_sorts(child) {
                        inner.order = None;
                    }
                    inner.outputs_are_needed = true;
                    self.walk(child, &inner, depth + 1);
                }
            }
            "Nested Loop" | "Hash Join" | "Merge Join" => self.join(node, &below, above, depth),
            "Append" | "Merge Append" => self.append(&below, above, depth),
            "ModifyTable" => {
                let written = (text(node, "Schema").to_owned(), text(node, "Relation Name").to_owned());
                let operation = text(node, "Operation").to_owned();
                if operation == "Delete" {
                    let rows = below.iter().map(|child| number(child, "Plan Rows")).sum::<f64>();
                    self.reading.deletes.push((written.0.clone(), written.1.clone(), rows.max(1.0)));
                }
                self.reading.writes.push((written.0, written.1, operation));
                for child in below {
                    self.walk(child, &Above { loops: above.loops, ..Above::default() }, depth + 1);
                }
            }
            "Result" | "ProjectSet" | "LockRows" | "Gather" | "Gather Merge" | "Unique" | "WindowAgg"
            | "Subquery Scan" | "Hash" => {
                let keeps = kind != "WindowAgg" && kind != "Subquery Scan" && node.get("Filter").is_none();
                for child in below {
                    let mut inner = above.clone();
                    if !keeps {
                        inner = Above { loops: above.loops, ..Above::default() };
                    }
                    if kind == "Unique" {
                        // Its rows come in the order of the sort below, which no limit above shortens.
                        inner = Above { loops: above.loops, ..Above::default() };
                    }
                    self.walk(child, &inner, depth + 1);
                }
            }
            "Materialize" | "Memoize" => {
                for child in below {
                    let loops = if kind == "Materialize" { 1.0 } else { above.loops };
                    self.walk(child, &Above { loops, ..above.clone() }, depth + 1);
                }
            }
            _ => {
                for child in below {
                    self.walk(child, &Above { loops: above.loops, ..Above::default() }, depth + 1);
                }
            }
        }
    }

    fn indexes_below(&mut self, node: &Value) {
        for child in children(node) {
            if let Some(name) = child.get("Index Name").and_then(Value::as_str) {
                self.reading.indexes.insert(name.to_owned());
            }
            self.indexes_below(child);
        }
    }

    fn join(&mut self, node: &Value, below: &[&Value], above: &Above, depth: usize) {
        let [outer, inner] = below else { return };
        let kind = text(node, "Join Type");
        let mut conditions = Vec::new();
        for name in ["Hash Cond", "Merge Cond", "Join Filter"] {
            conditions.extend(expressions(node, name));
        }
        let nested = text(node, "Node Type") == "Nested Loop";
        let side = |other: &Value| Join {
            conditions: conditions.clone(),
            outer_rows: number(other, "Plan Rows").max(1.0),
            outer_cost: number(other, "Total Cost"),
            cost: number(node, "Total Cost"),
            loops: above.loops,
        };
        // The preserved side of an outer join cannot be looked up.
        let may_look_up_inner = matches!(kind, "Inner" | "Left" | "Semi" | "Anti" | "");
        let may_look_up_outer = matches!(kind, "Inner" | "Right" | "Right Anti" | "Right Semi" | "");
        let pass = |may: bool, other: &Value, loops: f64, keeps_order: bool| {
            let mut joins = if may { vec![side(other)] } else { Vec::new() };
            // A join above with what comes out here may look this side up just as well.
            joins.extend(above.joins.iter().filter(|_| kind == "Inner").cloned());
            let mut order = if keeps_order { above.order.clone() } else { None };
            if let Some(order) = &mut order {
                order.beside += number(other, "Total Cost");
            }
            Above { loops, joins, order, limit: above.limit, extreme: None, outputs_are_needed: true }
        };
        let each = if nested { number(outer, "Plan Rows").max(1.0) } else { 1.0 };
        self.walk(outer, &pass(may_look_up_outer, inner, above.loops, true), depth + 1);
        let keeps = kind == "Inner";
        self.walk(inner, &pass(may_look_up_inner, outer, above.loops * each, keeps), depth + 1);
    }

    /// Partitions of one table count as one scan of it.
    fn append(&mut self, below: &[&Value], above: &Above, depth: usize) {
        let before = self.reading.scans.len();
        for child in below {
            self.walk(child, above, depth + 1);
        }
        let found = self.reading.scans.split_off(before);
        let plain =
            |sql: &Scan| sql.conditions.iter().map(|one| one.sql(&|c| c.name.clone())).collect::<Vec<_>>();
        let mut merged: Vec<Scan> = Vec::new();
        for scan in found {
            // Leaves of one table have aliases that differ in a number behind.
            let stem =
                |alias: &str| alias.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').to_owned();
            let same = merged.iter_mut().find(|one| {
                stem(&one.alias) == stem(&scan.alias)
                    && one.schema == scan.schema
                    && plain(one) == plain(&scan)
            });
            match same {
                Some(one) => {
                    one.cost += scan.cost;
                    one.rows += scan.rows;
                    one.partitions += 1;
                }
                None => merged.push(scan),
            }
        }
        self.reading.scans.extend(merged);
    }

    fn scan(&mut self, node: &Value, above: &Above) {
        let alias = match text(node, "Alias") {
            "" => text(node, "Relation Name"),
            alias => alias,
        };
        let mut conditions = expressions(node, "Filter");
        conditions.extend(expressions(node, "Index Cond"));
        conditions.extend(expressions(node, "Recheck Cond"));
        for child in children(node) {
            if text(child, "Node Type").starts_with("Bitmap") && node.get("Recheck Cond").is_none() {
                conditions.extend(expressions(child, "Index Cond"));
            }
        }
        let order = above.order.clone().filter(|order| {
            let own = |key: &SortKey| key.expr.columns().iter().all(|column| column.alias == alias);
            !order.keys.is_empty() && order.keys.iter().all(own)
        });
        // A limit over another order that an index gives already: it reads until enough rows were found.
        let order = order.or_else(|| {
            let limited = above.order.clone().filter(|order| order.keys.is_empty() && order.limit.is_some());
            limited.filter(|_| text(node, "Node Type").starts_with("Index"))
        });
        let mut needed: BTreeSet<String> = self.needed.get(alias).cloned().unwrap_or_default();
        needed.extend(self.needed.get("").cloned().unwrap_or_default());
        if !above.outputs_are_needed {
            let outputs = node.get("Output").and_then(Value::as_array);
            for output in outputs.into_iter().flatten().filter_map(Value::as_str) {
                needed.extend(Expr::parse(output).columns().into_iter().map(|column: Column| column.name));
            }
        }
        self.reading.scans.push(Scan {
            schema: text(node, "Schema").to_owned(),
            table: text(node, "Relation Name").to_owned(),
            alias: alias.to_owned(),
            cost: number(node, "Total Cost"),
            loops: above.loops.max(1.0),
            rows: number(node, "Plan Rows"),
            conditions,
            joins: above.joins.clone(),
            order,
            extreme: above.extreme.clone(),
            needed,
            partitions: 1,
            fraction: above.limit.map_or(1.0, |(wanted, all)| (wanted / all.max(1.0)).clamp(0.0, 1.0)),
            indexed: text(node, "Node Type") != "Seq Scan",
            index: node
                .get("Index Name")
                .and_then(Value::as_str)
                .map(|name| (name.to_owned(), text(node, "Scan Direction") == "Backward")),
        });
    }
}

fn order_of(node: &Value, above: &Above, keys: Vec<SortKey>, limit: Option<(f64, f64)>) -> Order {
    Order { keys, cost: number(node, "Total Cost"), loops: above.loops.max(1.0), limit, beside: 0.0 }
}

fn child_sorts(child: &Value) -> bool {
    matches!(text(child, "Node Type"), "Sort" | "Incremental Sort")
}

/// How often a subquery runs for its node, as far as the costs tell.
fn subplan_loops(node: &Value, child: &Value) -> f64 {
    let hashed = ["Filter", "Join Filter"].iter().any(|name| text(node, name).contains("hashed SubPlan"));
    if hashed {
        return 1.0;
    }
    let own: f64 = children(node)
        .iter()
        .filter(|one| !matches!(text(one, "Parent Relationship"), "InitPlan" | "SubPlan"))
        .map(|one| number(one, "Total Cost"))
        .sum();
    let each = number(child, "Total Cost").max(0.01);
    ((number(node, "Total Cost") - own) / each).max(1.0)
}

/// The argument of `min` or `max`, where the node gives nothing else.
fn extreme(node: &Value) -> Option<Expr> {
    let outputs = node.get("Output")?.as_array()?;
    let [Value::String(only)] = outputs.as_slice() else { return None };
    match Expr::parse(only) {
        Expr::Call(name, args, _) if matches!(name.as_str(), "min" | "max") && args.len() == 1 => {
            args.into_iter().next()
        }
        _ => None,
    }
}

fn sort_keys(node: &Value, name: &str) -> Vec<SortKey> {
    let keys = node.get(name).and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(Value::as_str).map(sort_key).collect()
}

fn sort_key(text: &str) -> SortKey {
    let (text, nulls) = if let Some(rest) = text.strip_suffix(" NULLS FIRST") {
        (rest, Some(true))
    } else if let Some(rest) = text.strip_suffix(" NULLS LAST") {
        (rest, Some(false))
    } else {
        (text, None)
    };
    let (text, desc) = text.strip_suffix(" DESC").map_or((text, false), |rest| (rest, true));
    SortKey { expr: Expr::parse(text), desc, nulls_first: nulls.unwrap_or(desc) }
}
