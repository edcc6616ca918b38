//! Verification of a share, and of what is new: what was read, and what the exit status tells.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::server::Live;

/// The files below a directory whose path holds `part`, the largest first.
fn files(below: &Path, part: &str) -> Vec<PathBuf> {
    let (mut found, mut directories) = (Vec::new(), vec![below.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(entry.path()),
                false if entry.path().to_str().unwrap().contains(part) => found.push(entry.path()),
                false => {}
            }
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    found
}

/// Makes the store's objects as old as if they had been written an hour ago.
fn age(store: &Path) {
    let then = SystemTime::now() - Duration::from_secs(3_600);
    for file in files(store, "") {
        std::fs::File::options().write(true).open(file).unwrap().set_modified(then).unwrap();
    }
}

fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_or_what_is_new_is_verified_and_damage_is_never_forgotten() {
    let live = Live::start("").await;
    let store = live.path("store");
    live.json(&["backup", "init"]).await;
    live.run("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 50000) g").await;
    live.json(&["backup", "take"]).await;
    live.archive().await;
    let read = async |arguments: &[&str]| {
        let verified = live.json(&[&["backup", "verify"], arguments].concat()).await;
        let one = &verified["clusters"][0];
        (one["objects"].as_u64().unwrap(), one["read"].as_u64().unwrap())
    };
    let (objects, all) = read(&["--new"]).await;
    assert_eq!(objects, all, "nothing was verified before, so everything is new");
    age(&store);
    assert_eq!(read(&["--new"]).await, (objects, 0));
    let (_, some) = read(&["--sample", "1%"]).await;
    assert!((1..=2).contains(&some), "one pack and one file of the log, not {some} of {objects}");

    live.run("INSERT INTO t SELECT 0").await;
    live.archive().await;
    let (more, new) = read(&["--new"]).await;
    assert!(more > objects && new == more - objects, "{new} of {more}, of which {objects} were known");

    // A pack rots: a look at what is new misses it, a whole one does not, and then none does.
    age(&store);
    let pack = files(&store, "packs").remove(0);
    flip(&pack);
    age(&store);
    assert_eq!(read(&["--new"]).await.1, 0);
    let code = async |arguments: &[&str]| {
        let run = live.dbctl(&[&["backup", "verify"], arguments].concat()).await;
        (run.code, run.out)
    };
    let (found, said) = code(&["--sample", "100%"]).await;
    assert!(found == Some(3) && said.contains("wrong "), "{said}");
    let (again, said) = code(&["--new"]).await;
    assert!(again == Some(3) && said.contains("wrong "), "{said}");
    flip(&pack);
    age(&store);
    assert_eq!(read(&["--new"]).await.1, more, "everything is read until nothing is damaged");
    assert_eq!(read(&["--new"]).await.1, 0);
    let old = code(&["--new", "--max-age", "1ms"]).await;
    assert!(old.0 == Some(3) && old.1.contains("the newest backup ended"), "{}", old.1);
    assert_eq!(read(&["--new"]).await.1, 0, "an age is no damage");
    for wrong in ["0%", "ten"] {
        assert_eq!(code(&["--sample", wrong]).await.0, Some(2), "{wrong}");
    }
}
