//! The order in which servers are looked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use db_server::{Finder, Origin, PROGRAMS, Place};

/// The hash of a wheel that the finder is told to trust.
const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A bin directory whose `postgres` only knows its version.
fn fake(parent: &Path, name: &str, version: &str) -> PathBuf {
    let bin = parent.join(name).join("bin");
    fs::create_dir_all(&bin).unwrap();
    for program in PROGRAMS {
        let path = bin.join(program);
        fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    bin
}

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().unwrap() }
    }

    fn finder(&self, settings: &[(&'static str, String)]) -> Finder {
        let settings = settings.to_vec();
        let place = Place::of(Some(&self.dir.path().join("target")), None).unwrap();
        let usual = format!("{}/usual/*/bin", self.dir.path().display());
        Finder::new(place)
            .lookup(move |name| {
                settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
            })
            .usual_places([usual])
    }
}

#[test]
fn the_first_place_that_will_do_is_taken() {
    let world = World::new();
    let root = world.dir.path();
    let named = fake(root, "named", "16.1");
    let on_path = fake(root, "on_path", "15.2");
    fake(&root.join("usual"), "14", "14.3");
    fake(&root.join("usual"), "17", "17.4");
    let fetched = fake(&root.join("target/servers"), "18", "18.5");
    fs::write(fetched.parent().unwrap().join("FETCHED"), format!("bin\n{HASH}\n")).unwrap();
    let path = ("PATH", on_path.display().to_string());
    let by_name = ("DB_PLATFORM_PG_BIN", named.display().to_string());
    let wheel = ("DB_PLATFORM_PG_SOURCE", "wheel".to_owned());
    let trusted = ("DB_PLATFORM_WHEEL_SHA256", HASH.to_owned());
    let no_pip = ("DB_PLATFORM_PYTHON", "/nonexistent/python3".to_owned());
    let check = |settings: &[(&'static str, String)], wanted: Option<u16>, expected: (Origin, u16)| {
        let found = world.finder(settings).find(wanted, &|_| {}).unwrap();
        assert_eq!((found.origin, found.version.major), expected, "{settings:?} {wanted:?}");
    };
    check(&[by_name.clone(), path.clone()], None, (Origin::Named, 16));
    check(std::slice::from_ref(&path), None, (Origin::Path, 15));
    check(std::slice::from_ref(&path), Some(14), (Origin::Installed, 14));
    check(&[], None, (Origin::Installed, 17));
    check(&[path.clone(), trusted.clone()], Some(18), (Origin::Fetched, 18));
    check(&[wheel.clone(), path.clone(), trusted], None, (Origin::Fetched, 18));
    // What was fetched from a wheel that is not trusted (any more) is no server.
    world.finder(&[wheel, path, no_pip]).find(None, &|_| {}).unwrap_err();
}

#[test]
fn a_redis_on_path_comes_before_a_fetched_one() {
    let world = World::new();
    let root = world.dir.path();
    let (on_path, fetched) = (root.join("on_path"), root.join("target/servers/redis"));
    for program in [on_path.join("valkey-server"), fetched.join("lib/valkey-server")] {
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
    }
    fs::write(fetched.join("FETCHED"), format!("lib\n{HASH}\n")).unwrap();
    let path = ("PATH", on_path.display().to_string());
    let trusted = ("DB_PLATFORM_WHEEL_SHA256", HASH.to_owned());
    let no_pip = ("DB_PLATFORM_PYTHON", "/nonexistent/python3".to_owned());
    let origin = |settings: &[_]| world.finder(settings).find_redis(&|_| {}).map(|program| program.origin);
    assert_eq!(origin(&[path.clone(), trusted.clone()]).unwrap(), Origin::Path);
    assert_eq!(origin(std::slice::from_ref(&trusted)).unwrap(), Origin::Fetched);
    let missing = origin(std::slice::from_ref(&no_pip)).unwrap_err();
    assert!(
        missing.is_for_want_of_a_program() && missing.to_string().contains("python3 with pip"),
        "{missing}"
    );
    let without = ("DB_PLATFORM_WITHOUT", "pgbouncer,redis".to_owned());
    assert!(origin(&[path, trusted, without]).unwrap_err().is_for_want_of_a_program());
}

#[test]
fn a_named_directory_that_will_not_do_is_an_error_and_nothing_else_is_tried() {
    let world = World::new();
    let named = fake(world.dir.path(), "named", "15.2");
    fake(&world.dir.path().join("usual"), "16", "16.1");
    let settings = [("DB_PLATFORM_PG_BIN", named.display().to_string())];
    let said = world.finder(&settings).find(Some(16), &|_| {}).unwrap_err().to_string();
    assert!(said.contains("is PostgreSQL 15.2, and 16 is wanted"), "{said}");
    fs::remove_file(named.join("pg_rewind")).unwrap();
    let said = world.finder(&settings).find(None, &|_| {}).unwrap_err().to_string();
    assert!(said.contains("lacks pg_rewind"), "{said}");
}

#[test]
fn where_nothing_is_to_be_had_one_message_names_the_three_ways() {
    let world = World::new();
    let settings = [("DB_PLATFORM_PYTHON", "/nonexistent/python3".to_owned())];
    let said = world.finder(&settings).find(Some(17), &|_| {}).unwrap_err().to_string();
    for way in ["install it", "DB_PLATFORM_PG_BIN=", "python3 with pip", "/nonexistent/python3"] {
        assert!(said.contains(way), "{way}: {said}");
    }
}

#[test]
fn a_wrong_setting_or_version_is_refused_before_anything_is_looked_at() {
    let world = World::new();
    let said = world.finder(&[]).find(Some(9), &|_| {}).unwrap_err().to_string();
    assert!(said.contains("PostgreSQL 9 is not supported"), "{said}");
    let settings = [("DB_PLATFORM_PG_SOURCE", "whell".to_owned())];
    let said = world.finder(&settings).find(None, &|_| {}).unwrap_err().to_string();
    assert!(said.contains("\"whell\""), "{said}");
    let settings = [("DB_PLATFORM_WHEEL_SHA256", "abc".to_owned())];
    fake(&world.dir.path().join("usual"), "17", "17.4");
    let said = world.finder(&settings).find(None, &|_| {}).unwrap_err().to_string();
    assert!(said.contains("\"abc\""), "{said}");
}

#[test]
fn the_survey_says_why_a_place_was_passed_over() {
    let world = World::new();
    fake(&world.dir.path().join("usual"), "14", "14.3");
    let broken = fake(&world.dir.path().join("usual"), "16", "16.3");
    fs::remove_file(broken.join("psql")).unwrap();
    let survey = world.finder(&[]).survey(Some(15));
    let reasons: Vec<String> = survey.into_iter().filter_map(|candidate| candidate.found.err()).collect();
    assert_eq!(reasons, ["lacks psql", "is PostgreSQL 14.3, and 15 is wanted"]);
}
