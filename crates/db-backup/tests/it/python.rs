//! A backup is restored by the Python script, with nothing but the repository's directory and the key.

use std::process::Command;

use db_backup::{Keys, Protection, Repository, Store};

use crate::world::{SYSTEM, archive, segment, some_bytes, take};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/restore.py");
/// The script is short, so that it can be read before it is needed.
const MOST_LINES: usize = 200;

/// A Python that has what the script needs; `None` where there is none.
fn python() -> Option<String> {
    let python = std::env::var("DB_PLATFORM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let needs = Command::new(&python).args(["-c", "import blake3, cryptography, zstandard"]).output().ok()?;
    needs.status.success().then_some(python)
}

#[tokio::test]
async fn the_script_restores_what_was_backed_up() {
    let Some(python) = python() else {
        return db_testkit::skip::this_test("there is no Python with blake3, cryptography and zstandard");
    };
    let secrets = [Keys::generate(), Keys::from_text("correct horse battery staple").unwrap()];
    for (keys, protection) in secrets.iter().flat_map(|keys| {
        [Protection::Encrypted, Protection::Authenticated].map(|protection| (keys, protection))
    }) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::local(directory.path().join("repository")).unwrap();
        let (repository, _) = Repository::init(store, keys, protection).await.unwrap();
        let cluster = repository.cluster(SYSTEM);
        let files = [
            ("PG_VERSION", b"17\n".to_vec()),
            ("base/1/1", some_bytes(1, 70_000)),
            ("base/1/2", some_bytes(2, (9 << 20) + 5)),
            ("global/empty", Vec::new()),
        ];
        let summary = take(&cluster, &files, None).await;
        archive(&cluster, 2..4).await;

        let target = directory.path().join("data");
        let mut command = Command::new(&python);
        command.arg(SCRIPT).arg(directory.path().join("repository"));
        command.args([SYSTEM.to_string(), summary.id.to_string()]).arg(&target);
        let output = command.env("BACKUP_ENCRYPTION_KEY", keys.secret_text().as_str()).output().unwrap();
        assert!(output.status.success(), "{protection:?}: {}", String::from_utf8_lossy(&output.stderr));

        for (path, bytes) in &files {
            assert!(std::fs::read(target.join(path)).unwrap() == *bytes, "{protection:?}: {path} differs");
        }
        let wal = directory.path().join("data.wal/000000010000000000000003");
        let place = db_backup::Segment { timeline: 1, log: 0, number: 3 };
        assert!(std::fs::read(wal).unwrap() == segment(place, SYSTEM, 3));
    }
}

#[test]
fn the_script_is_short_enough_to_be_read() {
    let lines = std::fs::read_to_string(SCRIPT).unwrap().lines().count();
    assert!(lines <= MOST_LINES, "it has {lines} lines");
}
