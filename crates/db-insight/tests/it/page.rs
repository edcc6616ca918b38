//! docs/query-optimization.md shows a plan before and after for each tip, and a server makes one of each now.
//!
//! Whether the page is word for word what a server makes depends on the machine's mood: claim insight-5 looks at it.

use db_insight::TipCode;

use crate::pages;

#[test]
fn every_tip_has_a_plan_before_and_after_as_a_server_makes_them() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/query-optimization.md");
    let page = std::fs::read_to_string(page).unwrap();
    let made = pages::sections();
    for code in TipCode::ALL {
        for (text, whose) in [(&page, "the page"), (&made, "what a server makes")] {
            let section = text.split_once(&format!("### {code}\n")).map(|(_, behind)| behind);
            let section = section.and_then(|behind| behind.split("\n### ").next()).unwrap_or_default();
            assert!(
                section.contains("Before") && section.contains("After"),
                "{whose} has no plans of {code}"
            );
        }
    }
}
