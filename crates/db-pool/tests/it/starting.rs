//! What sessions start with: what was chosen, else the URL's, else the role's and the database's, else the
//! default.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use db_core::{Connect, ConnectFailure, DatabaseUrl, Error};
use db_pool::{ConnectConfig, ConnectDefaults, Connector};
use db_testkit::{Cluster, Proxy, TestDatabase};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::{open, pool_config, word};

/// A URL with another parameter.
fn with(url: &str, parameter: &str) -> String {
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}{parameter}")
}

async fn connect(url: &str, config: ConnectConfig) -> AsyncPgConnection {
    let url: DatabaseUrl = url.parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    Connector::new(url, config).connect(&endpoint).await.unwrap()
}

/// A setting of a session, as it is and as `RESET ALL` leaves it.
async fn show(conn: &mut AsyncPgConnection, name: &str) -> [String; 2] {
    let query = format!("SELECT current_setting('{name}') AS word");
    let first = word(conn, &query).await;
    conn.batch_execute("RESET ALL").await.unwrap();
    [first, word(conn, &query).await]
}

#[track_caller]
fn both(value: &str) -> [String; 2] {
    [value.to_owned(), value.to_owned()]
}

#[tokio::test]
async fn the_urls_options_win_over_defaults() {
    let database = TestDatabase::empty().await.unwrap();
    let url = with(
        database.url(),
        "options=-c%20statement_timeout%3D5min%20--idle-in-transaction-session-timeout%3D7s%20\
         -cTimeZone%3DAsia/Tokyo%20-c%20lock_timeout%3D3s&application_name=till",
    );
    let mut conn = connect(&url, ConnectConfig::default()).await;
    for (name, value) in [
        ("statement_timeout", "5min"),
        ("idle_in_transaction_session_timeout", "7s"),
        ("TimeZone", "Asia/Tokyo"),
        ("lock_timeout", "3s"),
        ("application_name", "till"),
    ] {
        assert_eq!(show(&mut conn, name).await, both(value), "{name}");
    }
    let url = with(database.url(), "fallback_application_name=shop&client_encoding=utf8");
    let mut conn = connect(&url, ConnectConfig::default()).await;
    assert_eq!(show(&mut conn, "application_name").await, both("shop"));
    assert_eq!(show(&mut conn, "statement_timeout").await, both("30s"));
}

#[tokio::test]
async fn the_settings_of_role_and_database_win_over_defaults_and_the_url_over_them() {
    let database = TestDatabase::empty().await.unwrap();
    let name = database.name();
    let mut admin = database.connect().await.unwrap();
    for setting in ["statement_timeout = '4min'", "TimeZone = 'Asia/Tokyo'", "search_path = 'shop'"] {
        admin.batch_execute(&format!("ALTER DATABASE {name} SET {setting}")).await.unwrap();
    }
    let role = format!("ALTER ROLE current_user IN DATABASE {name} SET");
    let idle = "idle_in_transaction_session_timeout";
    admin.batch_execute(&format!("{role} {idle} = '9s'; {role} statement_timeout = '3min'")).await.unwrap();

    let url: DatabaseUrl = database.url().parse().unwrap();
    let connector = Connector::new(url.clone(), ConnectConfig::default());
    // The second connection goes by what the first one learned.
    for _ in 0..2 {
        let mut conn = connector.connect(&url.hosts()[0]).await.unwrap();
        assert_eq!(show(&mut conn, "statement_timeout").await, both("3min"), "the role's, in this database");
        assert_eq!(show(&mut conn, idle).await, both("9s"));
        assert_eq!(show(&mut conn, "TimeZone").await, both("Asia/Tokyo"));
    }
    assert_eq!(connector.statement_timeout(), Some(Duration::from_secs(180)));

    let named = with(database.url(), "options=-c%20statement_timeout%3D2min");
    let mut conn = connect(&named, ConnectConfig::default()).await;
    assert_eq!(show(&mut conn, "statement_timeout").await, both("2min"));

    let pool = open(database.url(), pool_config(1));
    let mut conn = pool.get().await.unwrap();
    assert_eq!(show(&mut conn, "statement_timeout").await, both("3min"));
}

