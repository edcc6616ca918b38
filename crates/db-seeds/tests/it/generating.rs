//! Rows are made for schemas that the generator has never seen.

use db_core::Environment;
use db_seeds::{Error, GenerateOptions, Generated, Generator, Status};
use db_testkit::TestDatabase;
use tokio_postgres::Client;

use crate::database::{connect, count, migrated};

const TENANTS: &str = include_str!("../schemas/tenants.sql");
const BOOKINGS: &str = include_str!("../schemas/bookings.sql");

const WARDS: &str = include_str!("../schemas/wards.sql");
const CONDITIONS: &str = include_str!("../schemas/conditions.sql");

pub(crate) fn options() -> GenerateOptions {
    GenerateOptions { environment: Some(Environment::Test), ..GenerateOptions::default() }
}

async fn of_schema(schema: &str) -> (TestDatabase, Client) {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(&database).await;
    client.batch_execute(schema).await.unwrap();
    (database, client)
}

pub(crate) async fn generate(client: &mut Client, options: GenerateOptions) -> Generated {
    let generator = Generator::new(options);
    let plan = generator.plan(client).await.unwrap();
    generator.apply(client, &plan, |_| {}).await.unwrap()
}

/// Each table that has fewer rows than were asked for, as it is told.
pub(crate) fn short(made: &Generated) -> Vec<String> {
    made.tables.iter().filter(|table| table.rows < table.wanted).map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_schema_of_the_repository_is_filled_to_its_last_table() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    let made = generate(&mut client, options()).await;
    assert_eq!(short(&made), Vec::<String>::new());
}

