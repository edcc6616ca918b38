//! The sections on tips in docs/query-optimization.md: each with a plan before and after, really made.

use std::fmt::Write as _;
use std::path::Path;

use db_insight::TipCode;
use db_testkit::claims::{Figure, Size};
use diesel_async::AsyncPgConnection;
use serde_json::json;

use crate::advised_pages;
use crate::cases::{self, Case};

/// Between these the page is made.
const BEGIN: &str = "<!-- The rest is made by `cargo bench -p db-insight --bench claims -- page`. -->\n";

/// The version that makes the page's plans: the one that is installed where nothing is fetched.
const VERSION: u16 = 15;

/// What the plans are shown with: little that differs from run to run.
pub(crate) const OPTIONS: &str = "ANALYZE, COSTS OFF, TIMING OFF, SUMMARY ON, BUFFERS OFF";

/// And those of which the expected rows are the matter.
pub(crate) const WITH_ESTIMATES: &str = "ANALYZE, COSTS ON, TIMING OFF, SUMMARY ON, BUFFERS OFF";

pub(crate) fn measure(_: Size) -> Figure {
    let made = sections();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/query-optimization.md");
    let page = std::fs::read_to_string(path).unwrap();
    let written = page.split_once(BEGIN).map_or("", |(_, behind)| behind);
    let all = headings();
    let without: Vec<&str> = all.iter().filter(|one| !has_plans(written, one)).copied().collect();
    let with_plans = all.len() - without.len();
    let is_current = without_plans(&made) == without_plans(written);
    let value = with_plans as f64;
    let holds = is_current && without.is_empty();
    let detail = json!({ "sections": all.len(), "without_plans": without, "page_is_as_made": is_current });
    Figure { value, unit: "tips, advice and findings with a plan before and after", holds, detail }
}

/// What has a section: each tip, each sort of advice, and each finding of repeated statements.
pub(crate) fn headings() -> Vec<&'static str> {
    TipCode::ALL.iter().map(|code| code.as_str()).chain(advised_pages::headings()).collect()
}

/// Whether a page shows plans before and after under this heading.
pub(crate) fn has_plans(page: &str, heading: &str) -> bool {
    let section = page.split_once(&format!("### {heading}\n")).map(|(_, behind)| behind);
    let section = section.and_then(|behind| behind.split("\n### ").next()).unwrap_or_default();
    section.contains("Before") && section.contains("After")
}

/// The page's part, made anew.
pub(crate) fn sections() -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = cases::server(VERSION).await;
        let mut conn = cluster.connect(0).await.unwrap();
        let mut page = String::new();
        for code in TipCode::ALL {
            let shows = |case: &Case| {
                case.shows_a_way_out() && case.expect.first().is_some_and(|first| first == code.as_str())
            };
            if let Some(case) = cases::all().into_iter().find(shows) {
                page += &section(&mut conn, *code, &case).await;
            }
        }
        drop(cluster);
        page += &advised_pages::sections(VERSION).await;
        page
    })
}

async fn section(conn: &mut AsyncPgConnection, code: TipCode, case: &Case) -> String {
    let plan = case.plan(conn).await;
    let tip = case.tips(&plan).into_iter().find(|tip| tip.code == code);
    let is_estimate = matches!(code, TipCode::RowMisestimate | TipCode::StaleStatistics);
    let options = if is_estimate { WITH_ESTIMATES } else { OPTIONS };
    let (before, after) = case.before_and_after(conn, options).await;
    let mut out = format!("\n### {code}\n");
    let _ = writeln!(out, "{}.\n", upper_first(&case.name));
    if let Some(tip) = tip {
        let _ = writeln!(out, "The tip is at `{}`:\n\n```text\n{}\n```\n", tip.node, wrapped(&tip.fix));
    }
    let _ = writeln!(out, "Before:\n\n```sql\n{};\n```\n\n```text\n{}\n```\n", case.sql, cut(&before));
    let _ = writeln!(out, "After:\n\n```sql\n{};\n```\n\n```text\n{}\n```", case.way_out(), cut(&after));
    out
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

/// In lines as wide as the page.
pub(crate) fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let width = lines.last().map_or(0, |line| line.chars().count());
        if width > 0 && width + 1 + word.chars().count() > 100 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// At most twelve lines of a plan and the times behind it, none longer than the page.
pub(crate) fn cut(plan: &str) -> String {
    let short = |line: &str| line.chars().take(105).collect::<String>().trim_end().to_owned();
    let lines: Vec<String> = plan.lines().map(short).collect();
    let until = lines.iter().position(|line| line.starts_with("Planning Time")).unwrap_or(lines.len());
    let (nodes, times) = lines.split_at(until);
    let mut shown = nodes.iter().take(12).cloned().collect::<Vec<_>>();
    if nodes.len() > shown.len() {
        shown.push("…".to_owned());
    }
    shown.extend(times.iter().cloned());
    shown.join("\n")
}

/// The page without its plans: a plan that is made on a busy machine may have another worker or another row,
/// and is as good an example. What tips say, and the statements, must be what they are now.
fn without_plans(text: &str) -> Vec<String> {
    let (mut kept, mut behind_sql, mut in_plan) = (Vec::new(), false, false);
    for line in text.lines() {
        match line {
            "```sql" => behind_sql = true,
            "```text" if behind_sql => (in_plan, behind_sql) = (true, false),
            "```" if in_plan => in_plan = false,
            _ => {}
        }
        if !in_plan && !line.is_empty() {
            kept.push(line.chars().filter(|c| !c.is_ascii_digit()).collect());
        }
    }
    kept
}
