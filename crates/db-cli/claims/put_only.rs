//! A host whose credentials may only put: it archives and takes backups, and whatever it runs removes and
//! overwrites nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use db_platform::backup::{Store, StoreSettings};
use db_platform::settings_from_vars;
use serde_json::{Value, json};

use crate::moto::Moto;
use crate::server::{DBCTL, Live};

/// What was seen of it.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) problems: Vec<String>,
    pub(crate) detail: Value,
}

/// The host's files of settings: with the key of a writer, with the repository's own, and with that and the
/// right to read; and what each may do to the store.
const HOSTS: [(&str, &[&str]); 3] =
    [("writer.env", &["PUT"]), ("stolen-key.env", &["PUT"]), ("reader.env", &["PUT", "GET", "HEAD"])];

/// `None` where moto is not installed.
pub(crate) async fn put_only() -> Option<Seen> {
    let moto = Moto::start().await?;
    let operator = moto.settings();
    let live = Live::start(&format!("{operator}BACKUP_RETENTION_DAYS=1\nAPP_ENV=test")).await;
    let mut seen = Seen::default();
    let made = live.json(&["backup", "init"]).await;
    let writer_key = made["keys"]["backup_writer_key"].as_str().unwrap();
    let url = live.server.primary_url();
    for (file, verbs) in HOSTS {
        let key = match file {
            "writer.env" => format!("BACKUP_WRITER_KEY={writer_key}"),
            _ => "BACKUP_ENCRYPTION_KEY=correct horse battery staple\nBACKUP_RETENTION_DAYS=1".to_owned(),
        };
        let text = format!("DATABASE_URL={url}\nAPP_ENV=test\n{key}\n{}", moto.front(verbs));
        std::fs::write(live.path(file), text).unwrap();
    }
    let push = format!(
        "{DBCTL} --settings {} wal push %p --spool {}",
        live.path("writer.env").display(),
        live.path("spool").display()
    );
    live.run(&format!("ALTER SYSTEM SET archive_command = '{push}'")).await;
    live.run("SELECT pg_reload_conf()").await;
    live.run("CREATE TABLE filler AS SELECT g, md5(g::text) FROM generate_series(1, 20000) g").await;
    for round in 0..2 {
        let run = host(&live, "writer.env", &["backup".to_owned(), "take".to_owned()]).await;
        if run.0 != Some(0) {
            seen.problems.push(format!("take {round} with credentials that may only put: {}", run.1));
        }
        live.run("INSERT INTO filler VALUES (0, 'more')").await;
        live.archive().await;
    }
    let store = store(&live.path("dbctl.env"));
    let before = content(&store).await;
    let ids = backups(&live).await;
    if ids.len() != 2 {
        seen.problems.push(format!("{} backups instead of 2", ids.len()));
    }
    let mut refused = 0;
    for (file, _) in HOSTS {
        for arguments in attempts(&live, &ids) {
            let (code, said) = host(&live, file, &arguments).await;
            refused += u64::from(code != Some(0));
            seen.problems.extend(changed(&before, &store).await.map(|path| format!("{path} by {said}")));
            eprintln!("backup-10: {file}: {arguments:?} ends with {code:?}");
        }
    }
    // The operator's own expiry keeps what the policy keeps, whatever marks the host has put.
    live.dbctl(&["backup", "expire", "--yes"]).await;
    let left = backups(&live).await;
    if left != ids {
        seen.problems.push(format!("{left:?} is left of {ids:?}"));
    }
    let verified = live.dbctl(&["backup", "verify"]).await;
    if verified.code != Some(0) {
        seen.problems.push(format!("verification: {}{}", verified.out, verified.err));
    }
    let restored = live.dbctl(&["backup", "rehearse", "--scratch", live.path("r").to_str().unwrap()]).await;
    if restored.code != Some(0) {
        seen.problems.push(format!("rehearsal: {}{}", restored.out, restored.err));
    }
    // The operator's expiry may have removed log that nothing needs.
    let before = content(&store).await;
    // Another segment under the name of one that is archived overwrites nothing, and does not stay unnoticed.
    let forged = forged(&live).display().to_string();
    for (file, _) in HOSTS {
        let (code, said) = host(&live, file, &["wal".to_owned(), "push".to_owned(), forged.clone()]).await;
        seen.problems.extend(changed(&before, &store).await.map(|path| format!("{path} by {said}")));
        eprintln!("backup-10: {file}: another segment ends with {code:?}");
    }
    let verified = live.dbctl(&["backup", "verify"]).await;
    if verified.code != Some(3) {
        seen.problems.push(format!("a segment that was put beside another: {}", verified.out));
    }
    seen.detail = json!({ "backups": ids.len(), "objects": before.len(), "refused": refused });
    Some(seen)
}

