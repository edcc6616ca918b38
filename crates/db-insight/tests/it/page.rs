//! docs/query-optimization.md shows a plan before and after for each tip, each sort of advice and each
//! finding, and a server makes one of each now.
//!
//! Whether the page is word for word what a server makes depends on the machine's mood: claim insight-5 looks
//! at it.

use crate::pages;

#[test]
fn every_tip_and_advice_has_a_plan_before_and_after_as_a_server_makes_them() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/query-optimization.md");
    let page = std::fs::read_to_string(page).unwrap();
    let made = pages::sections();
    for heading in pages::headings() {
        for (text, whose) in [(&page, "the page"), (&made, "what a server makes")] {
            assert!(pages::has_plans(text, heading), "{whose} has no plans of {heading}");
        }
    }
}
