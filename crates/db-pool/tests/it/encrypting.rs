//! Encrypted connections to real servers: what each `sslmode` accepts, and what is said where it does not.

mod authority;
mod server;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use db_core::{Class, Classify, ConnectFailure, Error, SslMode};
use db_testkit::until;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::starting::logs_in;
use crate::{backend, number, open, pool_config};
use authority::{Authority, self_signed, self_signed_expired};
use server::{Server, connect};

const HOST: &str = "db.example";

async fn is_encrypted(conn: &mut AsyncPgConnection) -> bool {
    let sql = "SELECT ssl::int::bigint AS n FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    number(conn, sql).await == 1
}

async fn check(url: &str, encrypted: bool) {
    let mut conn = connect(url).await.unwrap_or_else(|error| panic!("{}: {error}", bare(url)));
    assert_eq!(is_encrypted(&mut conn).await, encrypted, "{}", bare(url));
}

/// The URL must be refused for this reason, with these words and without the password.
async fn check_refused(url: &str, failure: ConnectFailure, words: &[&str]) -> Error {
    let Err(error) = connect(url).await else { panic!("{} was let in", bare(url)) };
    let Error::Connect(connect) = &error else { panic!("{error:?}") };
    let text = error.to_string();
    assert_eq!(connect.failure, failure, "{}: {text}", bare(url));
    for words in words {
        assert!(text.contains(words), "{}: no {words:?} in: {text}", bare(url));
    }
    assert!(!format!("{text} {error:?}").contains(db_testkit::password()), "{text}");
    error
}

/// The part of a URL that a test's message may show.
fn bare(url: &str) -> &str {
    url.split_once('@').unwrap().1
}

fn root(path: &Path) -> String {
    format!("sslrootcert={}", path.display())
}

#[tokio::test]
async fn each_sslmode_gets_the_encryption_that_it_asks_for() {
    let (Some(server), authority) = (Server::start().await, Authority::new("ours")) else { return };
    server.show(Some(&authority.issue(&[HOST]))).await;
    let root = root(&server.file("ca.pem", &authority.pem()));

    for mode in SslMode::ALL {
        let url = server.url(HOST, &format!("sslmode={mode}&{root}"));
        check(&url, mode != SslMode::Disable).await;
    }
    check(&server.url(HOST, "sslmode=require"), true).await;
    check(&server.url("localhost", "application_name=nothing+said"), true).await;
    // A name that no certificate can carry is good enough where none is asked for.
    check(&server.url("a..b", "sslmode=require"), true).await;
    check(&server.url("10.1.2.3", "sslmode=prefer"), true).await;

    let socket = server.socket_dir().display().to_string().replace('/', "%2F");
    let local = format!("postgres://postgres@{socket}:{}/app?sslmode=verify-full", server.port());
    check(&local, false).await;
}

#[tokio::test]
async fn files_are_read_again_once_they_have_changed() {
    let (Some(server), old) = (Server::start().await, Authority::new("old")) else { return };
    let new = Authority::new("new");
    server.show(Some(&old.issue(&[HOST]))).await;
    let ca = server.file("late.pem", "");
    fs::remove_file(&ca).unwrap();
    let url: db_core::DatabaseUrl =
        server.url(HOST, &format!("sslmode=verify-full&{}", root(&ca))).parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let connector = db_pool::Connector::new(url, db_pool::ConnectConfig::default());
    let connect = async || db_core::Connect::connect(&connector, &endpoint).await.map(drop);
    let missing = connect().await.unwrap_err().to_string();
    assert!(missing.contains("cannot be read"), "{missing}");
    server.file("late.pem", &old.pem());
    connect().await.unwrap();
    server.show(Some(&new.issue(&[HOST]))).await;
    connect().await.unwrap_err();
    server.file("late.pem", &format!("{}{}", old.pem(), new.pem()));
    connect().await.unwrap();
}

#[tokio::test]
async fn verify_full_refuses_a_host_that_no_certificate_can_name() {
    let (Some(server), authority) = (Server::start().await, Authority::new("ours")) else { return };
    // It proves the address, and that is not what was asked for.
    server.show(Some(&authority.issue(&["127.0.0.1"]))).await;
    let ca = root(&server.file("ca.pem", &authority.pem()));
    let url = server.url("a..b", &format!("sslmode=verify-full&{ca}"));
    check_refused(&url, ConnectFailure::Tls, &["is no name that a certificate can carry"]).await;
}

