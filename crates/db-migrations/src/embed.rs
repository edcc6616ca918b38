//! Migrations in the program itself, with their text: checksums, statements and plans work in a shipped
//! binary.

use std::path::Path;

use include_dir::{Dir, DirEntry};

use crate::error::MigrationError;
use crate::source::{Migrations, REPEATABLE, one, refuse_foreign, repeat};

/// A directory of migrations in the program, made by [`embed!`](crate::embed!).
#[derive(Debug, Clone)]
pub struct Embedded {
    directory: Dir<'static>,
}

/// Puts a directory of migrations into the program, as an [`Embedded`]: `migrations` beside the crate's
/// Cargo.toml, or the one that is named.
///
/// Variables in the path are the environment's of the compiler:
/// `embed!("$CARGO_MANIFEST_DIR/../migrations")`. A migration that is added later is seen only when the crate
/// is compiled again: its build.rs should print `cargo::rerun-if-changed=migrations`.
///
/// ```no_run
/// static MIGRATIONS: db_migrations::Embedded = db_migrations::embed!("$CARGO_MANIFEST_DIR/../../migrations");
///
/// let migrations = MIGRATIONS.read()?;
/// # Ok::<(), db_migrations::MigrationError>(())
/// ```
#[macro_export]
macro_rules! embed {
    () => {
        $crate::embed!("$CARGO_MANIFEST_DIR/migrations")
    };
    ($directory:tt) => {{
        use $crate::__include_dir as include_dir;
        $crate::Embedded::new(include_dir::include_dir!($directory))
    }};
}

impl Embedded {
    #[doc(hidden)]
    pub const fn new(directory: Dir<'static>) -> Self {
        Embedded { directory }
    }

    /// The migrations.
    ///
    /// # Errors
    /// As [`Migrations::read`].
    pub fn read(&self) -> Result<Migrations, MigrationError> {
        let (mut all, mut repeatable) = (Vec::new(), Vec::new());
        for entry in self.directory.entries() {
            let path = entry.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match entry {
                DirEntry::Dir(directory) if !name.starts_with('.') => {
                    let up = path.join("up.sql");
                    let up = text(directory, &up)?.ok_or_else(|| unreadable(&up, "not found"))?;
                    let down = text(directory, &path.join("down.sql"))?;
                    let metadata = text(directory, &path.join("metadata.toml"))?;
                    all.push(one(path.to_owned(), up, down, metadata.as_deref())?);
                }
                DirEntry::File(file) => {
                    if let Some(name) = name.strip_suffix(".sql").filter(|name| name.starts_with(REPEATABLE))
                    {
                        let up = file.contents_utf8().ok_or_else(|| unreadable(path, "not UTF-8"))?;
                        repeatable.push(repeat(name, path.to_owned(), up.to_owned()));
                    } else if !name.starts_with('.') {
                        refuse_foreign(path.to_owned(), &name, file.contents_utf8().unwrap_or_default())?;
                    }
                }
                DirEntry::Dir(_) => {}
            }
        }
        Migrations::of(all, repeatable)
    }
}

fn text(directory: &Dir<'static>, path: &Path) -> Result<Option<String>, MigrationError> {
    let Some(file) = directory.get_file(path) else { return Ok(None) };
    match file.contents_utf8() {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(unreadable(path, "not UTF-8")),
    }
}

fn unreadable(path: &Path, why: &str) -> MigrationError {
    MigrationError::Read { path: path.to_owned(), source: std::io::Error::other(why.to_owned()) }
}
