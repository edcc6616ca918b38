//! What cargo knows about this workspace.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::children;
use crate::failure::{Failure, Result};

/// One of our crates.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The directory of its manifest.
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    /// The names of its bench targets.
    pub(crate) benches: Vec<String>,
}

/// One line of a `[dependencies]` table.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `true` in `[dev-dependencies]`.
    pub(crate) dev: bool,
}

/// The workspace as `cargo metadata` tells it.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) target: PathBuf,
}

/// The workspace's root directory.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Asks cargo.
pub(crate) fn read() -> Result<Workspace> {
    let mut cargo = children::cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let text = children::output(cargo.current_dir(root()))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| Failure::said(format!("cargo metadata: {error}")))?;
    Ok(parse(&value))
}

fn parse(value: &Value) -> Workspace {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let package = |package: &Value| Package {
        name: text(&package["name"]),
        folder: Path::new(&text(&package["manifest_path"])).parent().map(Path::to_owned).unwrap_or_default(),
        dependencies: list(package, "dependencies")
            .iter()
            .map(|one| Dependency { name: text(&one["name"]), dev: one["kind"] == "dev" })
            .collect(),
        benches: list(package, "targets")
            .iter()
            .filter(|target| list(target, "kind").contains(&Value::from("bench")))
            .map(|target| text(&target["name"]))
            .collect(),
    };
    Workspace {
        packages: list(value, "packages").iter().map(package).collect(),
        target: PathBuf::from(text(&value["target_directory"])),
    }
}
