//! A part of a database leaves it whole, and without the values of people.

use std::collections::BTreeMap;
use std::path::Path;

use db_seeds::{Error, Masks, Seeds, Subset};
use db_testkit::TestDatabase;
use tokio_postgres::Client;

use crate::database::{connect, count, load, options};

const SCHEMA: &str = "
CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL UNIQUE, name text NOT NULL, boss_id int REFERENCES people,
    born date, team_id int);
CREATE TABLE teams (id int PRIMARY KEY, lead_id int REFERENCES people, name text);
ALTER TABLE people ADD FOREIGN KEY (team_id) REFERENCES teams;
CREATE TABLE orders (id int PRIMARY KEY, person_id int NOT NULL REFERENCES people, contact text, doc jsonb);
CREATE TABLE lines (order_id int REFERENCES orders, no int, note text, PRIMARY KEY (order_id, no));
CREATE TABLE mailings (email text REFERENCES people (email), sent date);
CREATE TABLE unrelated (id int PRIMARY KEY, words text);";

const ROWS: &str = "
INSERT INTO teams SELECT i, NULL, 'team ' || i FROM generate_series(1, 5) AS i;
INSERT INTO people SELECT i, 'person' || i || '@secret.org', 'Real Name ' || i, nullif(i / 2, 0), '1990-02-03', 1 + i % 5
    FROM generate_series(1, 50) AS i;
UPDATE teams SET lead_id = id * 3;
INSERT INTO orders SELECT i, 1 + i % 50, 'call person' || 1 + i % 50 || '@secret.org', jsonb_build_object('to',
    jsonb_build_array('person' || 1 + i % 50 || '@secret.org'), 'n', i) FROM generate_series(1, 100) AS i;
INSERT INTO lines SELECT i, 1, 'for Real Name ' || 1 + i % 50 FROM generate_series(1, 100) AS i;
INSERT INTO mailings SELECT email, now() FROM people;
INSERT INTO unrelated VALUES (1, 'words');";

const MASKS: &str = r#"
[people]
id = "keep"
email = "email"
name = "name"
boss_id = "keep"
born = "date"
team_id = "keep"
[teams]
id = "keep"
lead_id = "keep"
name = "keep"
[orders]
id = "keep"
person_id = "keep"
contact = "keep"
doc = "keep"
[lines]
order_id = "keep"
no = "keep"
note = "keep"
[mailings]
email = "keep"
sent = "keep"
"#;

async fn filled() -> (TestDatabase, Client) {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(&database).await;
    client.batch_execute(SCHEMA).await.unwrap();
    client.batch_execute(ROWS).await.unwrap();
    (database, client)
}

fn subset(root: &str, masks: &str) -> Result<Subset, Box<Error>> {
    let masks = Masks::parse(Path::new("masks.toml"), masks, b"the key of this test")?;
    Ok(Subset { roots: vec![root.to_owned()], masks, children: true })
}

/// The texts of the files that a subset is written as.
async fn texts(client: &mut Client, subset: &Subset) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let dumped = subset.write(client, dir.path()).await.unwrap();
    let name = |file: &Path| file.file_name().unwrap().to_string_lossy()[3..].to_owned();
    dumped.files.iter().map(|file| (name(file), std::fs::read_to_string(file).unwrap())).collect()
}

#[tokio::test]
async fn a_subset_loads_again_closed_and_without_one_masked_value() {
    let (_database, mut client) = filled().await;
    let dir = tempfile::tempdir().unwrap();
    let dumped = subset("orders WHERE id = 7", MASKS)
        .unwrap()
        .write(&mut client, &dir.path().join("part"))
        .await
        .unwrap();
    assert_eq!(dumped.left_out, Vec::<String>::new());
    for file in &dumped.files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains("secret.org") && !text.contains("Real Name"), "{}", file.display());
    }
    let other = TestDatabase::empty().await.unwrap();
    let mut other_client = connect(&other).await;
    other_client.batch_execute(SCHEMA).await.unwrap();
    let seeds = Seeds::open(dir.path(), "part").unwrap();
    let (_, applied) = load(&seeds, &mut other_client, &options()).await.unwrap();
    assert_eq!(applied.rows, dumped.rows);
    assert_eq!(count(&other_client, "orders").await, 1);
    assert_eq!(count(&other_client, "lines").await, 1, "what refers to the root comes along");
    assert_eq!(count(&other_client, "people WHERE id = 8").await, 1);
    assert_eq!(count(&other_client, "people WHERE id IN (4, 2, 1)").await, 3, "bosses of bosses");
    assert!(count(&other_client, "teams").await > 0, "a circle of references");
    assert_eq!(count(&other_client, "unrelated").await, 0);
    let joined = "orders AS o JOIN people AS p ON p.id = o.person_id AND o.contact = 'call ' || p.email
        AND o.doc -> 'to' ->> 0 = p.email";
    assert_eq!(count(&other_client, joined).await, 1, "copies are masked as what they are copies of");
    // What loaded it is as it was.
    let kept = "pg_constraint WHERE contype = 'f' AND condeferrable";
    assert_eq!(count(&other_client, kept).await, 0);
}

