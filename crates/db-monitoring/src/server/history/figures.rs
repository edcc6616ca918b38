//! The figures of a point: gauges as averages of what was seen, counters as rates that know resets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::LookAtPools;
use crate::server::history::RelationPoint;
use crate::server::{Growth, Snapshot};

/// So many tables and indexes are kept.
const MOST_RELATIONS: usize = 200;

#[derive(Default)]
pub(crate) struct Figures {
    sums: BTreeMap<&'static str, (f64, u32)>,
    /// The snapshot whose counters the next rates start from.
    counted: Option<(SystemTime, Snapshot)>,
    rates: BTreeMap<&'static str, f64>,
    relations: Vec<RelationPoint>,
    relations_at: Option<SystemTime>,
}

impl Figures {
    pub(crate) fn look(&mut self, snapshot: &Snapshot, pools: Option<&LookAtPools>) {
        let mut seen = |name: &'static str, value: Option<f64>| {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                let (sum, count) = self.sums.entry(name).or_default();
                *sum += value;
                *count = count.saturating_add(1);
            }
        };
        sessions(snapshot, &mut seen);
        if let Ok(waits) = snapshot.lock_waits.get() {
            seen("lock_waits", Some(count(waits.len())));
        }
        seen("replication_lag_seconds", snapshot.lag.get().ok().and_then(|lag| lag.worst()));
        if let Ok(slots) = snapshot.slots.get() {
            let retained = slots.iter().filter_map(|slot| slot.retained).max();
            seen("slot_retained_bytes", retained.map(float));
        }
        if let Ok(sizes) = snapshot.database_sizes.get() {
            let all = sizes.iter().filter_map(|size| size.bytes).fold(0_i64, i64::saturating_add);
            seen("databases_bytes", Some(float(all)));
        }
        if let Ok(databases) = snapshot.databases.get() {
            let oldest = databases.iter().map(|database| database.frozen_xid_age).max();
            seen("frozen_xid_age", oldest.map(float));
        }
        seen("process_memory_bytes", process_memory());
        if let Some(look) = pools {
            let loads = look();
            let sum = |figure: fn(&crate::PoolLoad) -> usize| count(loads.iter().map(figure).sum());
            seen("pool_in_use", Some(sum(|load| load.in_use)));
            seen("pool_waiting", Some(sum(|load| load.waiting)));
            let pressed = loads.iter().filter(|load| load.is_under_pressure()).count();
            seen("pools_under_pressure", Some(count(pressed)));
        }
        self.count(snapshot);
        self.relate(snapshot);
    }

    /// Rates, whenever the counters were read again.
    fn count(&mut self, snapshot: &Snapshot) {
        let Some(at) = snapshot.databases.at() else { return };
        if self.counted.as_ref().is_some_and(|(before, _)| *before == at) {
            return;
        }
        if let Some((_, before)) = &self.counted {
            self.rates = rates(before, snapshot);
        }
        // Tables are not counted here, and would keep much alive.
        let counted =
            Snapshot { by_database: BTreeMap::new(), statement_texts: Arc::default(), ..snapshot.clone() };
        self.counted = Some((at, counted));
    }

    fn relate(&mut self, snapshot: &Snapshot) {
        let newest = snapshot.by_database.values().filter_map(|database| database.tables.at()).max();
        if newest.is_none() || newest == self.relations_at {
            return;
        }
        self.relations_at = newest;
        let page = snapshot.server.get().map_or(8_192, |server| server.block_size);
        let mut all = Vec::new();
        for (name, database) in &snapshot.by_database {
            for it in database.tables.get().into_iter().flatten() {
                all.push(RelationPoint {
                    database: name.clone(),
                    name: format!("{}.{}", it.schemaname, it.relname),
                    table: None,
                    bytes: it.bytes(page),
                    scans: it.seq_scan,
                });
            }
            for it in database.indexes.get().into_iter().flatten() {
                all.push(RelationPoint {
                    database: name.clone(),
                    name: format!("{}.{}", it.schemaname, it.indexrelname),
                    table: Some(format!("{}.{}", it.schemaname, it.relname)),
                    bytes: it.relpages.saturating_mul(page),
                    scans: it.idx_scan,
                });
            }
        }
        all.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.name.cmp(&other.name)));
        all.truncate(MOST_RELATIONS);
        self.relations = all;
    }

    /// The tables and indexes that were seen since they were last taken.
    pub(crate) fn relations(&mut self) -> Vec<RelationPoint> {
        std::mem::take(&mut self.relations)
    }

    /// The averages since the last time, and the rates as they are.
    pub(crate) fn take(&mut self) -> BTreeMap<String, f64> {
        let sums = std::mem::take(&mut self.sums);
        let averages =
            sums.into_iter().map(|(name, (sum, count))| (name.to_owned(), sum / f64::from(count.max(1))));
        averages.chain(self.rates.iter().map(|(name, rate)| ((*name).to_owned(), *rate))).collect()
    }
}

fn sessions(snapshot: &Snapshot, seen: &mut impl FnMut(&'static str, Option<f64>)) {
    let Ok(backends) = snapshot.activity.get() else { return };
    let clients: Vec<_> =
        backends.iter().filter(|backend| backend.backend_type.as_deref() == Some("client backend")).collect();
    let in_state =
        |state: &str| count(clients.iter().filter(|it| it.state.as_deref() == Some(state)).count());
    seen("connections", Some(count(clients.len())));
    seen("connections_active", Some(in_state("active")));
    seen("connections_idle_in_transaction", Some(in_state("idle in transaction")));
    seen("oldest_transaction_seconds", Some(clients.iter().filter_map(|it| it.xact_age).fold(0.0, f64::max)));
}

fn rates(before: &Snapshot, after: &Snapshot) -> BTreeMap<&'static str, f64> {
    let mut rates = BTreeMap::new();
    let Ok(growth) = Growth::between(before, after) else { return rates };
    if let Ok(grown) = growth.databases() {
        let sum = |figure: fn(&crate::server::DatabaseStats) -> i64| {
            float(grown.rows.iter().map(figure).fold(0, i64::saturating_add)) / grown.seconds
        };
        rates.insert("commits_per_second", sum(|it| it.xact_commit));
        rates.insert("rollbacks_per_second", sum(|it| it.xact_rollback));
        rates.insert("blocks_read_per_second", sum(|it| it.blks_read));
        rates.insert("blocks_hit_per_second", sum(|it| it.blks_hit));
        rates.insert("rows_read_per_second", sum(|it| it.tup_returned));
        rates.insert("rows_written_per_second", sum(|it| it.tup_inserted + it.tup_updated + it.tup_deleted));
        rates.insert("temp_bytes_per_second", sum(|it| it.temp_bytes.unwrap_or_default()));
        rates.insert("deadlocks_per_second", sum(|it| it.deadlocks.unwrap_or_default()));
    }
    if let Ok(grown) = growth.wal()
        && let Some(bytes) = grown.rows.first().and_then(|it| it.wal_bytes)
    {
        rates.insert("wal_bytes_per_second", float(bytes) / grown.seconds);
    }
    rates
}

/// How much memory this process takes, in bytes, where the system tells.
fn process_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024.0)
}

fn count(many: usize) -> f64 {
    f64::from(u32::try_from(many).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "a figure over time is no identity")]
fn float(figure: i64) -> f64 {
    figure as f64
}
