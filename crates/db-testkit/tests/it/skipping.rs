//! Tests that lack a program, seen from outside.

use std::process::Command;

/// This binary runs its own tests of Redis and PgBouncer as on a machine that has neither.
#[test]
fn tests_that_lack_a_program_are_skipped_by_name_and_fail_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("skips");
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["redis::", "pgbouncer::"]).env("CARGO_PKG_NAME", "db-testkit");
    tests.env("DB_PLATFORM_WITHOUT", "redis,pgbouncer").env("DB_TESTKIT_SKIPS", &file);
    let output = tests.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = std::fs::read_to_string(&file).unwrap();
    let mut names: Vec<&str> = text.lines().map(|line| line.split(": ").next().unwrap()).collect();
    names.sort_unstable();
    let expected = [
        "pgbouncer::a_pooler_ends_with_its_value_and_with_its_process",
        "pgbouncer::a_pooler_lets_nobody_in_without_the_servers_password",
        "pgbouncer::a_server_connection_goes_to_the_next_client_after_a_transaction_or_after_a_session",
        "redis::a_redis_cluster_has_three_masters_that_share_the_slots",
        "redis::a_redis_server_forgets_when_killed_and_is_silent_when_paused",
    ];
    assert_eq!(names, expected.map(|name| format!("db-testkit {name}")));
    assert!(text.contains("apt-get install pgbouncer"), "each says why, and what to do: {text}");
}
