//! The cluster that stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use db_server::process::{Signal, Stamp};
use db_server::{Cluster, DevCluster, DevDown, DevState, Error, Place};

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

    assert_eq!(dev.down().unwrap().ended.len(), 2);
    assert_eq!(processes_in(dev.dir()), Vec::<u32>::new());
    assert!(!first.is_up());
    assert_eq!(dev.down().unwrap(), DevDown::default(), "down twice is harmless");

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
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    let stamp = Stamp::of(stranger.id()).unwrap();
    let path = dev.dir().join("state.json");
    let mut value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    value["nodes"][0]["pid"] = stamp.pid.into();
    fs::write(&path, value.to_string()).unwrap();
    fs::write(dev.dir().join("data/node1/postmaster.pid"), format!("{}\n", stamp.pid)).unwrap();
    assert_eq!(dev.down().unwrap(), DevDown::default());
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
    fs::remove_file(dev.dir().join("state.json")).unwrap();
    assert_eq!(dev.down().unwrap().ended.len(), 2, "found by their directories");
    assert_eq!(processes_in(dev.dir()), Vec::<u32>::new());
}

#[test]
fn down_ends_servers_whose_directory_was_removed_under_them() {
    let (_dir, place) = place();
    let dev = DevCluster::of(&place);
    let redis = db_server::find_redis(&|_| {}).ok();
    let state = dev.up(Cluster::builder(install()).place(place.clone()), redis.as_ref(), &|_| {}).unwrap();
    fs::remove_dir_all(dev.dir()).unwrap();
    dev.down().unwrap();
    for node in state.nodes.iter().chain(&state.redis) {
        assert!(!node.stamp.is_alive(), "{}", node.name);
    }
}

/// What psql says on the primary, logged in as the settings say.
fn ask(state: &DevState, sql: &str) -> String {
    let (_, url) = state.environment().into_iter().find(|(name, _)| *name == "DATABASE_URL").unwrap();
    let output = Command::new(state.bin.join("psql")).args(["-XAtqc", sql]).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn data_survive_a_state_file_that_is_empty_broken_or_gone() {
    let (_dir, place) = place();
    let dev = DevCluster::of(&place);
    let builder = || Cluster::builder(install()).standbys(1).place(place.clone());
    let redis = db_server::find_redis(&|_| {}).ok();
    let up = || dev.up(builder(), redis.as_ref(), &|_| {});
    let first = up().unwrap();
    ask(&first, "CREATE TABLE kept AS SELECT 7 AS n");
    let (file, urls) = (dev.dir().join("state.json"), first.environment());
    let whole = fs::read_to_string(&file).unwrap();
    let no_nodes = whole.replace("\"nodes\": [", "\"nodes\": [], \"gone\": [");
    for broken in ["", "{", "[]", &whole[..whole.len() / 2], &no_nodes] {
        fs::write(&file, broken).unwrap();
        let said = up().unwrap_err();
        assert!(matches!(said, Error::State { .. }), "{broken:?}: {said:?}");
        assert!(said.to_string().contains("`cargo xtask down`"), "{said}");
        // The way out that the message names.
        let down = dev.down().unwrap();
        assert_eq!(down.forgotten.as_ref(), Some(&file));
        assert_eq!(processes_in(dev.dir()), Vec::<u32>::new());
        let again = up().unwrap();
        assert_eq!(again.environment(), urls, "the same ports and passwords");
        assert_eq!(ask(&again, "SELECT n FROM kept"), "7");
    }
    // Deleted by hand, while the servers run.
    fs::remove_file(&file).unwrap();
    let again = up().unwrap();
    assert_eq!((again.environment(), again.nodes.len()), (urls, 2));
    assert_eq!(ask(&again, "SELECT n FROM kept"), "7");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    dev.remove().unwrap();
    assert!(!dev.dir().exists());
}

#[test]
fn remove_works_whatever_the_state_file_holds() {
    let (_dir, place) = place();
    let dev = DevCluster::of(&place);
    dev.up(Cluster::builder(install()).place(place.clone()), None, &|_| {}).unwrap();
    fs::write(dev.dir().join("state.json"), "").unwrap();
    dev.remove().unwrap();
    assert!(!dev.dir().exists());
}

#[test]
fn data_whose_password_is_lost_get_a_new_one() {
    let (_dir, place) = place();
    let dev = DevCluster::of(&place);
    let up = || dev.up(Cluster::builder(install()).standbys(1).place(place.clone()), None, &|_| {});
    let first = up().unwrap();
    ask(&first, "CREATE TABLE kept AS SELECT 7 AS n");
    fs::remove_file(dev.dir().join("data/pgpass")).unwrap();
    let again = up().unwrap();
    assert_ne!(again.password, first.password);
    assert_eq!(ask(&again, "SELECT n FROM kept"), "7");
    assert!(!format!("{again:?}").contains(again.password.as_ref().unwrap().reveal()));
    assert!(
        !fs::read_to_string(dev.dir().join("state.json")).unwrap().contains(again.password.unwrap().reveal())
    );
    dev.remove().unwrap();
}

#[test]
fn data_of_another_version_are_refused_and_stay() {
    let (_dir, place) = place();
    let dev = DevCluster::of(&place);
    let up = || dev.up(Cluster::builder(install()).place(place.clone()), None, &|_| {});
    up().unwrap();
    dev.down().unwrap();
    let version = dev.dir().join("data/node1/PG_VERSION");
    let major = fs::read_to_string(&version).unwrap();
    fs::write(&version, "9\n").unwrap();
    assert!(matches!(up().unwrap_err(), Error::OtherMajor { found: 9, .. }));
    fs::write(&version, "").unwrap();
    assert!(matches!(up().unwrap_err(), Error::Data { .. }));
    fs::write(&version, major).unwrap();
    assert!(up().unwrap().is_up());
    dev.remove().unwrap();
}
