//! Where rows go before their table is dropped: a hook, and a directory and two commands that implement it.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// Bytes as they come.
pub type Bytes = Pin<Box<dyn Stream<Item = io::Result<Vec<u8>>> + Send>>;

/// What a hook answers, later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Keeps the rows of partitions that retention takes out: a directory, an object store.
///
/// What `store` answered must be durable. It is read back before the table is dropped, and once more by the
/// run that drops.
///
/// ```
/// use db_maintenance::partitions::{Answer, Archive, Bytes};
///
/// struct Bucket;
///
/// impl Archive for Bucket {
///     fn store<'a>(&'a self, name: &'a str, rows: Bytes) -> Answer<'a, ()> {
///         Box::pin(async move {
///             drop((name, rows)); // an upload
///             Ok(())
///         })
///     }
///
///     fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Bytes> {
///         Box::pin(async move { Err(std::io::Error::other(format!("{name} is not there"))) })
///     }
/// }
/// ```
pub trait Archive: Send + Sync {
    /// Keeps these bytes under this name; what is there under it is replaced.
    fn store<'a>(&'a self, name: &'a str, rows: Bytes) -> Answer<'a, ()>;

    /// The bytes that are kept under this name.
    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Bytes>;
}

/// An archive in a directory of this host.
///
/// ```
/// let archive = db_maintenance::partitions::DirectoryArchive::new("/var/lib/archive");
/// # let _ = archive;
/// ```
#[derive(Debug, Clone)]
pub struct DirectoryArchive {
    directory: PathBuf,
}

impl DirectoryArchive {
    /// An archive below this directory, which is made where it is not there.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        DirectoryArchive { directory: directory.into() }
    }

    async fn write(&self, path: &Path, mut rows: Bytes) -> io::Result<()> {
        let below = path.parent().unwrap_or(&self.directory);
        tokio::fs::create_dir_all(below).await?;
        let part = path.with_extension("part");
        let mut file = tokio::fs::File::create(&part).await?;
        while let Some(bytes) = rows.next().await {
            file.write_all(&bytes?).await?;
        }
        file.sync_all().await?;
        tokio::fs::rename(&part, path).await?;
        tokio::fs::File::open(below).await?.sync_all().await
    }
}

impl Archive for DirectoryArchive {
    fn store<'a>(&'a self, name: &'a str, rows: Bytes) -> Answer<'a, ()> {
        Box::pin(async move { self.write(&self.directory.join(name), rows).await })
    }

    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Bytes> {
        Box::pin(async move {
            let file = tokio::fs::File::open(self.directory.join(name)).await?;
            let pieces = futures_util::stream::try_unfold(file, |mut file| async move {
                let mut piece = vec![0; 1 << 16];
                let read = file.read(&mut piece).await?;
                piece.truncate(read);
                Ok((read > 0).then_some((piece, file)))
            });
            Ok(Box::pin(pieces) as Bytes)
        })
    }
}

/// An archive behind two commands of the shell, such as those of an object store's own client.
///
/// Both find the object's name in `$ARCHIVE_NAME`: letters, digits, `-`, `_`, `.`, `%` and `/`. What they say
/// on standard error goes to this process's.
///
/// ```
/// use db_maintenance::partitions::CommandArchive;
///
/// let archive = CommandArchive::new(
///     r#"aws s3 cp - "s3://archive/$ARCHIVE_NAME""#,
///     r#"aws s3 cp "s3://archive/$ARCHIVE_NAME" -"#,
/// );
/// # let _ = archive;
/// ```
#[derive(Debug, Clone)]
pub struct CommandArchive {
    store: String,
    read: String,
}

impl CommandArchive {
    /// An archive where `store` keeps what it reads on standard input, and ends with success only once it is
    /// durable, and `read` writes it to standard output.
    pub fn new(store: impl Into<String>, read: impl Into<String>) -> Self {
        CommandArchive { store: store.into(), read: read.into() }
    }
}

fn shell(command: &str, name: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).env("ARCHIVE_NAME", name).kill_on_drop(true);
    shell
}

/// A command's end as an error; it has said why on standard error.
fn succeeded(what: &str, status: ExitStatus) -> io::Result<()> {
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("the command that {what} it: {status}")))
    }
}

impl Archive for CommandArchive {
    fn store<'a>(&'a self, name: &'a str, mut rows: Bytes) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut child = shell(&self.store, name).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
            let input = child.stdin.take();
            let feed = async {
                let Some(mut input) = input else { return Ok(()) };
                while let Some(bytes) = rows.next().await {
                    input.write_all(&bytes?).await?;
                }
                input.shutdown().await
            };
            match feed.await {
                Ok(()) => succeeded("stores", child.wait().await?),
                // The command ended before it had read all: how it ended says more.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    succeeded("stores", child.wait().await?)?;
                    Err(error)
                }
                // It must not take a part of the rows for all of them.
                Err(error) => {
                    child.kill().await?;
                    Err(error)
                }
            }
        })
    }

    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Bytes> {
        Box::pin(async move {
            let mut child = shell(&self.read, name).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
            let output = child.stdout.take();
            let pieces =
                futures_util::stream::try_unfold((child, output), |(mut child, output)| async move {
                    let Some(mut output) = output else { return Ok(None) };
                    let mut piece = vec![0; 1 << 16];
                    let read = output.read(&mut piece).await?;
                    if read == 0 {
                        succeeded("reads", child.wait().await?)?;
                        return Ok(None);
                    }
                    piece.truncate(read);
                    Ok(Some((piece, (child, Some(output)))))
                });
            Ok(Box::pin(pieces) as Bytes)
        })
    }
}

/// What went by: how many lines, and their hash.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    lines: u64,
    hash: Sha256,
}

impl Counted {
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.hash.update(bytes);
    }

    /// The lines and the hash, in hexadecimal.
    pub(crate) fn finish(self) -> (u64, String) {
        let hash = self.hash.finalize();
        (self.lines, hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The same bytes, counted as they go by.
pub(crate) fn counting(bytes: Bytes) -> (Bytes, Arc<Mutex<Counted>>) {
    let counted = Arc::new(Mutex::new(Counted::default()));
    let seen = Arc::clone(&counted);
    let through = bytes.inspect_ok(move |bytes| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).take(bytes);
    });
    (Box::pin(through), counted)
}

/// Reads all of it, and counts.
pub(crate) async fn count(mut bytes: Bytes) -> io::Result<(u64, String)> {
    let mut counted = Counted::default();
    while let Some(piece) = bytes.next().await {
        counted.take(&piece?);
    }
    Ok(counted.finish())
}

/// A name for an archive: no part of it is read as a path.
pub(crate) fn part_of_name(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(byte.into()),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}
