//! What may destroy data: APP_ENV must say so, or a person.

use std::io::Write;
use std::process::{Command, Stdio};

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

use crate::{ask, dbctl, write};

const FILES: [(&str, &str); 5] = [
    ("m/1_one/up.sql", "CREATE TABLE one (id int); INSERT INTO one VALUES (1)"),
    ("m/1_one/down.sql", "DROP TABLE one"),
    ("s/made/seed.toml", "seed = 1\nanchor = \"2026-01-01T00:00:00Z\"\n"),
    ("s/made/10_one.csv", "id\n7\n"),
    ("s/empty/seed.toml", "seed = 1\nanchor = \"2026-01-01T00:00:00Z\"\n"),
];

/// A database with a row in the table `one`, and the directories that filled it.
async fn filled() -> (TestDatabase, tempfile::TempDir) {
    let (database, directory) = (TestDatabase::empty().await.unwrap(), tempfile::tempdir().unwrap());
    write(directory.path(), &FILES);
    let dir = directory.path().join("m");
    let at = [("DATABASE_URL", database.url())];
    let applied = dbctl(&at, &["migrate", "apply", "--dir", dir.to_str().unwrap()]).await;
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    database.connect().await.unwrap().batch_execute("INSERT INTO one VALUES (2)").await.unwrap();
    (database, directory)
}

const ROWS: &str = "SELECT count(*) FROM one";

#[tokio::test]
async fn without_an_environment_nothing_is_destroyed_and_no_row_is_invented() {
    let (database, directory) = filled().await;
    let (migrations, sets) = (directory.path().join("m"), directory.path().join("s"));
    let (m, s) = (migrations.to_str().unwrap(), sets.to_str().unwrap());
    let commands = [
        vec!["migrate", "reset", "--yes", "--dir", m],
        vec!["migrate", "undo", "--dir", m],
        vec!["migrate", "redo", "--dir", m],
        vec!["seed", "made", "--dir", s],
    ];
    let environments = [
        (None, "APP_ENV is not set"),
        (Some(""), "APP_ENV is not set"),
        (Some("  "), "APP_ENV is not set"),
        (Some("develpment"), "unknown environment \"develpment\""),
    ];
    for (environment, says) in environments {
        let mut at = vec![("DATABASE_URL", database.url())];
        at.extend(environment.map(|environment| ("APP_ENV", environment)));
        for command in &commands {
            let refused = dbctl(&at, command).await;
            assert_eq!(refused.code, Some(1), "{environment:?} {command:?}: {}", refused.out);
            assert!(refused.err.contains(says), "{environment:?} {command:?}: {}", refused.err);
            assert_eq!(ask(&database, ROWS).await, "2", "{environment:?} {command:?}");
        }
    }
    // What only reads needs no environment.
    let at = [("DATABASE_URL", database.url())];
    assert_eq!(dbctl(&at, &["seed", "made", "--plan", "--dir", s]).await.code, Some(0));
    assert_eq!(dbctl(&at, &["migrate", "status", "--dir", m]).await.code, Some(0));
}

#[tokio::test]
async fn an_environment_that_is_named_allows_what_fits_it() {
    let (database, directory) = filled().await;
    let (migrations, sets) = (directory.path().join("m"), directory.path().join("s"));
    let (m, s) = (migrations.to_str().unwrap(), sets.to_str().unwrap());
    let within = |environment| [("DATABASE_URL", database.url()), ("APP_ENV", environment)];
    for environment in ["production", "staging"] {
        let refused = dbctl(&within(environment), &["migrate", "reset", "--yes", "--dir", m]).await;
        assert!(refused.code == Some(1) && refused.err.contains(environment), "{}", refused.err);
    }
    let refused = dbctl(&within("production"), &["seed", "made", "--dir", s]).await;
    assert!(refused.code == Some(1) && refused.err.contains("production"), "{}", refused.err);
    assert_eq!(ask(&database, ROWS).await, "2");
    // A release is rolled back where it was rolled out.
    assert_eq!(dbctl(&within("production"), &["migrate", "redo", "--dir", m]).await.code, Some(0));
    assert_eq!(ask(&database, ROWS).await, "1");
    assert_eq!(dbctl(&within("staging"), &["seed", "made", "--dir", s]).await.code, Some(0));
    assert_eq!(ask(&database, ROWS).await, "2");
    let reset = dbctl(&within("test"), &["migrate", "reset", "--yes", "--dir", m]).await;
    assert_eq!(reset.code, Some(0), "{}", reset.err);
    assert_eq!(ask(&database, ROWS).await, "1");
}

/// Runs dbctl on a terminal of its own, where a person types `answer`.
async fn at_a_terminal(database: &TestDatabase, arguments: &[&str], answer: &str) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_dbctl");
    let line = format!("'{program}' {}", arguments.join(" "));
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).env_remove("APP_ENV");
    command.env("DATABASE_URL", database.url()).env_remove("DATABASE_DIRECT_URL");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let answer = format!("{answer}\n");
    let run = move || {
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(input);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn a_person_at_a_terminal_says_which_database_it_is() {
    let (database, directory) = filled().await;
    let dir = directory.path().join("m");
    let reset = ["migrate", "reset", "--yes", "--dir", dir.to_str().unwrap()];
    for wrong in ["yes", "", "postgres"] {
        let (code, said) = at_a_terminal(&database, &reset, wrong).await;
        assert_eq!(code, Some(1), "{wrong:?}: {said}");
        assert!(said.contains("APP_ENV is not set") && said.contains(database.name()), "{said}");
        assert_eq!(ask(&database, ROWS).await, "2", "{wrong:?}");
    }
    let (code, said) = at_a_terminal(&database, &reset, database.name()).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ask(&database, ROWS).await, "1");
}
