//! What schemas in the wild ask of their rows, one kind at a time: each table gets all of its rows.

use crate::database::connect;
use crate::generating::{generate, options, short};
use db_testkit::TestDatabase;
use tokio_postgres::Client;

/// Fills a schema of which nothing may stay short.
async fn filled(schema: &str) -> (TestDatabase, Client) {
    let database = TestDatabase::empty().await.unwrap();
    let mut client = connect(&database).await;
    client.batch_execute(schema).await.unwrap();
    let made = generate(&mut client, options()).await;
    assert_eq!(short(&made), Vec::<String>::new());
    (database, client)
}

async fn is(client: &Client, condition: &str) -> bool {
    client.query_one(&format!("SELECT {condition}"), &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn conditions_on_fields_of_composite_values_are_met() {
    let (_database, client) = filled(include_str!("../schemas/kinds/composites.sql")).await;
    assert!(is(&client, "count(*) > 5 FROM items WHERE size IS NOT NULL").await);
    assert!(is(&client, "count(*) > 5 FROM offices WHERE outline IS NOT NULL").await);
}

#[tokio::test]
async fn conditions_on_ends_of_ranges_are_met() {
    let (_database, client) = filled(include_str!("../schemas/kinds/ranges.sql")).await;
    assert!(is(&client, "count(*) > 5 FROM stays WHERE open").await);
    assert!(is(&client, "count(DISTINCT kind) = 2 FROM shifts").await);
}

#[tokio::test]
async fn conditions_on_ways_into_documents_are_met() {
    let (_database, client) = filled(include_str!("../schemas/kinds/documents.sql")).await;
    assert!(is(&client, "count(DISTINCT kind) = 2 FROM settings").await);
}

#[tokio::test]
async fn references_that_share_columns_agree() {
    let (_database, client) = filled(include_str!("../schemas/kinds/references.sql")).await;
    assert!(is(&client, "count(*) > 0 FROM accounts WHERE parent IS NOT NULL").await);
    assert!(is(&client, "count(*) > 10 FROM customers WHERE preferred IS NOT NULL").await);
}

#[tokio::test]
async fn circles_whose_keys_a_table_outside_tells_are_filled() {
    let (_database, client) = filled(include_str!("../schemas/kinds/circles.sql")).await;
    assert!(is(&client, "count(DISTINCT company) > 10 FROM crew").await);
}

#[tokio::test]
async fn parts_of_texts_that_other_columns_tell_are_met() {
    let (_database, client) = filled(include_str!("../schemas/kinds/texts.sql")).await;
    assert!(is(&client, "count(*) > 10 FROM units WHERE parent IS NOT NULL").await);
}

#[tokio::test]
async fn lengths_of_time_and_fields_of_dates_are_met() {
    filled(include_str!("../schemas/kinds/times.sql")).await;
}

#[tokio::test]
async fn elements_bits_networks_and_partial_indexes_are_met() {
    let (_database, client) = filled(include_str!("../schemas/kinds/sets.sql")).await;
    assert!(is(&client, "count(*) > 5 FROM owners WHERE is_owner").await);
}

#[tokio::test]
async fn what_triggers_refuse_is_made_another_way() {
    let (_database, client) = filled(include_str!("../schemas/kinds/triggers.sql")).await;
    assert!(is(&client, "count(DISTINCT course) > 10 FROM enrolments").await);
}

#[tokio::test]
async fn what_functions_compute_or_judge_is_met() {
    let (_database, client) = filled(include_str!("../schemas/kinds/functions.sql")).await;
    assert!(is(&client, "bool_and(slug = slug_of(title)) FROM articles").await);
}
