//! Clusters: started, promoted, killed, paused, rejoined.

use std::thread;

use db_server::{ServerSettings, Stop, wait_until};

use crate::{LIMIT, cluster, processes_in};

#[test]
fn two_clusters_run_side_by_side() {
    let (one, two) = thread::scope(|scope| {
        let one = scope.spawn(|| cluster().standbys(1).start().unwrap());
        let two = scope.spawn(|| cluster().standbys(1).start().unwrap());
        (one.join().unwrap(), two.join().unwrap())
    });
    one.primary().sql_in("app", "CREATE TABLE only_here ()").unwrap();
    one.await_replay(LIMIT).unwrap();
    let exists = "SELECT to_regclass('only_here') IS NOT NULL";
    assert_eq!(one.standbys().next().unwrap().sql_in("app", exists).unwrap(), "t");
    assert_eq!(two.primary().sql_in("app", exists).unwrap(), "f");
    let mut ports: Vec<u16> = one.nodes().iter().chain(two.nodes()).map(|node| node.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 4);
}

#[test]
fn nothing_is_left_when_a_cluster_is_dropped() {
    let cluster = cluster().standbys(2).start().unwrap();
    let dir = cluster.dir().to_owned();
    assert!(processes_in(&dir).len() > 3, "three postmasters and their children");
    drop(cluster);
    assert!(!dir.exists());
    assert_eq!(processes_in(&dir), Vec::<u32>::new());
}

#[test]
fn a_killed_server_starts_again_with_what_was_committed() {
    let cluster = cluster().start().unwrap();
    let server = cluster.primary();
    let port = server.port();
    server.sql_in("app", "CREATE TABLE kept AS SELECT 1 AS one").unwrap();
    // A backend that computes does not notice by itself that its postmaster is gone.
    let mut busy = server.psql("app").args(["-c", "DO 'BEGIN LOOP END LOOP; END'"]).spawn().unwrap();
    let computing = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO%'";
    assert!(wait_until(LIMIT, || server.sql(computing).unwrap() == "1"));
    server.kill().unwrap();
    assert!(!busy.wait().unwrap().success());
    assert_eq!(server.pid(), None);
    assert_eq!(processes_in(cluster.dir()), Vec::<u32>::new());
    server.start().unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(server.sql_in("app", "SELECT one FROM kept").unwrap(), "1");
}

#[test]
fn a_killed_primary_is_replaced_and_comes_back_as_a_standby() {
    let cluster = cluster().standbys(2).start().unwrap();
    cluster.primary().sql_in("app", "CREATE TABLE history (what text)").unwrap();
    cluster.await_replay(LIMIT).unwrap();
    // What only the old primary knows has to be rewound, or it could not follow the new one. The standbys are
    // down while it is written: a paused one would still find it in its socket.
    for standby in cluster.standbys() {
        standby.stop(Stop::Fast).unwrap();
    }
    let primary = cluster.primary();
    primary.sql_in("app", "SET synchronous_commit = local; INSERT INTO history VALUES ('lost')").unwrap();
    primary.kill().unwrap();
    for standby in cluster.standbys() {
        standby.start().unwrap();
    }
    cluster.promote(1).unwrap();
    assert_eq!(cluster.primary().name(), "node2");
    cluster.primary().sql_in("app", "INSERT INTO history VALUES ('new')").unwrap();
    cluster.await_replay(LIMIT).unwrap();
    let all = "SELECT string_agg(what, ',' ORDER BY what) FROM history";
    assert_eq!(cluster.node(2).unwrap().sql_in("app", all).unwrap(), "new", "node3 follows node2");

    cluster.rejoin(0).unwrap();
    cluster.await_replay(LIMIT).unwrap();
    let back = cluster.node(0).unwrap();
    assert_eq!(back.sql_in("app", "SELECT pg_is_in_recovery()").unwrap(), "t");
    assert_eq!(back.sql_in("app", all).unwrap(), "new", "and nothing of what only it knew");
    assert_eq!(back.sql("SELECT count(*) FROM pg_replication_slots").unwrap(), "0");
    assert_eq!(cluster.primary().sql("SELECT count(*) FROM pg_stat_replication").unwrap(), "2");
}

