//! moving-4: the oldest versions that the manifests allow, as a contributor checks them.
//!
//! The line to remove, with its mention in `tls`: without it any rustls 0.23 will do for the resolver, and
//! the compiler is the first to disagree.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::{Figure, Size};

pub(crate) fn measure(size: Size) -> Figure {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).args(["xtask", "oldest"]);
    if size == Size::Nightly {
        command.arg("--test");
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    eprintln!("{said}");
    let lines: Vec<&str> = said.lines().rev().take(5).collect();
    Figure {
        value: f64::from(u8::from(!output.status.success())),
        unit: "failures",
        holds: output.status.success(),
        detail: json!({ "last_lines": lines.into_iter().rev().collect::<Vec<_>>() }),
    }
}
