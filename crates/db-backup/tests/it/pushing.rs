//! Segments come into the repository in the order in which the server wrote them.

use std::fs;
use std::path::{Path, PathBuf};

use db_backup::WalName;
use db_backup::wal::{PushConfig, Pushed, push};

use crate::live::Live;

/// A directory like a server's own, with copies of finished segments that nobody has archived; the paths of
/// these.
async fn ready(live: &Live, segments: usize) -> Vec<PathBuf> {
    let (data, copy) = (live.server.dir().join("node1"), live.home.path().join("copy"));
    let status = copy.join("pg_wal/archive_status");
    fs::create_dir_all(&status).unwrap();
    fs::create_dir(copy.join("global")).unwrap();
    fs::copy(data.join("global/pg_control"), copy.join("global/pg_control")).unwrap();
    let mut paths = Vec::new();
    for _ in 0..segments {
        live.run("CREATE TABLE t (); DROP TABLE t").await;
        let name = live.text("SELECT pg_walfile_name(pg_switch_wal() - 1)::text AS t").await;
        paths.push(copy.join("pg_wal").join(&name));
        fs::copy(data.join("pg_wal").join(&name), paths.last().unwrap()).unwrap();
        fs::write(status.join(format!("{name}.ready")), "").unwrap();
    }
    paths
}

fn name(path: &Path) -> WalName {
    path.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

async fn archived(live: &Live) -> Vec<WalName> {
    live.cluster().await.wal(1).await.unwrap().into_iter().map(|stored| stored.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_behind_a_segment_that_cannot_be() {
    let live = Live::start(None, &[("archive_command", "true")]).await;
    let paths = ready(&live, 6).await;
    let whole = fs::read(&paths[2]).unwrap();
    fs::write(&paths[2], &whole[..whole.len() / 2]).unwrap();
    // All at once: those behind it are sealed long before it is found to be cut.
    let config = PushConfig { workers: 6, ..PushConfig::new(live.home.path().join("marks")) };
    let pushed = push(&live.repository, &paths[0], &config).await.unwrap();
    assert_eq!(pushed, Pushed::Stored { ahead: 1 });
    assert_eq!(archived(&live).await, [name(&paths[0]), name(&paths[1])]);

    fs::write(&paths[2], whole).unwrap();
    let pushed = push(&live.repository, &paths[2], &config).await.unwrap();
    assert_eq!(pushed, Pushed::Stored { ahead: 3 });
    assert_eq!(archived(&live).await, paths.iter().map(|path| name(path)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_go_along_only_as_far_as_none_is_missing() {
    let live = Live::start(None, &[("archive_command", "true")]).await;
    let paths = ready(&live, 4).await;
    // The server has not said yet that it is done with the third.
    fs::remove_file(paths[2].with_file_name("archive_status").join(format!("{}.ready", name(&paths[2]))))
        .unwrap();
    let config = PushConfig::new(live.home.path().join("marks"));
    push(&live.repository, &paths[0], &config).await.unwrap();
    assert_eq!(archived(&live).await, [name(&paths[0]), name(&paths[1])]);
}