#[tokio::test]
async fn a_column_that_refers_to_a_masked_one_is_masked_alike_and_runs_agree() {
    let (_database, mut client) = filled().await;
    let whole = subset("people", MASKS).unwrap();
    let first = texts(&mut client, &whole).await;
    assert_eq!(texts(&mut client, &whole).await, first);
    let emails = |text: &str| {
        let found = text.split('"').filter(|one| one.ends_with("@example.com")).map(str::to_owned);
        let mut found: Vec<String> = found.collect();
        found.sort();
        found
    };
    assert_eq!(emails(&first["mailings.csv"]).len(), 50);
    assert_eq!(emails(&first["mailings.csv"]), emails(&first["people.csv"]));
}

#[tokio::test]
async fn what_cannot_be_masked_ends_the_run_before_the_first_row() {
    let (_database, mut client) = filled().await;
    let mut check = async |masks: &str, said: &str| {
        let dir = tempfile::tempdir().unwrap();
        let error = match subset("orders", masks) {
            Ok(subset) => subset.write(&mut client, dir.path()).await.unwrap_err(),
            Err(error) => *error,
        };
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{said}");
    };
    check(&MASKS.replace("contact = \"keep\"\n", ""), "public.orders: contact").await;
    check(&MASKS.replace("[lines]", "[nobody]"), "nobody is in masks.toml and not in the database").await;
    check(&MASKS.replace("email = \"email\"", "email = \"null\""), "public.people.email must not be NULL")
        .await;
    check(&MASKS.replace("email = \"email\"", "email = \"date\""), "is of a type that its mask is not for")
        .await;
    check(&MASKS.replace("email = \"email\"", "email = { fixed = \"x\" }"), "makes the same of different")
        .await;
    check(&MASKS.replace("doc = \"keep\"", "doc = \"nonsense\""), "orders.doc is no mask").await;
    let refused = Masks::parse(Path::new("m"), MASKS, b"short").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the secret has fewer than 8 bytes: masks that anyone can make hide nothing"
    );
}

#[tokio::test]
async fn a_first_file_of_masks_names_every_column() {
    let (_database, mut client) = filled().await;
    let proposed = Masks::proposed(&mut client).await.unwrap();
    let whole = texts(&mut client, &subset("people", &proposed).unwrap()).await;
    assert!(whole.values().all(|text| !text.contains("secret.org")), "{proposed}");
}

/// Texts with conditions of their own, a key among them, and codes that look like a masked value.
const CODED: &str = "
CREATE TABLE members (number char(8) PRIMARY KEY CHECK (number ~ '^[KM][0-9]{7}$'), name text NOT NULL
    CHECK (name = lower(name)), country char(2) NOT NULL, iban text CHECK (iban ~ '^(DE|NL)[0-9]{6}$'),
    CHECK (left(iban, 2) = country));
CREATE TABLE visits (id int PRIMARY KEY, member char(8) NOT NULL REFERENCES members, code char(2) NOT NULL
    CHECK (code ~ '^[a-z]{2}$'));
INSERT INTO members SELECT 'K' || 1000000 + i, CASE i WHEN 1 THEN 'bo' ELSE 'person ' || i END,
    CASE i % 2 WHEN 0 THEN 'DE' ELSE 'NL' END, CASE i % 2 WHEN 0 THEN 'DE' ELSE 'NL' END || 100000 + i
    FROM generate_series(1, 40) AS i;
INSERT INTO visits SELECT i, 'K' || 1000000 + i, 'bo' FROM generate_series(1, 40) AS i;";

#[tokio::test]
async fn masked_values_keep_the_conditions_of_their_columns() {
    let database = TestDatabase::empty().await.unwrap();
    let mut client = connect(&database).await;
    client.batch_execute(CODED).await.unwrap();
    let masks = "[members]\nnumber = \"hash\"\nname = \"name\"\ncountry = \"keep\"\niban = \"format\"\n\
                 [visits]\nid = \"keep\"\nmember = \"keep\"\ncode = \"keep\"\n";
    let dir = tempfile::tempdir().unwrap();
    let dumped =
        subset("members", masks).unwrap().write(&mut client, &dir.path().join("part")).await.unwrap();
    for file in &dumped.files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains("K10000") && !text.contains("person ") && !text.contains("1000"), "{text}");
    }
    let other = TestDatabase::empty().await.unwrap();
    let mut other_client = connect(&other).await;
    other_client.batch_execute(CODED).await.unwrap();
    other_client.batch_execute("TRUNCATE members, visits").await.unwrap();
    let seeds = Seeds::open(dir.path(), "part").unwrap();
    load(&seeds, &mut other_client, &options()).await.unwrap();
    assert_eq!(count(&other_client, "members JOIN visits ON member = number").await, 40);
    assert_eq!(count(&other_client, "visits WHERE code = 'bo'").await, 40, "a code is nobody's name");
}