/// What a host may try that removes or replaces.
fn attempts(live: &Live, ids: &[String]) -> Vec<Vec<String>> {
    let new_key = live.path("new-key").display().to_string();
    let mut attempts = vec![
        "backup expire --yes".to_owned(),
        "backup init".to_owned(),
        format!("backup rekey --keys-to {new_key}"),
    ];
    attempts.extend(ids.iter().map(|id| format!("backup delete {id} --yes")));
    attempts.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// The first object that is not what it was.
async fn changed(before: &BTreeMap<String, Vec<u8>>, store: &Store) -> Option<String> {
    let after = content(store).await;
    let changed = before.iter().find(|(path, bytes)| after.get(*path) != Some(*bytes));
    changed.map(|(path, _)| path.clone())
}

/// A segment under the name of one that is archived, with one byte of its content changed.
fn forged(live: &Live) -> PathBuf {
    let data = live.server.dir().join("node1");
    let mut names: Vec<PathBuf> = std::fs::read_dir(data.join("pg_wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.len() == 24 && data.join("pg_wal/archive_status").join(format!("{name}.done")).exists()
        })
        .collect();
    names.sort();
    // An expiry has removed none of the newest.
    let newest = names.last().unwrap();
    let copy = live.path("forged");
    for below in ["pg_wal", "global"] {
        std::fs::create_dir_all(copy.join(below)).unwrap();
    }
    let control = "global/pg_control";
    std::fs::copy(data.join(control), copy.join(control)).unwrap();
    let mut bytes = std::fs::read(newest).unwrap();
    // In the first page, which is whole besides.
    bytes[4096] ^= 1;
    let path = copy.join("pg_wal").join(newest.file_name().unwrap());
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Runs dbctl with one of the host's files of settings; its exit status, and what it said.
async fn host(live: &Live, file: &str, arguments: &[String]) -> (Option<i32>, String) {
    let settings = live.path(file);
    let all: Vec<&str> = ["--settings", settings.to_str().unwrap()]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .collect();
    let run = crate::run::dbctl(&[], &all).await;
    (run.code, run.out + &run.err)
}

async fn backups(live: &Live) -> Vec<String> {
    let listed = live.json(&["backup", "list"]).await;
    let backups = listed["clusters"][0]["backups"].as_array().cloned().unwrap_or_default();
    backups.iter().filter_map(|backup| backup["id"].as_str().map(str::to_owned)).collect()
}

/// The store of a file of settings.
fn store(file: &Path) -> Store {
    let text = std::fs::read_to_string(file).unwrap();
    let vars: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let of =
        |name: &str| vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap();
    let mut settings: StoreSettings = settings_from_vars(vars.clone(), |from| from.get()).unwrap();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
        settings.options.insert(name.to_ascii_lowercase(), of(name));
    }
    Store::open(&settings).unwrap()
}

/// Every object with its bytes.
async fn content(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let mut content = BTreeMap::new();
    for object in store.list("").await.unwrap() {
        // The probe of the store's clock comes and goes.
        if let Some(bytes) = store.get(&object.path).await.unwrap() {
            content.insert(object.path, bytes.to_vec());
        }
    }
    content
}
