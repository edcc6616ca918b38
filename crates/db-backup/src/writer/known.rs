//! The chunks that an earlier backup has: they are not stored again.

use std::collections::HashMap;

use crate::chunk::{ChunkId, ChunkRef, PackRef};
use crate::manifest::Manifest;

/// The chunks of an earlier backup, by their names.
#[derive(Debug, Default)]
pub(crate) struct Known {
    packs: Vec<PackRef>,
    chunks: HashMap<ChunkId, ChunkRef>,
}

impl Known {
    pub(crate) fn of(base: &Manifest) -> Self {
        let packs = base.content.packs.clone();
        let chunks = base.content.chunks.iter().map(|chunk| (chunk.id, *chunk)).collect();
        Known { packs, chunks }
    }

    pub(crate) fn has(&self, id: ChunkId) -> bool {
        self.chunks.contains_key(&id)
    }

    /// Where the chunk is, and the pack that holds it.
    pub(crate) fn get(&self, id: ChunkId) -> Option<(ChunkRef, &PackRef)> {
        let chunk = self.chunks.get(&id)?;
        let pack = self.packs.get(usize::try_from(chunk.pack).ok()?)?;
        Some((*chunk, pack))
    }
}
