//! What the pages and the reports show of plans, regressions, repeated statements and advice.

use db_core::panel::{Column, Panel, Row, Table, Value};

use crate::indexes::Advice;
use crate::{ExplainedStatement, Flip, Insights};

impl Insights {
    /// What is known of the database as a whole, for pages and reports: regressions, tips, repeated
    /// statements, advice. It asks no server.
    ///
    /// ```
    /// use db_insight::Insights;
    ///
    /// let insights = Insights::default(); // and `insights.look_at_plans(&mut conn)` once an hour
    /// assert_eq!(insights.panels()[0].title, "Slower than last week");
    /// ```
    pub fn panels(&self) -> Vec<Panel> {
        vec![regressions(self), tips(self), repeats_panel(self), advice(self)]
    }

    /// What is known of one statement: its plan with the tips at its nodes, and how it was run before.
    ///
    /// ```
    /// use db_insight::Insights;
    ///
    /// let panels = Insights::default().panels_of(db_statement::fingerprint("SELECT 1"));
    /// assert_eq!(panels[0].title, "Plan");
    /// ```
    pub fn panels_of(&self, statement: db_statement::Fingerprint) -> Vec<Panel> {
        of_statement(self, statement)
    }
}

fn of_statement(insights: &Insights, statement: db_statement::Fingerprint) -> Vec<Panel> {
    let mut panels = Vec::new();
    panels.push(match insights.statement(statement) {
        Some(one) => plan(&one),
        None => Panel::new("plan", "Plan").missing(
            "it is not among the 50 statements that cost the server most, or no look was due yet; that needs \
             pg_stat_statements",
        ),
    });
    let key = statement.to_string();
    let flips: Vec<Flip> = insights.flips().into_iter().filter(|flip| flip.statement == key).collect();
    if !flips.is_empty() {
        panels.push(
            flips
                .iter()
                .rev()
                .fold(Panel::new("plan_changes", "It was run another way before"), |panel, flip| {
                    panel.sql(flip.side_by_side(70))
                }),
        );
    }
    let repeats = repeats(insights);
    let of_it = repeats.into_iter().filter(|(_, fingerprint)| *fingerprint == statement);
    let table = of_it.fold(repeats_table(), |table, (row, _)| table.with(row));
    if !table.rows.is_empty() {
        panels.push(Panel::new("repeats", "Units of work repeat it").table(table));
    }
    panels
}

fn plan(one: &ExplainedStatement) -> Panel {
    let mut panel = Panel::new("plan", "Plan")
        .note("For any values, as the server would run it at that time; nothing was run.")
        .figure("explained_at", "Asked for", Value::At(one.at))
        .figure("query_ids", "On the server (queryid)", Value::text(one.query_ids.join(", ")))
        .figure("calls", "Calls since the look before", Value::Count(one.window.calls))
        .figure("mean_seconds", "Mean of these", Value::Seconds(one.window.mean_ms / 1000.0))
        .sql(one.tree.trim_end());
    if one.tips.is_empty() {
        panel = panel.text("Nothing is found to be wrong with it.");
    }
    panel
}

fn regressions(insights: &Insights) -> Panel {
    let columns = [
        Column::new("statement", "Statement"),
        Column::new("before_seconds", "A call, the week before"),
        Column::new("now_seconds", "A call, the last day"),
        Column::new("calls", "Calls, the last day"),
        Column::new("added_seconds", "More in all"),
        Column::new("why", "Run another way"),
    ];
    let known = insights.statements();
    let name = |fingerprint: &str| {
        let of = known.iter().find(|one| one.statement.to_string() == fingerprint);
        of.map_or_else(|| fingerprint.to_owned(), |one| db_statement::summary(&one.text).to_string())
    };
    let table = Table::new("regressions", columns)
        .when_empty("None; it takes a day and an hour of looks before there can be one.");
    let table = insights.regressions().into_iter().fold(table, |table, one| {
        let mut row = Row::of([
            Value::text(name(&one.statement)),
            Value::Seconds(one.before.mean_ms / 1000.0),
            Value::Seconds(one.now.mean_ms / 1000.0),
            Value::Count(one.now.calls),
            Value::Seconds(one.added_ms() / 1000.0),
            Value::text(if one.other_plan { "yes" } else { "no" }),
        ]);
        row.link = Some(format!("queries/{}", one.statement));
        table.with(row)
    });
    let mut panel = Panel::new("regressions", "Slower than last week").table(table);
    let flips: Vec<Flip> = insights.flips().into_iter().filter(Flip::is_regression).collect();
    if !flips.is_empty() {
        panel = panel.text("Run another way, and slower for it:");
    }
    flips
        .iter()
        .rev()
        .take(MOST_FLIPS_SHOWN)
        .fold(panel, |panel, flip| panel.sql(format!("{}\n{}", name(&flip.statement), flip.side_by_side(70))))
}

/// How many changes of plans are shown where there is no page for each statement.
const MOST_FLIPS_SHOWN: usize = 5;

