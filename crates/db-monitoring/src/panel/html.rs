//! Writes a panel as HTML: escaped by maud, without inline script or style, so that a strict policy fits.

use db_core::CheckStatus;
use db_core::panel::human;
use maud::{Markup, html};

use super::{Figure, Item, Node, Panel, Plot, Row, Table, Tree, Value, svg};

/// A longer statement is folded, in characters.
const FOLD_AT: usize = 160;

/// What rendering must know of the page around.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look<'a> {
    /// Where the dashboard is; none in a report, where nothing leads anywhere.
    pub(crate) base: Option<&'a str>,
    /// What a form that changes something must carry; none where nothing may be changed.
    pub(crate) csrf: Option<&'a str>,
    /// The page's query without its order, for links that order by a column; none where there is no order.
    pub(crate) query: Option<&'a str>,
    /// The column by which the page is ordered, as `table.column`.
    pub(crate) sort: Option<&'a str>,
}

pub(crate) fn panel(panel: &Panel, look: Look<'_>) -> Markup {
    let figures: Vec<&Figure> = panel.items.iter().filter_map(as_figure).collect();
    html! {
        section.panel id=(panel.key) aria-labelledby={ (panel.key) "-title" } {
            h2 id={ (panel.key) "-title" } { (panel.title) }
            @if let Some(note) = &panel.note { p.note { (note) } }
            @if !figures.is_empty() {
                dl.figures { @for figure in figures { (self::figure(figure)) } }
            }
            @for item in &panel.items { (self::item(item, look)) }
        }
    }
}

/// What the page's script draws, as JSON in an attribute.
fn plot_data(plot: &Plot) -> String {
    plot.to_json().to_string()
}

fn as_figure(item: &Item) -> Option<&Figure> {
    match item {
        Item::Figure(figure) => Some(figure),
        _ => None,
    }
}

fn figure(figure: &Figure) -> Markup {
    html! {
        div.figure {
            dt { (figure.title) }
            dd {
                (value(&figure.value))
                @if let Some(status) = &figure.status { " " (self::status(status)) }
            }
        }
    }
}

fn item(item: &Item, look: Look<'_>) -> Markup {
    match item {
        Item::Figure(_) => html! {},
        Item::Table(table) => self::table(table, look),
        Item::Tree(tree) => self::tree(tree, look),
        Item::Plot(plot) => self::plot(plot, look),
        Item::Text(text) => html! { p { (text) } },
        Item::Sql(sql) => html! {
            div.sql { pre tabindex="0" { code { (sql) } } @if look.base.is_some() { button type="button" data-copy="" { "Copy" } } }
        },
        Item::Missing(why) => html! { p.missing { "Not known: " (why) } },
        _ => html! {},
    }
}

fn plot(plot: &Plot, look: Look<'_>) -> Markup {
    html! {
        figure.plot data-key=(plot.key) data-plot=[look.base.map(|_| plot_data(plot))] {
            figcaption { (plot.title) }
            @if look.base.is_none() { (svg::plot(plot)) }
            @if plot.times.is_empty() { p.missing { "No measurements yet." } }
            ul.legend {
                @for series in &plot.series {
                    li { (swatch(series.colour)) (series.name) }
                }
            }
        }
    }
}

fn table(table: &Table, look: Look<'_>) -> Markup {
    let numbers: Vec<bool> = (0..table.columns.len())
        .map(|column| {
            table.rows.iter().filter_map(|row| row.cells.get(column)).any(|cell| cell.as_number().is_some())
        })
        .collect();
    let acts = look.csrf.is_some() && table.rows.iter().any(|row| row.session.is_some());
    html! {
        @if let Some(title) = &table.title { h3 { (title) } }
        @if table.rows.is_empty() {
            p.empty { (table.when_empty) }
        } @else {
            div.scroll {
                table {
                    thead { tr {
                        @for (column, number) in table.columns.iter().zip(&numbers) {
                            th scope="col" .n[*number] aria-sort=[sorted(table, &column.key, look)] {
                                (heading(table, &column.key, &column.title, look))
                            }
                        }
                        @if acts { th scope="col" { "Act" } }
                    } }
                    tbody {
                        @for row in &table.rows { (self::row(table, row, &numbers, acts, look)) }
                    }
                }
            }
            @if table.left_out > 0 { p.note { "… and " (human::count(table.left_out as u64)) " more." } }
        }
    }
}

