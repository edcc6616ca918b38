//! Seven attacks, and how many of them succeed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use db_testkit::claims::{Figure, Size};
use serde_json::json;

use crate::attacks;
use crate::block_on;

/// What an attack is called, and whether it is repelled.
type Attack = (&'static str, fn() -> bool);

pub(crate) fn measure(_: Size) -> Figure {
    let all: [Attack; 7] = [
        ("names as SQL", || stands(attacks::names_are_never_sql())),
        ("template tables", || stands(attacks::a_table_of_another_role_is_no_template())),
        ("functions on the path", || stands(attacks::functions_and_operators_on_the_path_are_not_run())),
        ("ownership", || {
            stands(attacks::what_is_made_belongs_to_the_owner_and_squatted_names_are_left_alone())
        }),
        ("triggers on the way", || stands(attacks::triggers_on_the_way_are_not_fired())),
        ("configuration written by another", || {
            stands(attacks::a_mark_that_another_role_wrote_drops_nothing())
        }),
        ("a race between check and use", || {
            stands(attacks::a_table_that_was_swapped_between_look_and_drop_is_not_touched())
        }),
    ];
    let succeeded: Vec<&str> = all.iter().filter(|(_, stands)| !stands()).map(|(name, _)| *name).collect();
    #[expect(clippy::cast_precision_loss, reason = "at most seven")]
    let value = succeeded.len() as f64;
    Figure {
        value,
        unit: "attacks that succeed",
        holds: succeeded.is_empty(),
        detail: json!({ "attacks": all.len(), "succeeded": succeeded }),
    }
}

/// Whether the attack was repelled: it panics if it succeeds.
fn stands(attack: impl Future<Output = ()>) -> bool {
    catch_unwind(AssertUnwindSafe(|| block_on(attack))).is_ok()
}
