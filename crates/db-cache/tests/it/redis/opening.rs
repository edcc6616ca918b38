//! How a connection opens: logins, TLS, names, warnings, and what no message shows.

use std::net::TcpListener as Listener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use db_cache::{
    CacheConfig, EntryKey, RedisConfig, RedisConfigError, RedisTier, SecondTier, TierFailure, TierUrl,
};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{self, ServerConfig};

use super::{Bench, ask, entry, slot, tier_at, within};

#[tokio::test]
async fn a_wrong_password_is_refused_and_shown_nowhere() {
    let Some(bench) = Bench::start().await else { return };
    let url = format!("redis://:hunter2@127.0.0.1:{}", bench.redis.port());
    let tier = tier_at(&url, "test");
    let error = within(tier.read(&[], &[])).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::Refused, "{error}");
    assert!(!format!("{error} {error:?} {tier:?}").contains("hunter2"));
}

/// As docs/cache-redis.md gives them.
const RIGHTS: &str = "~{db-cache:* +mget +get +getex +set +del +pttl +hget +hmget +hset +hexists +xadd +xread +xrange +xrevrange \
                      +time +wait +info +eval +evalsha +client|setname";

#[tokio::test]
async fn a_user_with_the_documented_rights_may_do_everything() {
    let Some(bench) = Bench::start().await else { return };
    let mut command = vec!["ACL", "SETUSER", "cache", "on", ">pass%word", "resetchannels"];
    command.extend(RIGHTS.split_whitespace());
    let _: String = bench.ask(&command).await;
    let url = format!("redis://cache:pass%25word@127.0.0.1:{}", bench.redis.port());
    let tier = tier_at(&url, "test");
    within(db_cache::conformance::check(&tier)).await;
    tier.usage().await.unwrap();
}

#[tokio::test]
async fn a_configuration_that_is_none_says_what_to_write() {
    let check = |url: &str, installation: &str, expected| {
        let config =
            RedisConfig { url: url.into(), installation: installation.into(), ..RedisConfig::default() };
        let error = RedisTier::new(&config).map(drop).unwrap_err();
        assert_eq!(error, expected);
        assert!(!format!("{error} {error:?} {config:?}").contains("hunter2"));
    };
    check("redis//:hunter2@host", "test", RedisConfigError::Url);
    check("rediss://:hunter2@host/#insecure", "test", RedisConfigError::Insecure);
    check("redis://:hunter2@host", "", RedisConfigError::Installation);
}

