//! `oldest`: the oldest versions that our manifests allow compile, and a service that holds older ones is
//! told so.
//!
//! Direct dependencies are resolved to the oldest version that a manifest names, everything below them to the
//! newest. What a crate of somebody else's claims of its own dependencies is not ours to check.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use lexopt::Arg;

use crate::command::{Command, Options, unexpected};
use crate::failure::{Failure, Result};
use crate::{children, say, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "oldest",
    line: "compile with the oldest versions that the manifests allow",
    help: "
cargo xtask oldest [--test] [--keep]

Resolves a copy of the manifests to the oldest version of every dependency that they name, and compiles db-pool and
db-platform with it, in a target directory of its own, target/oldest. Then resolves a small service that has rustls 0.23.12:
cargo must raise it, or say which version is needed where the service pins it. --test runs the tests of both crates
besides, which takes about ten minutes on two cores. What was built is removed at the end; --keep leaves it.

A dependency that fails here is declared with too old a version: raise it in Cargo.toml.",
    run,
};

/// The crates that a service takes first.
const CRATES: [&str; 4] = ["--package", "db-pool", "--package", "db-platform"];

/// Older than what db-pool compiles with, and seen in services' lock files.
const TOO_OLD: [&str; 2] = ["0.23.12", "0.23.20"];

fn run(mut options: Options) -> Result {
    let (mut test, mut keep) = (false, false);
    while let Some(arg) = options.next()? {
        match arg {
            Arg::Long("test") => test = true,
            Arg::Long("keep") => keep = true,
            other => return Err(unexpected(&other)),
        }
    }
    check(test, keep)
}

/// Resolves, compiles and, if asked to, tests the oldest versions.
pub(crate) fn check(test: bool, keep: bool) -> Result {
    let copy = Copy::make(&workspace::read()?.target.join("oldest"))?;
    copy.resolve()?;
    copy.compile(test)?;
    let service = copy.directory.join("service");
    let outcome = TOO_OLD.iter().try_for_each(|rustls| {
        refused(&service, rustls)?;
        raised(&service, rustls)
    });
    if !keep {
        fs::remove_dir_all(&copy.directory)?;
    }
    outcome
}

/// The workspace beside itself: a manifest and a lock file of its own, over the same crates.
struct Copy {
    directory: PathBuf,
}

impl Copy {
    fn make(directory: &Path) -> Result<Copy> {
        fs::create_dir_all(directory)?;
        let manifest = fs::read_to_string(workspace::root().join("Cargo.toml"))?;
        fs::write(directory.join("Cargo.toml"), of_crates_only(&manifest))?;
        let link = directory.join("crates");
        if !link.is_symlink() {
            symlink(workspace::root().join("crates"), link)?;
        }
        Ok(Copy { directory: directory.to_owned() })
    }

    fn resolve(&self) -> Result {
        let lock = self.directory.join("Cargo.lock");
        if lock.exists() {
            fs::remove_file(lock)?;
        }
        let mut cargo = self.cargo(&["generate-lockfile", "--quiet", "-Z", "direct-minimal-versions"]);
        // Only this command, which builds nothing, may use what cargo calls unstable.
        children::run_aside(cargo.env("RUSTC_BOOTSTRAP", "1"))
    }

    fn compile(&self, test: bool) -> Result {
        let verb: &[&str] = if test { &["test", "--lib", "--tests"] } else { &["check", "--lib"] };
        let mut cargo = self.cargo(&[verb, &["--locked"], &CRATES].concat());
        children::run_aside(children::without_databases(&mut cargo)).map_err(|failure| {
            let lock = self.directory.join("Cargo.lock");
            Failure::said(format!("the oldest versions: {failure}; they are in {}", lock.display()))
        })
    }

    fn cargo(&self, arguments: &[&str]) -> Process {
        let mut cargo = children::cargo(arguments);
        cargo.arg("--manifest-path").arg(self.directory.join("Cargo.toml"));
        cargo.env("CARGO_TARGET_DIR", self.directory.join("target"));
        cargo
    }
}