/// The first connection is closed and opened anew: the server counts the old one for a moment.
#[tokio::test]
async fn a_role_that_may_have_one_connection_gets_its_settings() {
    let database = TestDatabase::empty().await.unwrap();
    let mut admin = database.connect().await.unwrap();
    let role = format!("one_{}", database.name());
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'one' CONNECTION LIMIT 1");
    admin.batch_execute(&create).await.unwrap();
    admin.batch_execute(&format!("ALTER ROLE {role} SET statement_timeout = '3min'")).await.unwrap();
    let place = database.url().rsplit_once('@').unwrap().1;
    let mut conn = connect(&format!("postgres://{role}:one@{place}"), ConnectConfig::default()).await;
    assert_eq!(show(&mut conn, "statement_timeout").await, both("3min"));
    drop(conn);
    admin.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn what_was_chosen_wins_over_the_url_and_the_role() {
    let database = TestDatabase::empty().await.unwrap();
    let mut admin = database.connect().await.unwrap();
    let alter = format!("ALTER DATABASE {} SET statement_timeout = '4min'", database.name());
    admin.batch_execute(&alter).await.unwrap();
    let url = with(database.url(), "options=-c%20statement_timeout%3D2min");
    let timeout = |statement_timeout| ConnectConfig { statement_timeout, ..ConnectConfig::default() };
    let mut conn = connect(&url, timeout(Some(Duration::from_millis(1234)))).await;
    assert_eq!(show(&mut conn, "statement_timeout").await, both("1234ms"));
    let mut conn = connect(database.url(), timeout(None)).await;
    assert_eq!(show(&mut conn, "statement_timeout").await, both("0"), "no limit was chosen");
    let defaults = ConnectDefaults { statement_timeout: None, ..ConnectDefaults::default() };
    let mut conn = connect(&url, ConnectConfig { defaults, ..ConnectConfig::default() }).await;
    assert_eq!(show(&mut conn, "statement_timeout").await, both("30s"), "chosen, although it is the default");
}

#[tokio::test]
async fn the_urls_connect_timeout_holds() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    proxy.stall();
    let url = with(&proxy.through(database.url()).unwrap(), "connect_timeout=1");
    let url: DatabaseUrl = url.parse().unwrap();
    let given_up = async |config: ConnectConfig| {
        let endpoint = url.hosts()[0].clone();
        Connector::new(url.clone(), config).connect(&endpoint).await.map(|_| ()).unwrap_err().to_string()
    };
    let said = given_up(ConnectConfig::default()).await;
    assert!(said.contains("no answer within 1s"), "{said}");
    let chosen = ConnectConfig { connect_timeout: Duration::from_millis(300), ..ConnectConfig::default() };
    let said = given_up(chosen).await;
    assert!(said.contains("no answer within 300ms"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_not_what_the_url_asks_for_is_refused() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let (primary, standby) = (cluster.primary_url(), cluster.standby_urls().remove(0));
    let taken = async |url: &str, wish: &str| {
        let url: DatabaseUrl = with(url, &format!("target_session_attrs={wish}")).parse().unwrap();
        let endpoint = url.hosts()[0].clone();
        match Connector::new(url, ConnectConfig::default()).connect(&endpoint).await {
            Ok(_) => true,
            Err(Error::Connect(error)) if error.failure == ConnectFailure::WrongRole => {
                assert!(error.to_string().contains(&format!("target_session_attrs={wish}")), "{error}");
                false
            }
            Err(error) => panic!("{error}"),
        }
    };
    for (wish, by_primary, by_standby) in [
        ("any", true, true),
        ("read-write", true, false),
        ("primary", true, false),
        ("read-only", false, true),
        ("standby", false, true),
        ("prefer-standby", true, true),
    ] {
        assert_eq!(
            (taken(&primary, wish).await, taken(&standby, wish).await),
            (by_primary, by_standby),
            "{wish}"
        );
    }
}

/// A password file with the URL's password, and the URL without it.
fn password_file(url: &str, path: &Path) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (login, place) = rest.rsplit_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    fs::write(path, format!("# ours\n*:*:*:{user}:{password}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    format!("{scheme}://{user}@{place}")
}

#[tokio::test]
async fn a_password_comes_from_the_file_that_the_url_names() {
    let database = TestDatabase::empty().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwords");
    let url = password_file(database.url(), &path);
    let named = with(&url, &format!("passfile={}", path.display().to_string().replace('/', "%2F")));
    let mut conn = connect(&named, ConnectConfig::default()).await;
    assert_eq!(word(&mut conn, "SELECT 'in' AS word").await, "in");

    fs::write(&path, "*:*:*:*:hunter2\n").unwrap();
    let named: DatabaseUrl = named.parse().unwrap();
    let endpoint = named.hosts()[0].clone();
    let refused =
        Connector::new(named, ConnectConfig::default()).connect(&endpoint).await.map(|_| ()).unwrap_err();
    assert!(matches!(&refused, Error::Connect(error) if error.failure == ConnectFailure::Login), "{refused}");
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
}

const CHILD: &str = "DB_POOL_TEST_CHILD_URL";

/// Not a test by itself: the test below runs it in a process with another home.
#[tokio::test]
#[ignore = "run by the test below"]
async fn a_child_that_logs_in() {
    if let Ok(url) = std::env::var(CHILD) {
        let mut conn = connect(&url, ConnectConfig::default()).await;
        assert_eq!(word(&mut conn, "SELECT 'in' AS word").await, "in");
    }
}

/// Whether a process with this home directory can log in.
pub(crate) fn logs_in(url: &str, home: &Path) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "starting::a_child_that_logs_in", "--ignored"]);
    child.env(CHILD, url).env("HOME", home);
    let output = child.output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("running 1 test"));
    output.status.success()
}

#[tokio::test]
async fn a_password_comes_from_the_home_directory() {
    let database = TestDatabase::empty().await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let url = password_file(database.url(), &home.path().join(".pgpass"));
    assert!(logs_in(&url, home.path()));
    assert!(!logs_in(&url, Path::new("/nonexistent")));
}
