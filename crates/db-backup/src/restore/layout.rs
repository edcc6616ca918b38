//! Which bytes of which file each chunk of a backup holds.

use crate::manifest::{File, Manifest};
use crate::physical_error::PhysicalError;

/// A stretch of one file that lies in one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The file's number in the manifest.
    pub(super) file: usize,
    /// Where it begins in the file, in bytes.
    pub(super) at: u64,
    /// Where it begins in the chunk, in bytes.
    pub(super) from: usize,
    /// How many bytes it has.
    pub(super) bytes: usize,
}

/// The pieces of each chunk, in the order of the stream.
pub(super) fn layout(manifest: &Manifest) -> Result<Vec<Vec<Piece>>, PhysicalError> {
    let chunks = &manifest.content.chunks;
    let mut pieces: Vec<Vec<Piece>> = chunks.iter().map(|_| Vec::new()).collect();
    for (number, file) in manifest.files.iter().enumerate() {
        let Some(extent) = file.extent() else { continue };
        let (mut left, mut at, mut from) = (extent.bytes, 0, u64::from(extent.offset));
        let mut chunk = usize::try_from(extent.chunk).unwrap_or(usize::MAX);
        while left > 0 {
            let size =
                chunks.get(chunk).map(|chunk| u64::from(chunk.plain_bytes)).ok_or_else(|| beyond(file))?;
            let here = size.saturating_sub(from).min(left);
            if here > 0 {
                let (from, bytes) =
                    usize::try_from(from).ok().zip(usize::try_from(here).ok()).ok_or_else(|| beyond(file))?;
                if here == size {
                    // Most chunks are of one file, and there may be millions of them.
                    pieces[chunk].reserve_exact(1);
                }
                pieces[chunk].push(Piece { file: number, at, from, bytes });
            }
            (left, at, from, chunk) = (left - here, at + here, 0, chunk + 1);
        }
    }
    Ok(pieces)
}

fn beyond(file: &File) -> PhysicalError {
    PhysicalError::Stream { reason: format!("{} lies beyond the backup's last chunk", file.path) }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::chunk::{ChunkId, ChunkRef, ChunkTable, Extent};
    use crate::manifest::{Kind, Root, Summary, What};

    fn manifest(sizes: &[u32], files: &[(u64, u32, u64)]) -> Manifest {
        let chunk = |plain_bytes: &u32| ChunkRef {
            id: ChunkId([0; 32]),
            pack: 0,
            frame: 0,
            offset: 0,
            stored_bytes: 0,
            plain_bytes: *plain_bytes,
        };
        let file = |(chunk, offset, bytes): &(u64, u32, u64)| File {
            path: "file".to_owned(),
            root: Root::Data,
            what: What::File { extent: Extent { chunk: *chunk, offset: *offset, bytes: *bytes } },
            mode: 0o600,
            modified: Utc::now(),
        };
        let content = ChunkTable { packs: Vec::new(), chunks: sizes.iter().map(chunk).collect() };
        let summary = Summary::new(Kind::Full, Default::default(), Utc::now());
        Manifest::new(summary, files.iter().map(file).collect(), content)
    }

    #[test]
    fn a_file_goes_on_in_the_next_chunk() {
        let found = layout(&manifest(&[10, 10, 4], &[(0, 0, 3), (0, 3, 0), (0, 3, 20)])).unwrap();
        let piece = |file, at, from, bytes| Piece { file, at, from, bytes };
        assert_eq!(found[0], [piece(0, 0, 0, 3), piece(2, 0, 3, 7)]);
        assert_eq!(found[1], [piece(2, 7, 0, 10)]);
        assert_eq!(found[2], [piece(2, 17, 0, 3)]);
    }

    #[test]
    fn a_file_beyond_the_last_chunk_is_refused() {
        assert!(layout(&manifest(&[10], &[(0, 5, 6)])).is_err());
        assert!(layout(&manifest(&[10], &[(7, 0, 1)])).is_err());
    }
}