#[tokio::test]
async fn a_server_without_encryption_is_refused_from_require_on() {
    let Some(server) = Server::start().await else { return };
    for mode in ["disable", "allow", "prefer"] {
        check(&server.url(HOST, &format!("sslmode={mode}")), false).await;
    }
    check(&server.url("localhost", "application_name=nothing+said"), false).await;

    let ca = root(&server.file("ca.pem", &Authority::new("ours").pem()));
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = server.url(HOST, &format!("sslmode={mode}&{ca}"));
        let words = [mode, "does not offer encryption", "check sslmode"];
        let error = check_refused(&url, ConnectFailure::Tls, &words).await;
        assert_eq!(error.class(), Class::Permanent);
    }
}

#[tokio::test]
async fn a_server_on_another_machine_must_prove_who_it_is_unless_the_url_says_otherwise() {
    let (Some(server), authority) = (Server::start().await, Authority::new("ours")) else { return };
    let choices =
        ["no sslmode is set", "sslmode=verify-ca gives up", "sslmode=require also", "sslmode=disable any"];
    let said = "application_name=nothing+said";

    let words = [&["does not offer encryption"][..], &choices].concat();
    check_refused(&server.url(HOST, said), ConnectFailure::Tls, &words).await;

    server.show(Some(&authority.issue(&[HOST]))).await;
    let words = [&["issued by no authority", "the system's store", "sslrootcert"][..], &choices].concat();
    check_refused(&server.url(HOST, said), ConnectFailure::Tls, &words).await;
    check(&server.url(HOST, &root(&server.file("ca.pem", &authority.pem()))), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_certificate_in_the_home_directory_makes_require_ask_for_it() {
    let (Some(server), ours) = (Server::start().await, Authority::new("ours")) else { return };
    server.show(Some(&ours.issue(&["db2.example"]))).await;
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join(".postgresql");
    fs::create_dir(&place).unwrap();
    let may = |mode: &str| logs_in(&server.url(HOST, &format!("sslmode={mode}")), home.path());
    assert_eq!((may("require"), may("verify-ca")), (true, false), "nothing says whom to trust");
    fs::write(place.join("root.crt"), ours.pem()).unwrap();
    assert_eq!((may("require"), may("verify-ca"), may("verify-full")), (true, true, false));
    fs::write(place.join("root.crt"), Authority::new("theirs").pem()).unwrap();
    assert_eq!((may("require"), may("verify-ca")), (false, false), "as libpq takes require");
    assert!(may("prefer"));
}

#[tokio::test]
async fn a_certificate_must_be_for_this_host_and_of_today_and_from_a_known_authority() {
    let (Some(server), ours) = (Server::start().await, Authority::new("ours")) else { return };
    let ca = root(&server.file("ca.pem", &ours.pem()));
    let url = |mode: &str| server.url(HOST, &format!("sslmode={mode}&{ca}"));

    server.show(Some(&ours.issue(&["db2.example", "127.0.0.1"]))).await;
    let words = ["is for db2.example, 127.0.0.1 and not for db.example"];
    check_refused(&url("verify-full"), ConnectFailure::Tls, &words).await;
    check(&url("verify-ca"), true).await;
    check(&server.url("127.0.0.1", &format!("sslmode=verify-full&{ca}")), true).await;

    server.show(Some(&ours.issue(&[]))).await;
    let words = ["names no host", "subjectAltName"];
    check_refused(&url("verify-full"), ConnectFailure::Tls, &words).await;

    server.show(Some(&ours.issue_expired(&[HOST]))).await;
    for mode in ["require", "verify-ca", "verify-full"] {
        check_refused(&url(mode), ConnectFailure::Tls, &["expired", "days ago; renew it"]).await;
    }
    check(&server.url(HOST, "sslmode=require"), true).await;

    server.show(Some(&Authority::new("theirs").issue(&[HOST]))).await;
    for mode in ["require", "verify-ca", "verify-full"] {
        check_refused(&url(mode), ConnectFailure::Tls, &["issued by no authority in", "ca.pem"]).await;
    }
    check(&server.url(HOST, "sslmode=require"), true).await;
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_where_it_is_named() {
    let (Some(server), own) = (Server::start().await, self_signed(&[HOST])) else { return };
    server.show(Some(&own)).await;
    let named = root(&server.file("server.pem", &own.certificate));
    check(&server.url(HOST, &format!("sslmode=verify-full&{named}")), true).await;
    let other = server.url("other.example", &format!("sslmode=verify-full&{named}"));
    check_refused(&other, ConnectFailure::Tls, &["and not for other.example"]).await;
    let another = root(&server.file("another.pem", &self_signed(&[HOST]).certificate));
    let another = server.url(HOST, &format!("sslmode=verify-full&{another}"));
    check_refused(&another, ConnectFailure::Tls, &["not the one that sslrootcert names"]).await;

    let old = self_signed_expired(&[HOST]);
    server.show(Some(&old)).await;
    let named = root(&server.file("old.pem", &old.certificate));
    let url = server.url(HOST, &format!("sslmode=verify-full&{named}"));
    check_refused(&url, ConnectFailure::Tls, &["expired", "days ago"]).await;
}

/// The tap sits above the encryption, and the request to cancel goes the same way as the connection.
#[tokio::test]
async fn a_pool_that_encrypts_knows_and_does_what_any_other_does() {
    let (Some(server), authority) = (Server::start().await, Authority::new("ours")) else { return };
    server
        .demand(Some(&authority.issue(&[HOST])), None, "hostssl all all 127.0.0.1/32 scram-sha-256\n")
        .await;
    let root = root(&server.file("ca.pem", &authority.pem()));
    let pool = open(&server.url(HOST, &format!("sslmode=verify-full&{root}")), pool_config(2));
    let (mut conn, mut observer) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert!(is_encrypted(&mut conn).await);
    conn.batch_execute("BEGIN").await.unwrap();
    assert_eq!(conn.in_transaction(), Some(true));
    assert!(conn.batch_execute("SELECT 1 / 0").await.is_err());
    conn.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(conn.failed_with().unwrap().as_str(), "22012");

    let abandoned = backend(&mut conn).await;
    let running = "SELECT count(*) AS n FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'";
    tokio::select! {
        _ = conn.batch_execute("SELECT pg_sleep(600)") => unreachable!("it takes ten minutes"),
        () = until("the statement runs", async || number(&mut observer, running).await == 1) => {}
    }
    let dropped = Instant::now();
    drop(conn);
    until("it is back", async || pool.status().salvages == 1).await;
    assert!(
        dropped.elapsed() < Duration::from_secs(20),
        "it was the server's statement_timeout that ended it"
    );
    assert_eq!(backend(&mut pool.get().await.unwrap()).await, abandoned);
}

/// What `openssl x509 -req` made for twenty years, and with it the PostgreSQL manual's example.
#[tokio::test]
async fn a_certificate_of_version_1_encrypts_where_none_is_verified() {
    let Some(server) = Server::start().await else { return };
    let both = include_str!("encrypting/version-1.pem").to_owned();
    let named = root(&server.file("server.pem", &both));
    server.show(Some(&authority::Issued { certificate: both.clone(), key: both })).await;
    check(&server.url(HOST, "sslmode=require&channel_binding=require"), true).await;
    let verified = server.url(HOST, &format!("sslmode=verify-full&{named}"));
    check_refused(&verified, ConnectFailure::Tls, &["version 1; issue one of version 3"]).await;
}

#[tokio::test]
async fn encryption_that_is_not_safe_any_more_is_none() {
    let (Some(server), authority) = (Server::start().await, Authority::new("ours")) else { return };
    server.show_its_age(&authority.issue(&[HOST])).await;
    check_refused(&server.url(HOST, "sslmode=require"), ConnectFailure::Tls, &["handshake"]).await;
    check(&server.url(HOST, "sslmode=prefer"), false).await;
}

/// An attacker on the way can answer in the server's place; what comes before encryption is nobody's word.
#[tokio::test]
async fn what_is_sent_before_encryption_is_not_believed() {
    let Some(server) = Server::start().await else { return };
    for answer in [
        &b"SE\0\0\0\x20SFATAL\0Mgive me money\0\0"[..],
        b"E\0\0\0\x20SFATAL\0Mgive me money\0\0",
        b"HTTP/1.1",
    ] {
        let attacker = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = attacker.local_addr().unwrap().port();
        let answering = async {
            let (mut stream, _) = attacker.accept().await.unwrap();
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
            // Until the client hangs up.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let url = server.url_at(HOST, port, "sslmode=require");
        let (refused, ()) = tokio::join!(connect(&url), answering);
        let Err(error) = refused else { panic!("let in") };
        let text = format!("{error} {error:?}");
        assert!(text.contains("encryption") || text.contains("handshake"), "{text}");
        assert!(!text.contains("money"), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_wants_encryption_or_a_client_certificate_gets_it() {
    let (Some(server), authority) = (Server::start().await, Authority::new("ours")) else { return };
    let shown = authority.issue(&[HOST]);
    server.demand(Some(&shown), None, "hostssl all all 127.0.0.1/32 scram-sha-256\n").await;
    check(&server.url(HOST, "sslmode=prefer"), true).await;
    check_refused(&server.url(HOST, "sslmode=disable"), ConnectFailure::Login, &["no encryption"]).await;

    let clients = Authority::new("clients");
    server.demand(Some(&shown), Some(&clients), "hostssl all all 127.0.0.1/32 cert\n").await;
    let files = |issued: &authority::Issued, name: &str| {
        let certificate = server.file(&format!("{name}.crt"), &issued.certificate);
        let key = server.file(&format!("{name}.key"), &issued.key);
        format!("sslmode=require&sslcert={}&sslkey={}", certificate.display(), key.display())
    };
    check(&server.url(HOST, &files(&clients.issue_to("postgres"), "ours")), true).await;

    let none = server.url(HOST, "sslmode=require");
    check_refused(&none, ConnectFailure::Login, &["requires a valid client certificate"]).await;
    let ann = server.url(HOST, &files(&clients.issue_to("ann"), "ann"));
    check_refused(&ann, ConnectFailure::Login, &["certificate authentication failed"]).await;
    let theirs = server.url(HOST, &files(&authority.issue_to("postgres"), "theirs"));
    check_refused(&theirs, ConnectFailure::Tls, &["UnknownCA", "check sslcert"]).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_by_name_before_anything_is_sent() {
    let (Some(server), ours) = (Server::start().await, Authority::new("ours")) else { return };
    let issued = ours.issue_to("postgres");
    let (certificate, key) = (server.file("me.crt", &issued.certificate), server.file("me.key", &issued.key));
    let empty = server.file("empty.pem", "nothing\n");
    // Nothing listens there: the files are looked at first.
    let refused = async |params: String, words: &[&str]| {
        let url = server.url_at(HOST, 1, &format!("sslmode=require&{params}"));
        check_refused(&url, ConnectFailure::Tls, words).await;
    };
    let client = |certificate: &Path, key: &Path| {
        format!("sslcert={}&sslkey={}", certificate.display(), key.display())
    };

    refused(
        root(Path::new("/nowhere/ca.pem")),
        &["sslrootcert \"/nowhere/ca.pem\" cannot be read", "No such"],
    )
    .await;
    refused(root(&empty), &["empty.pem", "holds no certificate"]).await;
    refused(client(Path::new("/nowhere/me.crt"), &key), &["sslcert \"/nowhere/me.crt\" cannot be read"])
        .await;
    refused(client(&certificate, &empty), &["empty.pem", "holds no private key"]).await;
    let other = server.file("other.key", &ours.issue_to("postgres").key);
    refused(client(&certificate, &other), &["sslcert and sslkey do not go together"]).await;

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(client(&certificate, &key), &["can be read by others (mode 0644)", "0600"]).await;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o620)).unwrap();
    refused(client(&certificate, &key), &["mode 0620"]).await;
    // The group may read what root owns.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let (params, owned_by_root) = (client(&certificate, &key), fs::metadata(&key).unwrap().uid() == 0);
    let url = server.url_at(HOST, 1, &format!("sslmode=require&{params}"));
    let expected = if owned_by_root { ConnectFailure::Refused } else { ConnectFailure::Tls };
    check_refused(&url, expected, &[]).await;
}

#[tokio::test]
async fn a_login_is_tied_to_the_certificate_whatever_it_is_signed_with() {
    let Some(server) = Server::start().await else { return };
    let bound = server.url(HOST, "sslmode=require&channel_binding=require");
    let authorities = [
        Authority::signing_as(&rcgen::PKCS_ECDSA_P256_SHA256),
        Authority::signing_as(&rcgen::PKCS_ECDSA_P384_SHA384),
        Authority::rsa_sha512(),
    ];
    for authority in authorities {
        server.show(Some(&authority.issue(&[HOST]))).await;
        check(&bound, true).await;
    }

    // Its signature has no hash of its own, and servers know none either.
    server.show(Some(&Authority::signing_as(&rcgen::PKCS_ED25519).issue(&[HOST]))).await;
    check(&server.url(HOST, "sslmode=require"), true).await;
    check_refused(&bound, ConnectFailure::Tls, &["channel binding"]).await;

    server.show(None).await;
    let plain = server.url(HOST, "sslmode=disable&channel_binding=require");
    check_refused(&plain, ConnectFailure::Tls, &["channel binding"]).await;
}

#[tokio::test]
async fn direct_negotiation_saves_the_question_where_the_server_knows_it() {
    let authority = Authority::new("ours");
    let shown = authority.issue(&[HOST]);
    let Some(new) = Server::start_version(17).await else { return };
    new.show(Some(&shown)).await;
    let root = root(&new.file("ca.pem", &authority.pem()));
    let params = format!("sslnegotiation=direct&sslmode=verify-full&{root}");
    check(&new.url(HOST, &params), true).await;

    let Some(old) = Server::start_version(15).await else { return };
    old.show(Some(&shown)).await;
    let words = ["servers before PostgreSQL 17 end it with sslnegotiation=direct"];
    check_refused(&old.url(HOST, &params), ConnectFailure::Other, &words).await;
}
