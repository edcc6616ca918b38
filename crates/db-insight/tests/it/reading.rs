//! Plans as tools hand them on, and texts that are none.

use db_insight::{NotAPlan, Plan, TipCode, tips};

const NODE: &str = r#"{"Node Type": "Seq Scan", "Relation Name": "big", "Alias": "big", "Total Cost": 9000.0,
  "Plan Rows": 9, "Actual Rows": 10, "Actual Loops": 1, "Actual Total Time": 40.0,
  "Filter": "(note = 'se''cret \" + |'::text)", "Rows Removed by Filter": 299990}"#;

fn whole() -> String {
    format!("[\n  {{\n    \"Plan\": {NODE},\n    \"Execution Time\": 41.0\n  }}\n]")
}

#[test]
fn a_plan_is_found_in_whatever_a_tool_made_of_it() {
    let json = whole();
    let object = format!("{{\"Plan\": {NODE}, \"Execution Time\": 41.0}}");
    let lines = || json.lines().collect::<Vec<_>>();
    let psql = format!(
        "      QUERY PLAN\n----------------------\n{}\n(1 row)\n\n",
        lines().iter().map(|line| format!(" {line:<90}+")).collect::<Vec<_>>().join("\n")
    );
    let bordered = lines().iter().map(|line| format!("| {line:<90}+|")).collect::<Vec<_>>().join("\n");
    let expanded = format!("-[ RECORD 1 ]-----\nQUERY PLAN | {}", lines().join("+\n           | "));
    let csv = format!("QUERY PLAN\n\"{}\"\n", json.replace('"', "\"\""));
    let rows = serde_json::json!([{ "QUERY PLAN": json }]).to_string();
    let nested = format!("[{{\"QUERY PLAN\": {json}}}]");
    let log = format!("2026-11-28 12:00:00 UTC [4711] LOG:  duration: 41.0 ms  plan:\n{object}");
    for text in
        [json.clone(), object, psql, bordered, expanded, csv, rows, nested, log, format!("\u{feff}{json}")]
    {
        let plan: Plan = text.parse().unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let found = tips(&plan);
        assert_eq!(found[0].code, TipCode::SeqScanFilterRemovesMost, "{text}");
        assert!(!format!("{found:?}").contains("cret"), "{found:?}");
    }
    let wide: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(Plan::from_bytes(&[&[0xff, 0xfe], wide.as_slice()].concat()).is_ok());
}

#[test]
fn what_is_no_plan_is_refused_with_the_way_out() {
    let error = |text: &str| text.parse::<Plan>().unwrap_err();
    assert_eq!(error(" \n"), NotAPlan::Empty);
    assert_eq!(error("Seq Scan on a  (cost=0.00..1.00 rows=1 width=4)"), NotAPlan::Format("text"));
    assert_eq!(error("- Plan:\n    Node Type: \"Seq Scan\""), NotAPlan::Format("YAML"));
    assert_eq!(error("[1, 2]"), NotAPlan::NoPlan);
    assert_eq!(error("SELECT 1"), NotAPlan::NoPlan);
    assert!(matches!(error(&whole()[..200]), NotAPlan::Damaged { .. }));
    assert_eq!(error(r#"{"Plan": {"Total Cost": 1}}"#), NotAPlan::NoNodeType);
    assert!(matches!(error(&"[".repeat(20_000)), NotAPlan::TooDeep(20_000)));
}

#[test]
fn a_plan_of_a_thousand_levels_is_read() {
    let mut text = NODE.to_owned();
    for _ in 0..1000 {
        text = format!(r#"{{"Node Type": "Materialize", "Plans": [{text}]}}"#);
    }
    let plan: Plan = format!(r#"{{"Plan": {text}}}"#).parse().unwrap();
    assert_eq!((plan.nodes.len(), plan.label(1000)), (1001, "Seq Scan on big".to_owned()));
    assert!(plan.tree(&std::collections::BTreeMap::new()).lines().count() > 1000);
    let _ = (plan.times(), plan.shape(), tips(&plan));
}