/// The workspace's manifest without the members that no service takes.
fn of_crates_only(manifest: &str) -> String {
    let lines = manifest.lines().filter(|line| !line.starts_with("default-members"));
    let lines = lines.map(|line| {
        if line.starts_with("members = ") {
            "members = [\"crates/*\"]\n".to_owned()
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

/// A service that pins an older rustls is told which one is needed, before anything is compiled.
fn refused(service: &Path, rustls: &str) -> Result {
    write_service(service, &format!("\"={rustls}\""), true)?;
    let output = cargo_at(service, &["generate-lockfile"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let tells = said.contains("failed to select a version for `rustls`")
        && said.contains("required by package `db-pool")
        && said.contains("versions that meet the requirements `^0.23.");
    if output.status.success() || !tells {
        return Err(Failure::said(format!("rustls ={rustls} beside db-pool got no clear answer:\n{said}")));
    }
    let needed = said.lines().find(|line| line.starts_with("versions that meet")).unwrap_or_default();
    say::note(&format!(
        "beside rustls ={rustls}, cargo says: {}",
        needed.split(" are:").next().unwrap_or_default()
    ));
    Ok(())
}

/// A service whose lock file has an older rustls gets a newer one with db-pool.
fn raised(service: &Path, rustls: &str) -> Result {
    write_service(service, "\"0.23\"", false)?;
    children::run_aside(&mut cargo_at(service, &["generate-lockfile", "--quiet"]))?;
    children::run_aside(&mut cargo_at(service, &["update", "--quiet", "rustls", "--precise", rustls]))?;
    write_service(service, "\"0.23\"", true)?;
    children::run_aside(&mut cargo_at(service, &["update", "--quiet", "--workspace"]))?;
    let lock = fs::read_to_string(service.join("Cargo.lock"))?;
    let locked = version_of("rustls", &lock);
    if locked.is_none_or(|version| version == rustls) {
        return Err(Failure::said(format!("db-pool left rustls at {locked:?} in a service's lock file")));
    }
    say::note(&format!("a lock file with rustls {rustls} gets {}", locked.unwrap_or_default()));
    Ok(())
}

/// A service that depends on rustls and, where `moved`, on db-pool.
fn write_service(directory: &Path, rustls: &str, moved: bool) -> Result {
    let mut manifest = format!(
        "[package]\nname = \"service\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         rustls = {{ version = {rustls}, default-features = false }}\n"
    );
    if moved {
        let pool = workspace::root().join("crates/db-pool");
        manifest.push_str(&format!("db-pool = {{ path = {:?} }}\n", pool.display().to_string()));
    }
    fs::create_dir_all(directory.join("src"))?;
    fs::write(directory.join("src/lib.rs"), "//! Nothing.\n")?;
    Ok(fs::write(directory.join("Cargo.toml"), manifest)?)
}

fn cargo_at(directory: &Path, arguments: &[&str]) -> Process {
    let mut cargo = children::cargo(arguments);
    cargo.current_dir(directory);
    cargo
}

/// The version that a lock file has of a crate.
fn version_of<'a>(name: &str, lock: &'a str) -> Option<&'a str> {
    let named = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != named);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_has_the_crates_and_nobody_else() {
        let manifest = "[workspace]\nmembers = [\"crates/*\", \"xtask\"]\ndefault-members = [\"crates/*\"]\nresolver = \"3\"\n";
        assert_eq!(of_crates_only(manifest), "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"3\"\n");
    }

    #[test]
    fn a_version_is_read_from_a_lock_file() {
        let lock = "[[package]]\nname = \"rustls\"\nversion = \"0.23.27\"\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n";
        assert_eq!(version_of("rustls", lock), Some("0.23.27"));
        assert_eq!(version_of("b", lock), None);
    }
}