#[tokio::test]
async fn overlapping_references_and_rules_over_several_columns_are_kept() {
    let (_database, mut client) = of_schema(TENANTS).await;
    let made = generate(&mut client, options()).await;
    assert_eq!(short(&made), Vec::<String>::new());
    // What is filled in is used, not left NULL throughout.
    assert!(count(&client, "users WHERE manager_id IS NOT NULL").await > 20);
    assert!(count(&client, "attachments WHERE user_id IS NOT NULL").await > 5);
    assert!(count(&client, "tasks WHERE state = 'done'").await > 5);
    client
        .execute(
            "INSERT INTO projects (tenant_id, owner_id, name, starts_on, spent)
        SELECT tenant_id, id, 'by hand', now(), 0 FROM users LIMIT 1",
            &[],
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn partitions_exclusions_circles_and_odd_types_are_filled() {
    let (_database, mut client) = of_schema(BOOKINGS).await;
    let made = generate(&mut client, options()).await;
    assert_eq!(
        short(&made),
        [
            "public.matrix: 25 of 100 rows: (x, y) has 25 different values",
            "public.only_one: 1 of 100 rows: (id) has 1 different values",
            "public.switches: 2 of 100 rows: (on_off) has 2 different values",
        ]
    );
    assert!(count(&client, "departments WHERE head_id IS NOT NULL").await > 20);
    assert!(count(&client, "measurements_2").await > 10);
}

#[tokio::test]
async fn generated_columns_forms_of_texts_and_circles_with_shared_keys_are_filled() {
    let (_database, mut client) = of_schema(WARDS).await;
    let made = generate(&mut client, options()).await;
    let said = short(&made);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("public.buildings: 26 of 100 rows"), "a letter each: {said:?}");
    assert!(count(&client, "departments JOIN staff ON head = number AND code = department").await > 90);
    assert!(count(&client, "staff WHERE kind = 'doctor'").await > 10);
}

#[tokio::test]
async fn the_same_number_makes_the_same_rows_and_another_number_others() {
    let dumped = async |seed| {
        let (_database, mut client) = of_schema(TENANTS).await;
        generate(&mut client, GenerateOptions { seed, ..options() }).await;
        let dir = tempfile::tempdir().unwrap();
        let dumped = db_seeds::dump(&mut client, dir.path(), &[]).await.unwrap();
        let texts: Vec<String> =
            dumped.files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        (texts, dumped.rows)
    };
    let (first, rows) = dumped(7).await;
    assert_eq!(rows, 1_100, "all rows of all tables");
    assert_eq!(dumped(7).await.0, first);
    assert_ne!(dumped(8).await.0, first);
}

#[tokio::test]
async fn what_was_made_is_loaded_again_as_a_set() {
    let (_database, mut client) = of_schema(TENANTS).await;
    generate(&mut client, options()).await;
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("made");
    let dumped = db_seeds::dump(&mut client, &set, &[]).await.unwrap();
    assert_eq!(dumped.left_out, Vec::<String>::new());
    let (_other, mut other) = of_schema(TENANTS).await;
    let seeds = db_seeds::Seeds::open(dir.path(), "made").unwrap();
    let (_, applied) = crate::database::load(&seeds, &mut other, &crate::database::options()).await.unwrap();
    assert_eq!(applied.rows, dumped.rows);
    let full = db_seeds::dump(&mut other, &set, &[]).await;
    assert!(matches!(full, Err(Error::Unreadable { .. })), "a directory with files is left alone");
}

#[tokio::test]
async fn the_second_time_there_is_nothing_to_do_and_other_numbers_are_refused() {
    let (_database, mut client) = of_schema(TENANTS).await;
    assert!(!generate(&mut client, options()).await.already);
    assert!(generate(&mut client, options()).await.already);
    let mut others = options();
    others.rows.insert("users".to_owned(), 7);
    let plan = Generator::new(others).plan(&mut client).await.unwrap();
    assert!(matches!(plan.status, Status::Refused(_)), "{:?}", plan.status);
}

#[tokio::test]
async fn rows_beside_rows_that_are_there_and_numbers_for_single_tables() {
    let (_database, mut client) = of_schema(BOOKINGS).await;
    client.batch_execute("INSERT INTO departments VALUES (1, 'by hand', NULL)").await.unwrap();
    let mut options = options();
    options.rows.extend([("departments".to_owned(), 40), ("odd names.Order".to_owned(), 0)]);
    let made = generate(&mut client, options).await;
    assert_eq!(count(&client, "departments").await, 41);
    assert_eq!(count(&client, "\"odd names\".\"Order\"").await, 0);
    assert!(made.tables.iter().all(|table| table.rows > 0 || table.wanted == 0), "{:?}", short(&made));
}

#[tokio::test]
async fn production_an_unnamed_environment_and_an_unknown_table_are_refused() {
    let (_database, mut client) = of_schema("CREATE TABLE t (id int)").await;
    let of = |environment| Generator::new(GenerateOptions { environment, ..options() });
    let refused = of(Some(Environment::Production)).plan(&mut client).await;
    assert!(matches!(refused, Err(Error::Production { .. })));
    let plan = of(None).plan(&mut client).await.unwrap();
    assert!(matches!(of(None).apply(&mut client, &plan, |_| {}).await, Err(Error::Nowhere { .. })));
    let mut unknown = options();
    unknown.rows.insert("nobody".to_owned(), 1);
    let refused = Generator::new(unknown).plan(&mut client).await;
    assert_eq!(refused.unwrap_err().to_string(), "there is no table \"nobody\": name one of public.t");
    assert_eq!(count(&client, "t").await, 0);
}

#[tokio::test]
async fn a_table_that_cannot_be_filled_is_named_and_the_others_are_filled() {
    let (_database, mut client) = of_schema(
        "CREATE TABLE never (id int PRIMARY KEY, CHECK (id > 5 AND id < 3));
        CREATE TABLE child (id int PRIMARY KEY, never_id int NOT NULL REFERENCES never);
        CREATE TABLE split (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE fine (id int PRIMARY KEY, never_id int REFERENCES never);",
    )
    .await;
    let made = generate(&mut client, options()).await;
    let filled: Vec<(&str, u64)> = made.tables.iter().map(|one| (&*one.table, one.rows)).collect();
    assert!(filled.contains(&("public.fine", 100)), "{filled:?}");
    assert_eq!(short(&made).len(), 3, "{:?}", short(&made));
    assert!(short(&made).iter().any(|one| one.contains("it is partitioned and has no partition")));
}

#[tokio::test]
async fn conditions_on_documents_lists_texts_ranges_and_states_are_met() {
    let (_database, mut client) = of_schema(CONDITIONS).await;
    let made = generate(&mut client, options()).await;
    assert_eq!(short(&made), Vec::<String>::new());
}
