//! The cluster that stays.

use db_server::process::{Signal, Stamp};
use db_server::{Cluster, DevCluster, Place};

use crate::{install, processes_in};

/// A place of its own below the real one, so that the developer's own cluster is not touched.
fn place() -> (tempfile::TempDir, Place) {
    let here = Place::here().unwrap();
    let dir = tempfile::Builder::new().prefix("dev-").tempdir_in(here.root()).unwrap();
    if let Some(account) = here.account() {
        std::os::unix::fs::chown(dir.path(), Some(account.uid), Some(account.gid)).unwrap();
    }
    let place = Place::of(Some(dir.path()), here.account().cloned()).unwrap();
    (dir, place)
}

#[test]
fn up_twice_is_up_once_and_down_keeps_the_data() {
    let (_dir, place) = place();
    let dev = DevCluster::of(&place);
    let builder = || Cluster::builder(install()).standbys(1).place(place.clone());
    let first = dev.up(builder(), None, &|_| {}).unwrap();
    assert!(first.is_up());
    assert_eq!(dev.up(builder(), None, &|_| {}).unwrap(), first);
    let settings = first.environment();
    assert_eq!(
        settings.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["DATABASE_URL", "DATABASE_READ_URLS"]
    );

    assert_eq!(dev.down().unwrap().len(), 2);
    assert_eq!(processes_in(dev.dir()), Vec::<u32>::new());
    assert!(!first.is_up());
    assert_eq!(dev.down().unwrap(), Vec::<String>::new(), "down twice is harmless");

    let again = dev.up(builder(), None, &|_| {}).unwrap();
    assert_eq!(again.environment(), settings, "the same ports, so the same URLs");
    dev.remove().unwrap();
    assert!(!dev.dir().exists());
}

#[test]
fn down_never_ends_a_stranger_with_a_recorded_pid() {
    let (_dir, place) = place();
    let dev = DevCluster::of(&place);
    dev.up(Cluster::builder(install()).place(place.clone()), None, &|_| {}).unwrap();
    dev.down().unwrap();
    // As after a reboot: the recorded pid belongs to somebody else now.
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let stamp = Stamp::of(stranger.id()).unwrap();
    let path = dev.dir().join("state.json");
    let mut value: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    value["nodes"][0]["pid"] = stamp.pid.into();
    std::fs::write(&path, value.to_string()).unwrap();
    std::fs::write(dev.dir().join("data/node1/postmaster.pid"), format!("{}\n", stamp.pid)).unwrap();
    assert_eq!(dev.down().unwrap(), Vec::<String>::new());
    assert!(stamp.is_alive());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    dev.remove().unwrap();
}

#[test]
fn down_ends_a_half_started_cluster_and_up_repairs_a_half_dead_one() {
    let (_dir, place) = place();
    let dev = DevCluster::of(&place);
    let builder = || Cluster::builder(install()).standbys(1).place(place.clone());
    let state = dev.up(builder(), None, &|_| {}).unwrap();
    state.nodes[0].stamp.signal(Signal::Kill);
    assert!(state.nodes[0].stamp.wait_gone(crate::LIMIT));
    let repaired = dev.up(builder(), None, &|_| {}).unwrap();
    assert!(repaired.is_up());
    std::fs::remove_file(dev.dir().join("state.json")).unwrap();
    assert_eq!(dev.down().unwrap().len(), 2, "found by their directories");
    assert_eq!(processes_in(dev.dir()), Vec::<u32>::new());
}

#[test]
fn down_ends_servers_whose_directory_was_removed_under_them() {
    let (_dir, place) = place();
    let dev = DevCluster::of(&place);
    let redis = db_server::RedisPrograms::find().ok();
    let state = dev.up(Cluster::builder(install()).place(place.clone()), redis.as_ref(), &|_| {}).unwrap();
    std::fs::remove_dir_all(dev.dir()).unwrap();
    dev.down().unwrap();
    for node in state.nodes.iter().chain(&state.redis) {
        assert!(!node.stamp.is_alive(), "{}", node.name);
    }
}
