//! Emulators of the clouds' stores, and stores on them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use db_backup::{Limits, Provider, Store, StoreSettings};

use crate::front::front;
use crate::gcs_stub::GcsStub;

const BUCKET: &str = "backups";
const AZURE_ACCOUNT: &str = "devstoreaccount1";
/// The emulator's own key, which its manual prints.
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const EVERY_VERB: [&str; 5] = ["GET", "HEAD", "PUT", "POST", "DELETE"];
const S3_OPTIONS: [(&str, &str); 3] =
    [("aws_access_key_id", "test"), ("aws_secret_access_key", "test"), ("aws_region", "us-east-1")];
const AZURE_OPTIONS: [(&str, &str); 2] =
    [("azure_storage_account_name", AZURE_ACCOUNT), ("azure_storage_account_key", AZURE_KEY)];

/// A store's emulator; it ends when it is dropped.
pub(crate) struct Emulator {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Emulator {
    /// `None` where the program is not installed.
    fn start(program: &str, arguments: impl Fn(&str, &str) -> Vec<String>) -> Option<Self> {
        let path = on_path(program)?;
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(path);
        command.args(arguments(&port.to_string(), directory.path().to_str().unwrap()));
        command.stdout(Stdio::null()).stderr(Stdio::null()).current_dir(directory.path());
        let child = command.spawn().unwrap();
        Some(Emulator { child, port, _directory: directory })
    }

    /// Waits until it listens.
    async fn answers(&self) {
        db_testkit::until("the emulator listens", async || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        })
        .await;
    }

    /// The path and the newest version of an object, whatever hides it now.
    pub(crate) fn version_of(&self, path: &str) -> String {
        let request = format!(
            "GET /{BUCKET}?versions&prefix={path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        );
        let answer = self.ask_all(&request);
        let version = answer.split("<Version>").nth(1).and_then(|entry| entry.split("<VersionId>").nth(1));
        format!("{path}?versionId={}", version.unwrap().split('<').next().unwrap())
    }

    /// Asks to remove a version for good; the status line.
    pub(crate) fn delete_version(&self, version: &str) -> String {
        self.ask(&format!("DELETE /{BUCKET}/{version} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
    }

    fn ask_all(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends one request without a body, and returns the status line.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // Some close the connection and some do not: the first line is all that is needed.
        let mut byte = [0];
        while !answer.ends_with('\n') && stream.read(&mut byte).is_ok_and(|read| read == 1) {
            answer.push(char::from(byte[0]));
        }
        answer
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn settings(provider: Provider, endpoint: String, options: &[(&str, &str)]) -> StoreSettings {
    let options: BTreeMap<String, String> =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    StoreSettings {
        provider,
        bucket: BUCKET.to_owned(),
        endpoint: Some(endpoint),
        options,
        limits: Limits { deadline: Duration::from_secs(60), ..Limits::default() },
        ..StoreSettings::default()
    }
}

/// The store that a text names: an emulator as it is named below, perhaps with a comma and a prefix, or a
/// directory.
pub(crate) fn store_at(place: &str) -> Store {
    let Some((kind, endpoint)) = place.split_once('+') else { return Store::local(place).unwrap() };
    let (endpoint, prefix) = endpoint.split_once(',').unwrap_or((endpoint, "repository"));
    let (provider, options): (_, &[(&str, &str)]) = match kind {
        "gcs" => (Provider::Gcs, &[]),
        "s3" => (Provider::S3, &S3_OPTIONS),
        _ => (Provider::Azure, &AZURE_OPTIONS),
    };
    let settings = settings(provider, endpoint.to_owned(), options);
    Store::open(&StoreSettings { prefix: prefix.to_owned(), ..settings }).unwrap()
}

/// Google Cloud Storage, by our own stub, and its name.
pub(crate) async fn gcs() -> (GcsStub, String) {
    let stub = GcsStub::start().await;
    let place = format!("gcs+{}", stub.endpoint);
    (stub, place)
}

/// S3, by moto, and its name.
pub(crate) async fn s3() -> Option<(Emulator, String)> {
    let emulator = moto("").await?;
    let place = format!("s3+http://127.0.0.1:{}", front(emulator.port, &EVERY_VERB));
    Some((emulator, place))
}

/// The same with a bucket that locks each object for a day (COMPLIANCE: for everybody).
pub(crate) async fn s3_with_object_lock() -> Option<(Emulator, Store)> {
    let emulator = moto("x-amz-bucket-object-lock-enabled: true\r\n").await?;
    let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                <Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
    let (bytes, host) = (rule.len(), "Host: 127.0.0.1");
    let set = emulator.ask(&format!(
        "PUT /{BUCKET}?object-lock HTTP/1.1\r\n{host}\r\nContent-Length: {bytes}\r\n\r\n{rule}"
    ));
    assert!(set.contains("200"), "{set}");
    let endpoint = format!("http://127.0.0.1:{}", emulator.port);
    let settings = StoreSettings { object_lock_days: 1, ..settings(Provider::S3, endpoint, &S3_OPTIONS) };
    Some((emulator, Store::open(&settings).unwrap()))
}

/// moto with the bucket, which is made with these headers.
async fn moto(headers: &str) -> Option<Emulator> {
    let arguments = |port: &str, _: &str| ["-H", "127.0.0.1", "-p", port].map(str::to_owned).to_vec();
    let emulator = Emulator::start("moto_server", arguments)?;
    emulator.answers().await;
    let made = emulator
        .ask(&format!("PUT /{BUCKET} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: 0\r\n\r\n"));
    assert!(made.contains("200"), "{made}");
    Some(emulator)
}

/// Azure Blob, by azurite, and its name.
pub(crate) async fn azure() -> Option<(Emulator, String)> {
    let arguments = |port: &str, directory: &str| {
        let flags = [
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            port,
            "-l",
        ];
        flags.map(str::to_owned).into_iter().chain([directory.to_owned()]).collect()
    };
    let emulator = Emulator::start("azurite-blob", arguments)?;
    emulator.answers().await;
    let made = emulator.ask(&make_container());
    assert!(made.contains("201"), "{made}");
    let place = format!("azure+http://127.0.0.1:{}/{AZURE_ACCOUNT}", emulator.port);
    Some((emulator, place))
}

/// A request that makes the container, signed as Azure's manual says (Shared Key).
fn make_container() -> String {
    let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
    let signed = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2021-08-06\n\
         /{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{BUCKET}\nrestype:container"
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &STANDARD.decode(AZURE_KEY).unwrap());
    let signature = STANDARD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
    format!(
        "PUT /{AZURE_ACCOUNT}/{BUCKET}?restype=container HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\
         x-ms-date: {date}\r\nx-ms-version: 2021-08-06\r\n\
         Authorization: SharedKey {AZURE_ACCOUNT}:{signature}\r\n\r\n"
    )
}
