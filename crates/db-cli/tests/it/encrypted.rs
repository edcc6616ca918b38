//! Backups and the log's receiver over TLS: a server that lets the role in encrypted only, a client that must
//! be sure whom it meets.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::run::{Run, dbctl};
use crate::server::{DBCTL, Live};

/// The role that may come in encrypted only.
const RULES: &str =
    "hostssl all backup 127.0.0.1/32 scram-sha-256\nhostnossl all backup 127.0.0.1/32 reject\n";

fn authority(file: &Path) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(file, authority.pem()).unwrap();
    authority
}

/// From now on the server encrypts as `localhost`.
async fn encrypt(live: &Live, authority: &CertifiedIssuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, authority);
    let files = [
        ("server.crt", certificate.unwrap().pem(), "ssl_cert_file"),
        ("server.key", key.serialize_pem(), "ssl_key_file"),
    ];
    for (name, text, setting) in files {
        let path = live.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some(account) = db_server::Account::for_servers().unwrap() {
            chown(&path, Some(account.uid), Some(account.gid)).unwrap();
        }
        live.run(&format!("ALTER SYSTEM SET {setting} = '{}'", path.display())).await;
    }
    let rules = live.ask("current_setting('hba_file')").await;
    let others = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, format!("{RULES}{others}")).unwrap();
    live.run("ALTER SYSTEM SET ssl = on").await;
    live.run("SELECT pg_reload_conf()").await;
    db_testkit::until("the server encrypts", async || live.ask("current_setting('ssl')").await == "on").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_and_the_receiver_meet_the_server_that_its_certificate_names() {
    let live = Live::start("").await;
    if live.ask("current_setting('ssl_library')").await.is_empty() {
        return db_server::skip::this_test("the server's programs were built without TLS");
    }
    let known = live.path("known.crt");
    encrypt(&live, &authority(&known)).await;
    authority(&live.path("other.crt"));
    live.run("CREATE ROLE backup LOGIN REPLICATION PASSWORD 'over-tls-only'").await;
    live.json(&["backup", "init"]).await;
    let port = live.ask("current_setting('port')").await;
    let url = |host: &str, parameters: &str| {
        format!("postgres://backup:over-tls-only@{host}:{port}/app?{parameters}")
    };
    let sure = |file: &str| format!("sslmode=verify-full&sslrootcert={}", live.path(file).display());
    let (settings, take) = (live.path("dbctl.env"), ["backup", "take", "--include-log"]);
    let run = async |url: &str| -> Run {
        dbctl(&[("DATABASE_URL", url)], &[&["--settings", settings.to_str().unwrap()], &take[..]].concat())
            .await
    };
    for (wrong, words) in [
        (url("localhost", "sslmode=disable"), "pg_hba.conf rejects"),
        (url("localhost", &sure("other.crt")), "certificate"),
        (url("127.0.0.1", &sure("known.crt")), "certificate"),
    ] {
        let refused = run(&wrong).await;
        assert!(refused.code == Some(1) && refused.err.contains(words), "{words}: {}", refused.err);
        assert!(!refused.err.contains("over-tls-only"), "{}", refused.err);
    }
    let right = url("localhost", &sure("known.crt"));
    let taken = run(&right).await;
    assert_eq!(taken.code, Some(0), "{}", taken.err);

    let mut receiver = Command::new(DBCTL);
    receiver.arg("--settings").arg(&settings).args(["wal", "receive", "--slot", "encrypted"]);
    receiver.env("DATABASE_URL", &right).stdout(Stdio::null());
    let mut receiver = receiver.spawn().unwrap();
    let streams = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE usename = 'backup'";
    db_testkit::until("the receiver streams", async || live.ask(streams).await == "true").await;
    let stopped = Command::new("kill").args(["-TERM", &receiver.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let ended = || db_server::wait_until(Duration::from_secs(60), || receiver.try_wait().unwrap().is_some());
    assert!(tokio::task::block_in_place(ended), "it does not end");
    assert_eq!(receiver.wait().unwrap().code(), Some(0));
}
