//! docs/query-optimization.md shows what a server makes of each tip's statement now.

use db_testkit::claims::Size;

use crate::pages;

#[test]
fn every_tip_has_a_plan_before_and_after_as_a_server_makes_them() {
    let figure = pages::measure(Size::Ci);
    assert!(
        figure.holds,
        "{}; anew: cargo bench -p db-insight --bench claims -- page, behind the comment that says so",
        figure.detail
    );
}