fn sorted(table: &Table, column: &str, look: Look<'_>) -> Option<&'static str> {
    let (of, key) = look.sort?.split_once('.')?;
    (of == table.key && key == column).then_some("descending")
}

fn heading(table: &Table, column: &str, title: &str, look: Look<'_>) -> Markup {
    match look.query {
        Some(query) if table.rows.len() > 1 => {
            let and = if query.is_empty() { "" } else { "&" };
            html! { a href={ "?" (query) (and) "sort=" (table.key) "." (column) "#" (table.key) } { (title) } }
        }
        _ => html! { (title) },
    }
}

fn row(table: &Table, row: &Row, numbers: &[bool], acts: bool, look: Look<'_>) -> Markup {
    html! {
        tr {
            @for (index, cell) in row.cells.iter().enumerate() {
                td .n[numbers.get(index).copied().unwrap_or(false)]
                    data-t=[table.columns.get(index).map(|column| column.title.as_str())] {
                    @if index == 0 {
                        @if let Some(colour) = row.colour { (swatch(colour)) }
                        @match (&row.link, look.base) {
                            (Some(link), Some(base)) => a href={ (base) "/" (link) } { (human::value(cell)) },
                            _ => (value(cell)),
                        }
                        @if !row.bar.is_empty() { (svg::bar(&row.bar)) }
                    } @else {
                        (value(cell))
                    }
                }
            }
            @if acts { td data-t="Act" { (actions(row.session.as_ref(), look)) } }
        }
    }
}

fn tree(tree: &Tree, look: Look<'_>) -> Markup {
    html! {
        @if tree.roots.is_empty() {
            p.empty { (tree.when_empty) }
        } @else {
            ul.tree { @for root in &tree.roots { (node(root, look)) } }
        }
    }
}

fn node(node: &Node, look: Look<'_>) -> Markup {
    html! {
        li {
            div.node {
                @for (_, words, of) in &node.facts {
                    span.fact { @if !words.is_empty() { small { (words) " " } } (value(of)) }
                    " "
                }
                (actions(node.session.as_ref(), look))
            }
            @if !node.below.is_empty() {
                ul { @for below in &node.below { (self::node(below, look)) } }
            }
        }
    }
}

/// The buttons that end what a session does, or the session; a page behind them asks again.
fn actions(session: Option<&(i32, String)>, look: Look<'_>) -> Markup {
    let (Some((pid, since)), Some(csrf), Some(base)) = (session, look.csrf, look.base) else {
        return html! {};
    };
    html! {
        form.act method="post" action={ (base) "/sessions" } {
            input type="hidden" name="csrf" value=(csrf);
            input type="hidden" name="pid" value=(pid);
            input type="hidden" name="since" value=(since);
            button name="act" value="cancel" aria-label={ "Cancel the statement of session " (pid) } { "Cancel" }
            button.danger name="act" value="terminate" aria-label={ "End session " (pid) } { "Terminate" }
        }
    }
}

fn value(value: &Value) -> Markup {
    match value {
        Value::Code(code) if code.chars().count() > FOLD_AT => {
            let short: String = code.chars().take(FOLD_AT).collect();
            html! { details { summary { code { (short) "…" } } pre { code { (code) } } } }
        }
        Value::Code(code) => html! { code { (code) } },
        Value::Status(status) => self::status(status),
        Value::Missing => html! { span.missing title="not known" { "–" } },
        Value::At(at) => html! { time datetime=(human::stamp(*at)) { (human::stamp(*at)) } },
        other => html! { (human::value(other)) },
    }
}

/// The word and a sign of its own, so that colour is not all that tells them apart.
pub(crate) fn status(status: &CheckStatus) -> Markup {
    let sign = match status {
        CheckStatus::Ok => "●",
        CheckStatus::Skipped(_) => "○",
        CheckStatus::Warn => "▲",
        CheckStatus::Critical => "✖",
    };
    html! { span class={ "status " (status.word()) } { span aria-hidden="true" { (sign) } " " (status.word()) } }
}

fn swatch(colour: usize) -> Markup {
    html! { svg class={ "swatch c" (colour % svg::COLOURS) } viewBox="0 0 8 8" aria-hidden="true" { rect width="8" height="8" rx="2" {} } }
}
