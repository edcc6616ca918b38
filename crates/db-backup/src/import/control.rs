//! Reads from a backup's pg_control what a restore must know of its server.
//!
//! Versions lay the file out differently in front of the number that proves the format of floating point.
//! Everything that is needed lies around that number at the same distances in PostgreSQL 14 to 18.

use std::collections::BTreeMap;

/// What pg_control says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) system_identifier: u64,
    pub(super) block_bytes: u32,
    pub(super) wal_segment_bytes: u32,
    pub(super) data_checksums: bool,
    /// Settings that a restored server must have at least as high.
    pub(super) settings: BTreeMap<String, String>,
}

/// What the server writes to prove its format of floating point.
const FLOAT: f64 = 1_234_567.0;
/// Where settings lie, before that number, and what they are called.
const SETTINGS: [(usize, &str); 5] = [
    (28, "max_connections"),
    (24, "max_worker_processes"),
    (20, "max_wal_senders"),
    (16, "max_prepared_transactions"),
    (12, "max_locks_per_transaction"),
];
const WAL_LEVELS: [&str; 3] = ["minimal", "replica", "logical"];
const WAL_LEVEL_BEFORE: usize = 36;

impl Control {
    /// `None` where it is no pg_control, or of a version that lays it out in another way.
    pub(super) fn of(bytes: &[u8]) -> Option<Control> {
        let float = (0..bytes.len().saturating_sub(8)).step_by(8);
        let float = float.into_iter().find(|at| bytes[*at..*at + 8] == FLOAT.to_le_bytes())?;
        let number =
            |at: usize| Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?));
        let before = |distance: usize| number(float.checked_sub(distance)?);
        let mut settings = BTreeMap::new();
        for (distance, name) in SETTINGS {
            settings.insert(name.to_owned(), before(distance)?.to_string());
        }
        let level = usize::try_from(before(WAL_LEVEL_BEFORE)?).ok().and_then(|level| WAL_LEVELS.get(level));
        settings.insert("wal_level".to_owned(), (*level?).to_owned());
        let control = Control {
            system_identifier: u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?),
            block_bytes: number(float + 8)?,
            wal_segment_bytes: number(float + 20)?,
            data_checksums: number(float + 44)? != 0,
            settings,
        };
        let is_size = |bytes: u32, sizes: std::ops::RangeInclusive<u32>| {
            bytes.is_power_of_two() && sizes.contains(&bytes)
        };
        let fits = is_size(control.block_bytes, 1024..=32_768)
            && is_size(control.wal_segment_bytes, 1 << 20..=1 << 30);
        fits.then_some(control)
    }
}
