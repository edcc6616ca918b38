//! Takes in what the server sends: archives become files of the manifest, their bytes chunks, and pages are
//! looked at.

use chrono::Utc;

use super::checksum::{PAGE_BYTES, first_block};
use super::pages::{Pages, Suspect};
use super::tar::{Entry, EntryKind, Piece, Tar};
use crate::manifest::{File, Root, What};
use crate::physical_error::PhysicalError;
use crate::{ChunkTable, ChunkWriter};

/// What is being read.
enum Source {
    /// Nothing.
    None,
    /// An archive.
    Tar(Tar),
    /// A file whose bytes come as they are.
    Plain,
}

/// The files so far, and the one that is open.
pub(super) struct Intake {
    writer: ChunkWriter,
    files: Vec<File>,
    source: Source,
    root: Root,
    pages: Option<Pages>,
    /// Where replay begins, where pages are to be looked at.
    check_from: Option<u64>,
    suspects: Vec<Suspect>,
    bytes: u64,
}

impl Intake {
    pub(super) fn new(writer: ChunkWriter, check_from: Option<u64>) -> Intake {
        Intake {
            writer,
            files: Vec::new(),
            source: Source::None,
            root: Root::Data,
            pages: None,
            check_from,
            suspects: Vec::new(),
            bytes: 0,
        }
    }

    /// How many bytes of files were taken in.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Pages that did not match their checksums.
    pub(super) fn suspects(&self) -> &[Suspect] {
        &self.suspects
    }

    pub(super) fn archive_begins(&mut self, root: Root) -> Result<(), PhysicalError> {
        self.archive_ends()?;
        self.root = root;
        self.source = Source::Tar(Tar::default());
        Ok(())
    }

    /// What was open must be whole.
    pub(super) fn archive_ends(&mut self) -> Result<(), PhysicalError> {
        match std::mem::replace(&mut self.source, Source::None) {
            Source::Tar(tar) => tar.end().map_err(|reason| PhysicalError::Stream { reason }),
            Source::Plain => {
                self.ends();
                Ok(())
            }
            Source::None => Ok(()),
        }
    }

    /// A file outside the archives whose bytes come until the next one begins.
    pub(super) async fn plain_begins(&mut self, root: Root, path: &str) -> Result<(), PhysicalError> {
        self.archive_ends()?;
        self.root = root;
        self.begins(Entry {
            path: path.to_owned(),
            kind: EntryKind::File,
            bytes: 0,
            mode: 0o600,
            modified: Utc::now(),
        })
        .await?;
        self.source = Source::Plain;
        Ok(())
    }

    /// More bytes of what is open.
    pub(super) async fn data(&mut self, mut data: &[u8]) -> Result<(), PhysicalError> {
        let mut tar = match std::mem::replace(&mut self.source, Source::None) {
            Source::Tar(tar) => tar,
            Source::Plain => {
                self.source = Source::Plain;
                return self.write(data).await;
            }
            Source::None => {
                return Err(PhysicalError::Stream { reason: "data before an archive began".to_owned() });
            }
        };
        while let Some(piece) = tar.next(&mut data).map_err(|reason| PhysicalError::Stream { reason })? {
            match piece {
                Piece::Begins(entry) => self.begins(entry).await?,
                Piece::Bytes(bytes) => self.write(bytes).await?,
                Piece::Ends => self.ends(),
            }
        }
        self.source = Source::Tar(tar);
        Ok(())
    }

    /// The whole of a file at once.
    pub(super) async fn whole(&mut self, file: File, content: &[u8]) -> Result<(), PhysicalError> {
        self.writer.begin_file(content.len() as u64).await?;
        self.writer.write(content).await?;
        let extent = self.writer.end_file();
        self.bytes += content.len() as u64;
        self.files.push(File { what: What::File { extent }, ..file });
        Ok(())
    }

    /// The files, and where their bytes are.
    pub(super) async fn finish(self) -> Result<(Vec<File>, ChunkTable), PhysicalError> {
        let written = self.writer.finish().await?;
        Ok((self.files, written.content))
    }

    async fn begins(&mut self, entry: Entry) -> Result<(), PhysicalError> {
        let what = match &entry.kind {
            EntryKind::File => {
                self.writer.begin_file(entry.bytes).await?;
                What::File { extent: crate::Extent::default() }
            }
            EntryKind::Directory => What::Directory,
            EntryKind::Link(to) => What::Link { to: to.clone() },
        };
        let of_pages = entry.bytes > 0 && entry.bytes.is_multiple_of(PAGE_BYTES as u64);
        let relation = self.relation(&entry.path);
        self.pages = match (self.check_from, first_block(&relation)) {
            (Some(start), Some(first)) if of_pages && entry.kind == EntryKind::File => {
                Some(Pages::new(relation, first, start))
            }
            _ => None,
        };
        self.files.push(File {
            path: entry.path,
            root: self.root.clone(),
            what,
            mode: entry.mode,
            modified: entry.modified,
        });
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), PhysicalError> {
        self.bytes += bytes.len() as u64;
        if let Some(pages) = &mut self.pages {
            pages.look(bytes);
        }
        self.writer.write(bytes).await?;
        Ok(())
    }

    fn ends(&mut self) {
        if let Some(pages) = self.pages.take() {
            self.suspects.extend(pages.suspects());
        }
        if let Some(File { what: What::File { extent }, .. }) = self.files.last_mut() {
            *extent = self.writer.end_file();
        }
    }

    /// The path of a file below the data directory, through which the server reads it too.
    fn relation(&self, path: &str) -> String {
        match &self.root {
            Root::Tablespace(oid) => format!("pg_tblspc/{oid}/{path}"),
            _ => path.to_owned(),
        }
    }
}
