//! A repository in a directory of its own, and backups to put into it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use db_backup::{
    Cluster, Compression, File, Keys, Kind, Manifest, Protection, Repository, Root, Segment, ServerFacts,
    Store, Summary, WalName, WalRange, What, WriterOptions,
};
use db_core::Lsn;

/// The cluster of most tests.
pub(crate) const SYSTEM: u64 = 7_312_345_678_901_234_567;
/// The size of a segment in these tests, the smallest that a server can have.
pub(crate) const SEGMENT: u32 = 1 << 20;

/// A repository in a directory of its own.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) keys: Keys,
    pub(crate) repository: Repository,
    pub(crate) cluster: Cluster,
}

impl World {
    pub(crate) async fn new(protection: Protection) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::generate();
        let store = Store::local(directory.path()).unwrap();
        let (repository, _) = Repository::init(store, &keys, protection).await.unwrap();
        let cluster = repository.cluster(SYSTEM);
        World { directory, keys, repository, cluster }
    }
}

/// Takes a backup of these files.
pub(crate) async fn take(cluster: &Cluster, files: &[(&str, Vec<u8>)], base: Option<&Manifest>) -> Summary {
    try_take(cluster, files, base).await.unwrap()
}

pub(crate) async fn try_take(
    cluster: &Cluster,
    files: &[(&str, Vec<u8>)],
    base: Option<&Manifest>,
) -> db_backup::Result<Summary> {
    take_at(cluster, files, base, 2).await
}

/// The same, by a server whose log stands in this segment.
pub(crate) async fn take_at(
    cluster: &Cluster,
    files: &[(&str, Vec<u8>)],
    base: Option<&Manifest>,
    segment: u64,
) -> db_backup::Result<Summary> {
    let mut draft = cluster.begin(Kind::Full, server(), base).await?;
    draft.summary.wal = Some(WalRange {
        timeline: 1,
        start: Lsn(u64::from(SEGMENT) * segment + 40),
        stop: Lsn(u64::from(SEGMENT) * (segment + 1) + 8),
    });
    let compression = Compression::Zstd(1);
    let mut writer = draft.writer(WriterOptions { compression, ..WriterOptions::default() })?;
    let mut entries = Vec::new();
    for (path, content) in files {
        writer.begin_file(content.len() as u64).await?;
        writer.write(content).await?;
        entries.push(entry(path, What::File { extent: writer.end_file() }));
    }
    let written = writer.finish().await?;
    draft.publish(entries, written.content).await
}

fn entry(path: &str, what: What) -> File {
    File { path: path.to_owned(), root: Root::Data, what, mode: 0o600, modified: DateTime::<Utc>::UNIX_EPOCH }
}

pub(crate) fn server() -> ServerFacts {
    ServerFacts {
        system_identifier: SYSTEM,
        version: 170_011,
        wal_segment_bytes: SEGMENT,
        block_bytes: 8192,
        data_checksums: true,
        ..ServerFacts::default()
    }
}

/// What a backup holds, by path.
pub(crate) async fn content(
    cluster: &Cluster,
    summary: &Summary,
) -> db_backup::Result<Vec<(String, Vec<u8>)>> {
    let manifest = cluster.manifest(&summary.id).await?;
    let reader = cluster.reader(&manifest, 2);
    let mut content = Vec::new();
    for file in &manifest.files {
        content.push((file.path.clone(), reader.read_to_vec(file.extent().unwrap()).await?));
    }
    Ok(content)
}

/// Bytes that compress to about half, the same for each seed.
pub(crate) fn some_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state % 16).unwrap_or(0)
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A segment as a server writes it: pages that say where they are, the first one whose they are, and this
/// content.
pub(crate) fn segment(segment: Segment, system_identifier: u64, content: u64) -> Bytes {
    let mut bytes = some_bytes(content, SEGMENT as usize);
    for (number, page) in bytes.chunks_mut(8192).enumerate() {
        page[..2].copy_from_slice(&0xD116_u16.to_le_bytes());
        page[4..8].copy_from_slice(&segment.timeline.to_le_bytes());
        page[8..16].copy_from_slice(&(segment.start(SEGMENT).0 + number as u64 * 8192).to_le_bytes());
    }
    bytes[2..4].copy_from_slice(&2_u16.to_le_bytes());
    bytes[24..32].copy_from_slice(&system_identifier.to_le_bytes());
    bytes[32..36].copy_from_slice(&SEGMENT.to_le_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_le_bytes());
    Bytes::from(bytes)
}

/// Archives these segments of timeline 1, by number.
pub(crate) async fn archive(cluster: &Cluster, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let name = Segment { timeline: 1, log: 0, number };
        let bytes = segment(name, SYSTEM, u64::from(number));
        cluster.put_wal(WalName::Segment(name), bytes, Compression::Zstd(1)).await.unwrap();
    }
}

/// The files below a directory.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
