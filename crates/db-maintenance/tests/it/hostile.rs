//! What another role owns cannot make the maintainer run its SQL or own its objects: one test for each of
//! pg_partman's seven classes of CVEs of 2026.

mod attacks;

#[tokio::test]
async fn names_are_never_sql() {
    attacks::names_are_never_sql().await;
}

#[tokio::test]
async fn a_table_of_another_role_is_no_template() {
    attacks::a_table_of_another_role_is_no_template().await;
}

#[tokio::test]
async fn functions_and_operators_on_the_path_are_not_run() {
    attacks::functions_and_operators_on_the_path_are_not_run().await;
}

#[tokio::test]
async fn what_is_made_belongs_to_the_owner_and_squatted_names_are_left_alone() {
    attacks::what_is_made_belongs_to_the_owner_and_squatted_names_are_left_alone().await;
}

#[tokio::test]
async fn triggers_on_the_way_are_not_fired() {
    attacks::triggers_on_the_way_are_not_fired().await;
}

#[tokio::test]
async fn a_mark_that_another_role_wrote_drops_nothing() {
    attacks::a_mark_that_another_role_wrote_drops_nothing().await;
}

#[tokio::test]
async fn a_table_that_was_swapped_between_look_and_drop_is_not_touched() {
    attacks::a_table_that_was_swapped_between_look_and_drop_is_not_touched().await;
}