#[tokio::test]
async fn a_cache_has_the_tier_that_its_configuration_names() {
    let Some(bench) = Bench::start().await else { return };
    assert!(RedisTier::of(&CacheConfig::default()).unwrap().is_none());
    let config = CacheConfig {
        second_tier: Some(TierUrl::new(bench.redis.url())),
        installation: "test".into(),
        ..CacheConfig::default()
    };
    let tier = RedisTier::of(&config).unwrap().unwrap();
    assert_eq!(within(tier.read(&[], &[])).await.unwrap().run, bench.run().await);
    let nameless = CacheConfig { installation: String::new(), ..config };
    assert_eq!(RedisTier::of(&nameless).map(drop), Err(RedisConfigError::Installation));
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let silent = Listener::bind("127.0.0.1:0").unwrap();
    let config = RedisConfig {
        url: format!("redis://{}", silent.local_addr().unwrap()),
        installation: "test".into(),
        connect_timeout: Duration::from_millis(200),
        ..RedisConfig::default()
    };
    let tier = RedisTier::new(&config).unwrap();
    let started = Instant::now();
    let error = within(tier.read(&[], &[])).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::Unreachable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn installations_on_one_server_share_nothing() {
    let Some(bench) = Bench::start().await else { return };
    let other = tier_at(&bench.redis.url(), "a copy of test");
    bench.settle().await;
    bench.open(&[slot(1)]).await;
    let key = EntryKey::from_bytes(b"k".to_vec());
    bench.tier.store(&entry(&key, b"v")).await.unwrap();
    let taken = bench.tier.lease(&key, db_cache::Holder(1), super::LIMIT).await;
    assert_eq!(taken, Ok(db_cache::Lease::Taken));
    let seen = other.read(std::slice::from_ref(&key), &[slot(1)]).await.unwrap();
    assert_eq!((seen.entries, seen.slots, seen.epoch), (vec![None], vec![None], None));
    assert_eq!(other.lease(&key, db_cache::Holder(2), super::LIMIT).await, Ok(db_cache::Lease::Taken));
}

#[tokio::test]
async fn the_server_lists_the_connections_by_name() {
    let Some(bench) = Bench::start().await else { return };
    let config = RedisConfig {
        url: bench.redis.url(),
        installation: "test".into(),
        client_name: "orders 7".into(),
        ..RedisConfig::default()
    };
    let tier = RedisTier::new(&config).unwrap();
    within(tier.read(&[], &[])).await.unwrap();
    assert!(bench.ask::<String>(&["CLIENT", "LIST"]).await.contains("name=orders-7 "));
}

#[tokio::test]
async fn a_read_is_one_round_trip_whatever_it_reads() {
    let Some(bench) = Bench::start().await else { return };
    bench.settle().await;
    let keys: Vec<EntryKey> =
        (0_u64..20).map(|number| EntryKey::from_bytes(number.to_le_bytes().to_vec())).collect();
    let slots: Vec<_> = (0..20).map(slot).collect();
    let mut client = bench.client().await;
    let before = reads(&mut client).await;
    for _ in 0..100 {
        bench.tier.read(&keys, &slots).await.unwrap();
    }
    // One is the question itself.
    assert_eq!(reads(&mut client).await - before, 101);
}

/// How many times the server has read something from a client.
async fn reads(client: &mut ::redis::aio::MultiplexedConnection) -> u64 {
    let stats: String = ask(client, &["INFO", "stats"]).await;
    let reads = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    reads.expect("it tells").trim().parse().expect("a number")
}

#[tokio::test]
async fn a_policy_that_can_hurt_is_said_once() {
    let Some(bench) = Bench::start().await else { return };
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut client = bench.client().await;
    let _: String = ask(&mut client, &["CONFIG", "SET", "maxmemory", "100mb"]).await;
    let _: String = ask(&mut client, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    for _ in 0..3 {
        bench.read_again(&[]).await;
        let _: i64 = ask(&mut client, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    }
    bench.read_again(&[]).await;
    let said = log.text();
    assert_eq!(said.matches("allkeys-lru").count(), 1, "{said}");
    assert!(said.contains("set volatile-ttl"), "{said}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn rediss_needs_no_provider_of_cryptography_and_checks_who_answers() {
    let Some(bench) = Bench::start().await else { return };
    assert!(CryptoProvider::get_default().is_none(), "the process has none");
    let (port, authority) = encrypted(bench.redis.port()).await;
    let url = bench.redis.url().replace("redis://", "rediss://");
    let url = url.replace(&format!("127.0.0.1:{}", bench.redis.port()), &format!("localhost:{port}"));
    let tier = |certificate: Option<String>| {
        let config = RedisConfig {
            url: url.clone(),
            installation: "test".into(),
            ca_certificate: certificate.map(String::into_bytes),
            ..RedisConfig::default()
        };
        RedisTier::new(&config)
    };
    let trusting = tier(Some(authority)).unwrap();
    within(db_cache::conformance::check(&trusting)).await;
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let error = within(tier(Some(other.cert.pem())).unwrap().read(&[], &[])).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::Unreachable, "{error}");
    assert!(error.what.contains("certificate"), "{error}");
    assert!(matches!(tier(Some("nothing".into())), Err(RedisConfigError::Authorities(_))));
}

/// An encrypted way to a port, and the certificate to trust.
async fn encrypted(to: u16) -> (u16, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    (port, certificate.pem())
}