fn tips(insights: &Insights) -> Panel {
    let columns = [
        Column::new("statement", "Statement"),
        Column::new("severity", "Severity"),
        Column::new("tip", "What is wrong, and what to do"),
        Column::new("query_ids", "On the server (queryid)"),
    ];
    let statements = insights.statements();
    let empty = if statements.is_empty() {
        "No plan was looked at yet: that is done once an hour (DB_QUERY_ANALYSIS), by the process that \
         leads, and needs pg_stat_statements."
    } else {
        "Nothing is wrong with the plans of the dearest statements."
    };
    let table = Table::new("tips", columns).when_empty(empty);
    let table = statements.iter().fold(table, |table, one| {
        one.tips.iter().fold(table, |table, tip| {
            let mut row = Row::of([
                Value::text(db_statement::summary(&one.text).to_string()),
                Value::text(tip.severity.to_string()),
                Value::text(tip.to_string()),
                Value::text(one.query_ids.join(", ")),
            ]);
            row.link = Some(format!("queries/{}", one.statement));
            table.with(row)
        })
    });
    Panel::new("tips", "Tips on the dearest statements").table(table)
}

fn repeats_table() -> Table {
    Table::new(
        "repeats",
        [
            Column::new("callsite", "Line of code"),
            Column::new("scope", "For"),
            Column::new("statement", "Statement"),
            Column::new("kind", "What"),
            Column::new("count", "Times"),
            Column::new("instead", "What to write instead"),
        ],
    )
}

/// What units of work repeat, the line that does it most first; a line is told once, with its largest unit.
fn repeats(insights: &Insights) -> Vec<(Row, db_statement::Fingerprint)> {
    let mut found = insights.repeats().unwrap_or_default();
    found.sort_by_key(|one| std::cmp::Reverse(one.count));
    let mut told = std::collections::HashSet::new();
    found.retain(|one| told.insert((one.callsite.clone(), one.fingerprint, one.label)));
    let row = |one: crate::repeats::Finding| {
        let mut row = Row::of([
            Value::some_text(one.callsite),
            Value::text(one.scope),
            Value::text(one.statement),
            Value::text(one.label.as_str()),
            Value::Count(one.count as u64),
            Value::text(one.instead),
        ]);
        row.link = Some(format!("queries/{}", one.fingerprint));
        (row, one.fingerprint)
    };
    found.into_iter().map(row).collect()
}

fn repeats_panel(insights: &Insights) -> Panel {
    let panel = Panel::new("repeats", "Repeated statements, by line of code");
    if insights.repeats().is_none() {
        return panel.missing(
            "nobody watches in this process: attach the part of a RepeatsWatch, and name the watch in \
             Insights::follow_repeats",
        );
    }
    let table = repeats_table().when_empty("No unit of work repeats a statement.");
    panel.table(repeats(insights).into_iter().fold(table, |table, (row, _)| table.with(row)))
}

fn advice(insights: &Insights) -> Panel {
    let panel = Panel::new("advice", "Advice on indexes");
    match insights.advice() {
        Some((at, advice)) => {
            let panel = panel.figure("advised_at", "Given", Value::At(at));
            suggestions(&advice).into_iter().fold(panel, Panel::table)
        }
        None => panel.missing(
            "nobody asked yet: that is done once a week (DB_ENABLE_PERFORMANCE_INSIGHTS), by the \
             process that leads, and needs pg_stat_statements",
        ),
    }
}

fn suggestions(advice: &Advice) -> [Table; 4] {
    let make = Table::new(
        "suggestions",
        [
            Column::new("create", "To make"),
            Column::new("gain_percent", "Less cost"),
            Column::new("confidence_percent", "Sure"),
            Column::new("size_bytes", "Size"),
            Column::new("notes", "To know"),
        ],
    )
    .titled("Indexes that would help")
    .when_empty("No index would help enough.");
    let make = advice.suggestions.iter().fold(make, |table, one| {
        table.row([
            Value::Code(one.create.clone()),
            Value::Percent(one.gain * 100.0),
            Value::Percent(one.confidence * 100.0),
            Value::Bytes(one.bytes as f64),
            Value::text(one.notes.join("; ")),
        ])
    });
    let drop = Table::new(
        "drops",
        [
            Column::new("drop", "To drop"),
            Column::new("why", "Why"),
            Column::new("size_bytes", "Size"),
            Column::new("notes", "To know"),
        ],
    )
    .titled("Indexes that help nobody")
    .when_empty("None can go.");
    let drop = advice.drops.iter().fold(drop, |table, one| {
        table.row([
            Value::Code(one.sql.clone()),
            Value::text(one.why.clone()),
            Value::Bytes(one.bytes as f64),
            Value::text(one.notes.join("; ")),
        ])
    });
    let notes = Table::new("notes", [Column::new("code", "Note"), Column::new("message", "What it says")])
        .titled("What to do first")
        .when_empty("Nothing.");
    let notes = advice
        .notes
        .iter()
        .fold(notes, |table, one| table.row([Value::text(one.code), Value::text(one.message.clone())]));
    let larger = Table::new(
        "larger_changes",
        [
            Column::new("tables", "Of"),
            Column::new("kind", "What"),
            Column::new("why", "Why"),
            Column::new("how", "How"),
            Column::new("notes", "To know"),
        ],
    )
    .titled("Materialized views and partitions")
    .when_empty("None would help enough.");
    let larger = advice.larger_changes.iter().fold(larger, |table, one| {
        table.row([
            Value::text(one.tables.join(", ")),
            Value::text(one.kind.replace('_', " ")),
            Value::text(one.why.clone()),
            Value::text(one.how.clone()),
            Value::text(one.notes.join("; ")),
        ])
    });
    [make, drop, larger, notes]
}
