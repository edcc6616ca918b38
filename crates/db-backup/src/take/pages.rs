//! Looks at the pages of relations as they go by, and asks the server again about those that do not match.
//!
//! A page that the server was writing while it was read does not match either. Where replay will write it
//! anew that is no damage: either its position says so at once, or it does on a second look.

use db_core::Lsn;

use super::checksum::{PAGE_BYTES, Page, look};
use crate::manifest::BadPage;
use crate::session::{Session, SessionError};

/// The most pages that are told of one file: a file of nothing but bad pages says the same.
const TOLD_OF_A_FILE: usize = 64;

/// A page that did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    /// Its file, below the data directory.
    pub(super) path: String,
    /// Its number in the file.
    pub(super) index: u32,
    /// Its number in the relation, which its checksum counts in.
    pub(super) block: u32,
}

/// The pages of one file.
pub(super) struct Pages {
    path: String,
    first: u32,
    start: u64,
    index: u32,
    partial: Vec<u8>,
    suspects: Vec<Suspect>,
}

impl Pages {
    pub(super) fn new(path: String, first: u32, start: u64) -> Pages {
        Pages { path, first, start, index: 0, partial: Vec::new(), suspects: Vec::new() }
    }

    /// Looks at the next bytes of the file.
    pub(super) fn look(&mut self, mut bytes: &[u8]) {
        if !self.partial.is_empty() {
            let many = (PAGE_BYTES - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..many]);
            bytes = &bytes[many..];
            if self.partial.len() < PAGE_BYTES {
                return;
            }
            let page = std::mem::take(&mut self.partial);
            self.page(&page);
        }
        let whole = bytes.chunks_exact(PAGE_BYTES);
        self.partial.extend_from_slice(whole.remainder());
        for page in whole {
            self.page(page);
        }
    }

    pub(super) fn suspects(self) -> Vec<Suspect> {
        self.suspects
    }

    fn page(&mut self, page: &[u8]) {
        let block = self.first.saturating_add(self.index);
        if look(page, block, self.start) == Page::Bad && self.suspects.len() < TOLD_OF_A_FILE {
            self.suspects.push(Suspect { path: self.path.clone(), index: self.index, block });
        }
        self.index = self.index.saturating_add(1);
    }
}

/// The suspects that are damaged indeed, as the server's disk is now.
pub(super) async fn confirm(
    session: &mut Session,
    suspects: &[Suspect],
    start: Lsn,
) -> Result<Vec<BadPage>, SessionError> {
    let mut bad = Vec::new();
    for suspect in suspects {
        let path = suspect.path.replace('\'', "''");
        let offset = u64::from(suspect.index) * PAGE_BYTES as u64;
        let sql =
            format!("SELECT encode(pg_read_binary_file('{path}', {offset}, {PAGE_BYTES}, true), 'hex')");
        let now = match session.value(&sql).await {
            Ok(digits) => unhex(&digits),
            // The role may not read files, or the relation is gone: what was read stands.
            Err(SessionError::Server(_) | SessionError::Protocol { .. }) => None,
            Err(error) => return Err(error),
        };
        let changed = now.filter(|page| page.len() == PAGE_BYTES).is_some_and(|page| {
            let half = |at: usize| {
                u64::from(u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]))
            };
            look(&page, suspect.block, u64::MAX) == Page::Good && (half(0) << 32 | half(4)) >= start.0
        });
        if !changed {
            bad.push(BadPage { path: suspect.path.clone(), block: u64::from(suspect.index) });
        }
    }
    Ok(bad)
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(pair).collect()
}
