//! Takes chunks in the order of the stream, seals them into packs, and stores one pack while the next is
//! filled.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Packed, Pool, UnderWay, WriterStatistics, Written};
use crate::chunk::{ChunkId, ChunkRef, ChunkTable, PackRef};
use crate::container::{Container, Frame};
use crate::error::{BackupError, Result};
use crate::inside::Inside;
use crate::store::Put;

pub(super) struct Packs {
    inside: Arc<Inside>,
    /// What the paths of its packs begin with; a number follows.
    stem: String,
    pool: Arc<Pool>,
    pack_bytes: usize,
    table: ChunkTable,
    statistics: WriterStatistics,
    /// The chunks of this stream, because the same may come again.
    own: HashMap<ChunkId, u32>,
    /// Where the packs of earlier backups stand in the table.
    reused: HashMap<String, u32>,
    filling: Option<Filling>,
    storing: Option<JoinHandle<Result<Vec<u8>>>>,
    /// The buffer of a pack that was stored.
    spare: Option<Vec<u8>>,
    packs: u32,
}

/// The pack that is being filled.
struct Filling {
    container: Container,
    path: String,
    /// Its place in the table.
    number: u32,
}

impl Packs {
    pub(super) fn new(inside: Arc<Inside>, stem: String, pool: Arc<Pool>, pack_bytes: usize) -> Self {
        Packs {
            inside,
            stem,
            pool,
            pack_bytes,
            table: ChunkTable::default(),
            statistics: WriterStatistics::default(),
            own: HashMap::new(),
            reused: HashMap::new(),
            filling: None,
            storing: None,
            spare: None,
            packs: 0,
        }
    }

    /// Stores what arrives, until the stream ends or a chunk cannot be stored.
    pub(super) async fn collect(
        mut self,
        mut arriving: mpsc::UnboundedReceiver<UnderWay>,
    ) -> Result<Written> {
        while let Some(UnderWay { packed, _room }) = arriving.recv().await {
            match packed.await.map_err(|_| BackupError::PipelineEnded)?? {
                Packed::Known(id) => self.refer_to_base(id)?,
                Packed::New(frame) => self.add(frame).await?,
            }
        }
        self.close().await?;
        self.wait().await?;
        Ok(Written { content: self.table, statistics: self.statistics })
    }

    async fn add(&mut self, mut frame: Frame) -> Result<()> {
        if let Some(at) = self.own.get(&frame.id) {
            let again = usize::try_from(*at).ok().and_then(|at| self.table.chunks.get(at)).copied();
            let again = again.ok_or(BackupError::PipelineEnded)?;
            self.count(again, true);
            self.pool.frames.give_back(frame.packed);
            return Ok(());
        }
        let (id, plain_bytes) = (frame.id, frame.plain_bytes);
        if self.filling.as_ref().is_some_and(|filling| !filling.container.has_room(&frame, self.pack_bytes)) {
            self.close().await?;
        }
        let mut filling = match self.filling.take() {
            Some(filling) => filling,
            None => self.open()?,
        };
        let number = filling.container.frames();
        let row = filling.container.push_from(&mut frame)?;
        self.pool.frames.give_back(frame.packed);
        self.own.insert(id, u32::try_from(self.table.chunks.len()).unwrap_or(u32::MAX));
        let (offset, stored_bytes) = (row.1, row.2);
        let pack = filling.number;
        self.count(ChunkRef { id, pack, frame: number, offset, stored_bytes, plain_bytes }, false);
        self.filling = Some(filling);
        Ok(())
    }

    fn refer_to_base(&mut self, id: ChunkId) -> Result<()> {
        let pool = Arc::clone(&self.pool);
        let (mut chunk, pack) = pool.known.get(id).ok_or(BackupError::PipelineEnded)?;
        chunk.pack = match self.reused.get(&pack.path) {
            Some(number) => *number,
            None => {
                let number = self.add_pack(pack.clone());
                self.reused.insert(pack.path.clone(), number);
                number
            }
        };
        self.count(chunk, true);
        Ok(())
    }

    fn count(&mut self, chunk: ChunkRef, reused: bool) {
        self.table.chunks.push(chunk);
        self.statistics.chunks += 1;
        self.statistics.reused += u64::from(reused);
        self.statistics.plain_bytes += u64::from(chunk.plain_bytes);
    }

    fn add_pack(&mut self, pack: PackRef) -> u32 {
        self.table.packs.push(pack);
        u32::try_from(self.table.packs.len() - 1).unwrap_or(u32::MAX)
    }

    fn open(&mut self) -> Result<Filling> {
        let path = format!("{}{:06}", self.stem, self.packs);
        self.packs += 1;
        let number = self.add_pack(PackRef { path: path.clone(), bytes: 0, frames: 0 });
        let buffer = self.spare.take().unwrap_or_else(|| Vec::with_capacity(self.pack_bytes));
        let container = Container::create_in(&self.inside.ring, &path, buffer)?;
        Ok(Filling { container, path, number })
    }

    /// Closes the pack and stores it, once the one before it is stored.
    async fn close(&mut self) -> Result<()> {
        let Some(Filling { container, path, number }) = self.filling.take() else { return Ok(()) };
        let frames = container.frames();
        let object = container.finish()?;
        let bytes = object.len() as u64;
        if let Some(pack) = usize::try_from(number).ok().and_then(|at| self.table.packs.get_mut(at)) {
            (pack.bytes, pack.frames) = (bytes, frames);
        }
        self.statistics.stored_bytes += bytes;
        self.wait().await?;
        let inside = Arc::clone(&self.inside);
        self.storing = Some(tokio::spawn(async move {
            match inside.store.put_if_absent(&path, object.clone()).await? {
                Put::Created => Ok(object.into()),
                // Nobody else writes below this backup's name, so it is ours and its answer was lost.
                Put::Exists if inside.writes_only => Ok(object.into()),
                Put::Exists => Err(BackupError::damaged(path, "another pack is in its place")),
            }
        }));
        Ok(())
    }

    async fn wait(&mut self) -> Result<()> {
        if let Some(storing) = self.storing.take() {
            self.spare = Some(storing.await.map_err(|_| BackupError::PipelineEnded)??);
        }
        Ok(())
    }
}