#[test]
fn a_paused_server_answers_nothing_until_it_is_resumed() {
    let cluster = cluster().start().unwrap();
    let server = cluster.primary();
    let stopped = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    server.pause().unwrap();
    let all = processes_in(cluster.dir());
    assert!(
        wait_until(LIMIT, || all.iter().all(|pid| stopped(*pid))),
        "the postmaster and its children are frozen"
    );
    server.resume().unwrap();
    assert_eq!(server.sql("SELECT 1").unwrap(), "1");
}

#[test]
fn every_way_to_stop_ends_the_server_and_a_restart_keeps_its_port() {
    let cluster = cluster().start().unwrap();
    let server = cluster.primary();
    let port = server.port();
    for how in [Stop::Smart, Stop::Fast, Stop::Immediate] {
        server.stop(how).unwrap();
        assert!(!server.is_running(), "{how:?}");
        assert_eq!(processes_in(cluster.dir()), Vec::<u32>::new(), "{how:?}");
        server.start().unwrap();
    }
    server.restart().unwrap();
    assert_eq!(server.port(), port);
}

#[test]
fn settings_reach_the_nodes_they_were_given_for() {
    let cluster = cluster()
        .standbys(1)
        .settings(ServerSettings::durable())
        .node_settings(1, ServerSettings::fast().with("work_mem", "9MB"))
        .start()
        .unwrap();
    let check = |index: usize, name: &str, expected: &str| {
        let found = cluster.node(index).unwrap().sql(&format!("SHOW {name}")).unwrap();
        assert_eq!(found, expected, "{name} on node{}", index + 1);
    };
    check(0, "fsync", "on");
    check(1, "fsync", "off");
    check(1, "work_mem", "9MB");
    check(0, "cluster_name", "node1");
    check(0, "wal_log_hints", "on");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let error =
        cluster().settings(ServerSettings::fast().with("shared_buffers", "lots")).start().unwrap_err();
    let said = error.to_string();
    assert!(said.contains("node1 ended with"), "{said}");
    assert!(said.contains("shared_buffers"), "the log's last lines are in the message: {said}");
}

#[test]
fn each_cluster_has_a_password_of_its_own_that_is_needed_everywhere() {
    let (one, other) = (cluster().start().unwrap(), cluster().start().unwrap());
    let server = one.primary();
    assert_ne!(server.password(), other.primary().password());
    let socket = one.dir().display().to_string();
    for (host, password, lets_in) in [
        ("127.0.0.1", server.password().reveal(), true),
        ("127.0.0.1", other.primary().password().reveal(), false),
        ("127.0.0.1", "postgres", false),
        (&*socket, server.password().reveal(), true),
        (&*socket, "postgres", false),
    ] {
        let mut psql = server.psql("app");
        psql.env("PGPASSWORD", password).args(["-h", host, "-c", "SELECT 1"]);
        assert_eq!(psql.output().unwrap().status.success(), lets_in, "{host}");
    }
}

#[test]
fn a_password_stands_in_no_log_no_argument_and_no_debug() {
    let all = [("log_statement", "all"), ("log_min_duration_statement", "0"), ("log_connections", "on")];
    let settings = all.iter().fold(ServerSettings::fast(), |all, (name, value)| all.with(*name, *value));
    let cluster = cluster().standbys(2).settings(settings).start().unwrap();
    let password = cluster.primary().password().reveal().to_owned();
    // A standby that follows another primary is told so by a reload, which logs what it changed.
    cluster.primary().kill().unwrap();
    cluster.promote(1).unwrap();
    cluster.await_streaming(LIMIT).unwrap();
    cluster.rejoin(0).unwrap();
    for node in cluster.nodes() {
        let log = std::fs::read_to_string(node.log()).unwrap();
        assert!(!log.contains(&password), "{}", node.name());
    }
    let log = |index| std::fs::read_to_string(cluster.node(index).unwrap().log()).unwrap();
    assert!(log(0).contains("statement: SELECT"), "statements are logged");
    let log = log(2);
    assert!(log.contains("parameter \"primary_conninfo\" changed"), "{log}");
    for pid in processes_in(cluster.dir()) {
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!arguments.contains(&password), "{arguments}");
    }
    assert!(!format!("{cluster:?}").contains(&password));
}

#[test]
fn the_contrib_modules_are_there_and_checksums_are_not() {
    let cluster = cluster().start().unwrap();
    let server = cluster.primary();
    server.sql_in("app", "CREATE EXTENSION citext; CREATE EXTENSION pg_trgm").unwrap();
    if server.install().version.major >= 18 {
        assert_eq!(server.sql("SHOW data_checksums").unwrap(), "off");
    }
}
