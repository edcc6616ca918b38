//! The order in which servers are looked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use db_server::{Finder, Origin, PROGRAMS, Place};

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
    let fetched = fake(&root.join("target/postgres"), "18", "18.5");
    fs::write(fetched.parent().unwrap().join("BIN"), "bin").unwrap();
    let path = ("PATH", on_path.display().to_string());
    let by_name = ("DB_PLATFORM_PG_BIN", named.display().to_string());
    let wheel = ("DB_PLATFORM_PG_SOURCE", "wheel".to_owned());
    let check = |settings: &[(&'static str, String)], wanted: Option<u16>, expected: (Origin, u16)| {
        let found = world.finder(settings).find(wanted, &|_| {}).unwrap();
        assert_eq!((found.origin, found.version.major), expected, "{settings:?} {wanted:?}");
    };
    check(&[by_name.clone(), path.clone()], None, (Origin::Named, 16));
    check(std::slice::from_ref(&path), None, (Origin::Path, 15));
    check(std::slice::from_ref(&path), Some(14), (Origin::Installed, 14));
    check(&[], None, (Origin::Installed, 17));
    check(std::slice::from_ref(&path), Some(18), (Origin::Fetched, 18));
    check(&[wheel, path], None, (Origin::Fetched, 18));
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
