//! Reads a plan out of what tools make of EXPLAIN's JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::node::{Actual, Estimate, Fields, Node};
use super::{Plan, Trigger};

/// Nesting that is read on the caller's own stack; what is deeper gets a thread with a large one.
const SHALLOW: usize = 100;

/// The deepest nesting that is read: some 5,000 nodes below each other.
const DEEPEST: usize = 10_000;

/// Stack for each level of nesting, in bytes: several times what an unoptimised parser takes.
const STACK_PER_LEVEL: usize = 8 << 10;

/// Why a text is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAPlan {
    /// It is empty.
    #[error("the text is empty: give it what EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) answers")]
    Empty,
    /// It is a plan in another format.
    #[error("this is a plan as {0}: run EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) instead")]
    Format(&'static str),
    /// No JSON in it has a plan.
    #[error("no plan was found: EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) answers an array with a \"Plan\"")]
    NoPlan,
    /// It is JSON, cut off or damaged.
    #[error("the plan's JSON is damaged or cut off at line {line}, column {column}")]
    Damaged {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A node lacks its type.
    #[error("a node of the plan has no \"Node Type\"")]
    NoNodeType,
    /// It nests deeper than any plan.
    #[error("the plan nests {0} levels deep, at most {DEEPEST} are read")]
    TooDeep(usize),
}

/// Reads a text.
pub(super) fn from_text(text: &str) -> Result<Plan, NotAPlan> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(NotAPlan::Empty);
    }
    let depth = depth(text);
    if depth > DEEPEST {
        return Err(NotAPlan::TooDeep(depth));
    }
    if depth <= SHALLOW {
        return find(text);
    }
    // The parser recurses, and dropping what it made does too.
    let stack = depth * STACK_PER_LEVEL + (1 << 20);
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(stack).spawn_scoped(scope, || find(text));
        match reader.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(plan)) => plan,
            Ok(Err(_)) | Err(_) => Err(NotAPlan::TooDeep(depth)),
        }
    })
}

/// The text of a file, by the mark at its beginning.
pub(super) fn decoded(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units).into()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes),
    }
}

/// How deep brackets nest, those in strings aside.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn find(text: &str) -> Result<Plan, NotAPlan> {
    // A log's line may begin with a number, which is a value, too.
    let whole = match parse(text).map(from_value) {
        Ok(Ok(plan)) => return Ok(plan),
        Ok(Err(not_a_plan)) => not_a_plan,
        Err(error) => why_not(text, &error),
    };
    for text in [undecorated(text), unquoted(text)].into_iter().flatten() {
        // A log's prefix may hold brackets, too: the first that has a plan is taken.
        let starts = text.match_indices(['[', '{']).map(|(at, _)| at).filter(|at| begins_line(&text, *at));
        for start in starts {
            let rest = text.get(start..).unwrap_or_default();
            if let Ok(plan) = parse(rest).map_err(|_| NotAPlan::NoPlan).and_then(from_value) {
                return Ok(plan);
            }
        }
    }
    Err(whole)
}

/// The first JSON value in the text; what follows is not looked at.
fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    // Its depth was looked at before, and the stack is as large as that needs.
    reader.disable_recursion_limit();
    Value::deserialize(&mut reader)
}

/// Whether nothing but a prefix without quotes stands before it on its line.
fn begins_line(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    !line.contains(['"', '{'])
}

fn why_not(text: &str, error: &serde_json::Error) -> NotAPlan {
    let first = text.trim_start().chars().next();
    if text.contains("<explain") {
        return NotAPlan::Format("XML");
    }
    if text.contains("(cost=") || text.contains("(actual ") {
        return NotAPlan::Format("text");
    }
    if text.contains("- Plan:") {
        return NotAPlan::Format("YAML");
    }
    if text.contains("\"Plan\"") || matches!(first, Some('[' | '{')) {
        return NotAPlan::Damaged { line: error.line(), column: error.column() };
    }
    NotAPlan::NoPlan
}

/// Without what psql draws around a value: the header, borders, and the marks at line ends.
fn undecorated(text: &str) -> Option<String> {
    let line = |line: &str| {
        let line = line.trim().trim_start_matches(['|', '│']);
        let line = line.trim_end().trim_end_matches(['|', '│']).trim_end();
        let line = line.strip_suffix(['+', '↵', '\u{2026}']).unwrap_or(line).trim_end();
        let line = line.trim_end_matches(['|', '│']).trim_end();
        // The expanded display has the column's name before the value.
        let line = line.strip_prefix("QUERY PLAN").map_or(line, str::trim_start);
        line.trim_start_matches(['|', '│']).to_owned()
    };
    Some(text.lines().map(line).collect::<Vec<_>>().join("\n"))
}

