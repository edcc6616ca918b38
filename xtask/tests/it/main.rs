//! The documentation does what it says: every shell block in it runs.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use db_server::Place;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Their blocks are run by the tests of `dbctl`, in order and on hosts that have what these pages speak of.
const RUNBOOKS: [&str; 4] =
    ["docs/operations.md", "docs/moving-from-pgbackrest.md", "docs/online-changes.md", "docs/partitions.md"];

/// Every Markdown file of the repository but [`RUNBOOKS`], in a fixed order.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut directories = vec![root().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() && name != "target" && !name.starts_with('.') {
                directories.push(entry);
            } else if name.ends_with(".md") && !RUNBOOKS.iter().any(|page| entry.ends_with(page)) {
                pages.push(entry);
            }
        }
    }
    pages.sort();
    pages
}

/// The shell blocks of a page, in order.
fn shell_blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (inside, line.trim()) {
            (false, "```sh" | "```bash" | "```shell" | "```console") => {
                inside = true;
                blocks.push(String::new());
            }
            (true, "```") => inside = false,
            (true, _) => blocks.last_mut().unwrap().extend([line, "\n"]),
            (false, _) => {}
        }
    }
    blocks
}

/// Runs a script at the repository's root, with a development cluster of this test's own.
fn run(script: &str, home: &Path) -> Result<(), String> {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(root()).env("DB_PLATFORM_HOME", home);
    command.env_remove("DATABASE_URL");
    let output = command.output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn every_shell_block_in_the_documentation_runs() {
    let home = tempfile::tempdir().unwrap();
    // The account that servers run under must be able to enter.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // What was fetched serves here, too.
    let servers = Place::here().unwrap().servers();
    fs::create_dir_all(&servers).unwrap();
    symlink(servers, home.path().join("servers")).unwrap();
    let (mut ran, mut failed) = (0, Vec::new());
    for page in pages() {
        for block in shell_blocks(&fs::read_to_string(&page).unwrap()) {
            ran += 1;
            if let Err(said) = run(&block, home.path()) {
                failed.push(format!("{}:\n{block}{said}", page.display()));
            }
        }
    }
    let down = run("cargo xtask down", home.path());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    down.unwrap();
    assert!(ran > 0, "there are shell blocks to run");
}