/// The value out of a line of CSV, where quotes are doubled.
fn unquoted(text: &str) -> Option<String> {
    let start = text.find("\"[").or_else(|| text.find("\"{"))?;
    let value = text.get(start + 1..)?;
    value.contains("\"\"Plan\"\"").then(|| value.replace("\"\"", "\""))
}

/// Reads a value: the plan in it, wherever it is.
pub(super) fn from_value(value: Value) -> Result<Plan, NotAPlan> {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(mut object) => match object.remove("Plan") {
                Some(Value::Object(root)) => return plan(root, object),
                // A caller that took the array apart too far.
                None if object.contains_key("Node Type") => return plan(object, Map::new()),
                _ => open.extend(object.into_iter().map(|(_, value)| value)),
            },
            Value::Array(list) => open.extend(list.into_iter().rev()),
            // A row that a tool exported has the plan as text.
            Value::String(text) if text.contains("\"Plan\"") => {
                if let Ok(value) = serde_json::from_str(&text) {
                    open.push(value);
                }
            }
            _ => {}
        }
    }
    Err(NotAPlan::NoPlan)
}

fn plan(root: Map<String, Value>, beside: Map<String, Value>) -> Result<Plan, NotAPlan> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut open = vec![(root, None)];
    while let Some((fields, parent)) = open.pop() {
        let at = nodes.len();
        let (node, below) = node(fields, parent)?;
        nodes.push(node);
        if let Some(parent) = parent.and_then(|parent: usize| nodes.get_mut(parent)) {
            parent.children.push(at);
        }
        open.extend(below.into_iter().rev().map(|child| (child, Some(at))));
    }
    let fields = Fields(beside);
    let jit = fields.value("JIT").and_then(|jit| jit.get("Timing"));
    // Of "Generation" 17 made an object with a part of its own.
    let jit_ms = jit.and_then(|timing| timing.get("Total")).and_then(Value::as_f64);
    let settings = fields.value("Settings").and_then(Value::as_object).map(|settings| {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        settings.iter().map(|(name, value)| (name.clone(), text(value))).collect::<BTreeMap<_, _>>()
    });
    Ok(Plan {
        nodes,
        planning_ms: fields.number("Planning Time"),
        execution_ms: fields.number("Execution Time"),
        triggers: triggers(&fields),
        jit_ms,
        settings: settings.unwrap_or_default(),
        query_id: fields.value("Query Identifier").and_then(Value::as_i64),
        fields,
    })
}

fn triggers(fields: &Fields) -> Vec<Trigger> {
    let list = fields.value("Triggers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let one = |value: &Value| {
        let fields = Fields(value.as_object()?.clone());
        let text = |name: &str| fields.text(name).map(str::to_owned);
        Some(Trigger {
            name: text("Trigger Name").or_else(|| text("Constraint Name"))?,
            constraint: text("Constraint Name"),
            relation: text("Relation"),
            ms: fields.number("Time"),
            calls: fields.number("Calls").unwrap_or_default(),
        })
    };
    list.iter().filter_map(one).collect()
}

type Objects = Vec<Map<String, Value>>;

fn node(mut object: Map<String, Value>, parent: Option<usize>) -> Result<(Node, Objects), NotAPlan> {
    let mut take = |name: &str| match object.remove(name) {
        Some(Value::Array(list)) => list
            .into_iter()
            .filter_map(|one| if let Value::Object(one) = one { Some(one) } else { None })
            .collect(),
        _ => Vec::new(),
    };
    let below = take("Plans");
    let workers = take("Workers").into_iter().map(Fields).collect();
    let fields = Fields(object);
    let text = |name: &str| fields.text(name).map(str::to_owned);
    let number = |name: &str| fields.number(name);
    let estimate = Estimate {
        startup_cost: number("Startup Cost").unwrap_or_default(),
        total_cost: number("Total Cost").unwrap_or_default(),
        rows: number("Plan Rows").unwrap_or_default(),
        width: number("Plan Width").unwrap_or_default(),
    };
    let actual = number("Actual Loops").map(|loops| Actual {
        rows: number("Actual Rows").unwrap_or_default().max(0.0),
        loops: loops.max(0.0),
        total_ms: number("Actual Total Time").map(|ms| ms.max(0.0)),
    });
    let node = Node {
        kind: text("Node Type").ok_or(NotAPlan::NoNodeType)?,
        parent,
        children: Vec::new(),
        relationship: text("Parent Relationship"),
        subplan: text("Subplan Name"),
        relation: text("Relation Name"),
        schema: text("Schema"),
        alias: text("Alias"),
        index: text("Index Name"),
        estimate,
        actual,
        workers,
        fields,
    };
    Ok((node, below))
}
