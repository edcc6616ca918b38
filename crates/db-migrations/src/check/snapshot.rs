//! What the server knows about every relation at one moment: its file, what this transaction read of it, its
//! locks.
//!
//! Two of these around a statement say what the statement did. All of it can be read before COMMIT.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::alteration::Column;
use super::alterations;
use super::error::CheckError;
use super::question::Question;
use super::trace::{Lock, Mode, Scan, StatementTrace, Written};

/// The relations of the database, by their object ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) relations: BTreeMap<i64, Arc<Relation>>,
    /// The indexes of each table.
    indexes: BTreeMap<i64, Vec<i64>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Relation {
    /// Without the schema where that is `public`.
    pub(crate) name: String,
    pub(crate) full_name: String,
    pub(crate) kind: Kind,
    /// The table of an index, else itself.
    pub(crate) table: i64,
    file: i64,
    tablespace: i64,
    scans: i64,
    read: i64,
    estimated_rows: i64,
    /// Rows that this transaction changed or deleted.
    written: i64,
    pub(crate) row_security: bool,
    pub(crate) partition: bool,
    /// Of tables only.
    pub(crate) columns: Arc<[Column]>,
    pub(crate) modes: BTreeSet<Mode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    MaterializedView,
    Partitioned,
    /// A view or a foreign table.
    Other,
    Index,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    oid: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    full_name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    of_table: i64,
    #[diesel(sql_type = BigInt)]
    file: i64,
    #[diesel(sql_type = BigInt)]
    tablespace: i64,
    #[diesel(sql_type = BigInt)]
    scans: i64,
    #[diesel(sql_type = BigInt)]
    read: i64,
    #[diesel(sql_type = BigInt)]
    estimated_rows: i64,
    #[diesel(sql_type = BigInt)]
    written: i64,
    #[diesel(sql_type = Bool)]
    row_security: bool,
    #[diesel(sql_type = Bool)]
    partition: bool,
    #[diesel(sql_type = Array<Text>)]
    columns: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    modes: Vec<String>,
}

/// What a session has locked.
pub(crate) struct Touches(Vec<Row>);

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = BigInt)]
    oid: i64,
    #[diesel(sql_type = BigInt)]
    scans: i64,
    #[diesel(sql_type = BigInt)]
    read: i64,
    #[diesel(sql_type = BigInt)]
    written: i64,
}

const JOINED: &str = "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid";

/// The locks of this session by relation, and a relation's row with them.
const HELD: &str = "SELECT relation AS oid, pg_catalog.array_agg(mode) AS modes FROM pg_catalog.pg_locks \
    WHERE locktype = 'relation' AND pid = pg_catalog.pg_backend_pid() AND granted GROUP BY relation";
const COLUMNS: &str = "CASE n.nspname WHEN 'public' THEN '' ELSE pg_catalog.quote_ident(n.nspname) || '.' END \
    || pg_catalog.quote_ident(c.relname) AS name, pg_catalog.format('%I.%I', n.nspname, c.relname) AS full_name, \
    c.relkind::text AS kind, coalesce(i.indrelid, c.oid)::int8 AS of_table, c.relfilenode::int8 AS file, \
    c.reltablespace::int8 AS tablespace, pg_catalog.pg_stat_get_xact_numscans(c.oid) AS scans, \
    pg_catalog.pg_stat_get_xact_tuples_returned(c.oid) AS read, c.reltuples::int8 AS estimated_rows, \
    pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) AS written, \
    c.relrowsecurity AS row_security, c.relispartition AS partition, CASE WHEN c.relkind IN ('r', 'p') THEN ARRAY(\
    SELECT pg_catalog.concat_ws(' ', a.attnum, concat(CASE WHEN a.attnotnull THEN 'n' END, \
    CASE WHEN a.atthasdef OR a.attidentity <> '' THEN 'd' END, CASE WHEN a.atttypid = 114 THEN 'j' END, '-'), a.attname) \
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) \
    ELSE '{}' END AS columns";
const LOCKABLE: &str = "c.relkind IN ('r', 'p', 'm', 'v', 'f', 'i', 'I') \
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(toast_)?temp_' \
    AND c.relname !~ '^__(diesel_schema|db)_migrations'";

/// All relations.
struct All;

impl Question for All {
    fn sql() -> &'static str {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "WITH held AS MATERIALIZED ({HELD}) SELECT c.oid::int8, {COLUMNS}, coalesce(held.modes, '{{}}') AS modes \
                    FROM pg_catalog.pg_class c {JOINED} LEFT JOIN held ON held.oid = c.oid WHERE {LOCKABLE}"
            )
        });
        &SQL
    }
}

/// Those that this session has locked, with their indexes. A statement does nothing to the others.
struct Touched;

impl Question for Touched {
    fn sql() -> &'static str {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "WITH held AS MATERIALIZED ({HELD}), touched AS MATERIALIZED (SELECT oid FROM held \
                    UNION SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid = ANY (ARRAY(SELECT oid FROM held))) \
                SELECT c.oid::int8, {COLUMNS}, coalesce(held.modes, '{{}}') AS modes \
                FROM touched JOIN pg_catalog.pg_class c ON c.oid = touched.oid {JOINED} \
                LEFT JOIN held ON held.oid = c.oid WHERE {LOCKABLE} \
                UNION ALL SELECT touched.oid::int8, '', '', '', 0, 0, 0, 0, 0, 0, 0, false, false, \
                    '{{}}', '{{}}' FROM touched \
                WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = touched.oid)"
            )
        });
        &SQL
    }
}

/// What this session read and wrote.
struct Counted;

impl Question for Counted {
    fn sql() -> &'static str {
        "SELECT oid, scans, read, written FROM (SELECT c.oid::int8, \
            pg_catalog.pg_stat_get_xact_numscans(c.oid) AS scans, pg_catalog.pg_stat_get_xact_tuples_returned(c.oid) AS read, \
            pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) AS written \
        FROM pg_catalog.pg_class c WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'm', 'i', 'I')) counted \
        WHERE (scans, read, written) <> (0, 0, 0)"
    }
}

/// The kind of a relation that is locked and gone.
const GONE: &str = "";

impl Snapshot {
    /// What this session sees now, in its transaction.
    pub(crate) async fn take(mut conn: &AsyncPgConnection) -> Result<Snapshot, CheckError> {
        let rows: Vec<Row> = All::about(&[]).get_results(&mut conn).await?;
        Ok(Snapshot::default().with(rows))
    }

    /// The same relations in the next transaction of this session, which has no locks yet. What the session
    /// read is told from a moment on that the server chooses, so it is asked again.
    pub(crate) async fn later(mut self, mut conn: &AsyncPgConnection) -> Result<Snapshot, CheckError> {
        for relation in self.relations.values_mut() {
            if relation.modes.is_empty() && (relation.scans, relation.read, relation.written) == (0, 0, 0) {
                continue;
            }
            let relation = Arc::make_mut(relation);
            relation.modes.clear();
            (relation.scans, relation.read, relation.written) = (0, 0, 0);
        }
        let rows: Vec<CountRow> = Counted::about(&[]).get_results(&mut conn).await?;
        for row in rows {
            if let Some(relation) = self.relations.get_mut(&row.oid) {
                let relation = Arc::make_mut(relation);
                (relation.scans, relation.read, relation.written) = (row.scans, row.read, row.written);
            }
        }
        Ok(self)
    }

    /// What this session sees after one more statement of the same transaction, as
    /// [`touched`](Self::touched) told.
    pub(crate) fn next(&self, touched: Touches) -> Snapshot {
        self.clone().with(touched.0)
    }

    /// What this session has locked by now.
    pub(crate) async fn touched(mut conn: &AsyncPgConnection) -> Result<Touches, CheckError> {
        Ok(Touches(Touched::about(&[]).get_results(&mut conn).await?))
    }

    fn with(mut self, rows: Vec<Row>) -> Self {
        for row in rows {
            if row.kind == GONE {
                self.relations.remove(&row.oid);
            } else {
                self.relations.insert(row.oid, Arc::new(Relation::from(row)));
            }
        }
        self.indexes = BTreeMap::new();
        for (oid, index) in self.relations.iter().filter(|(_, relation)| relation.kind == Kind::Index) {
            self.indexes.entry(index.table).or_default().push(*oid);
        }
        self
    }

    /// What a statement between these two moments did to the relations that were there at `origin`.
    ///
    /// `outside` says that it ran outside a transaction: the counters of what it read are gone then, and that
    /// it read a table shows in the index that it built from it.
    pub(crate) fn effects(&self, after: &Snapshot, origin: &Snapshot, outside: bool) -> StatementTrace {
        let mut trace = StatementTrace::default();
        for (oid, was) in self.tables().filter(|(oid, _)| origin.relations.contains_key(oid)) {
            let Some(is) = after.relations.get(&oid) else { continue };
            if is.written > was.written {
                trace.written.push(Written { relation: was.name.clone(), rows: is.written - was.written });
            }
            let read = self.read_between(after, oid);
            let new_file = was.file != is.file;
            // TRUNCATE gives a new file too, and reads nothing.
            let refilled = outside || read.is_some() || was.kind == Kind::MaterializedView;
            let rewritten = new_file && (refilled || was.tablespace != is.tablespace);
            let built = !new_file && self.built(after, oid);
            if rewritten {
                trace.rewrites.push(was.name.clone());
            } else if new_file && was.kind == Kind::Table {
                trace.alterations.push(alterations::truncated(oid, &was.name));
            }
            if built && is.modes.iter().chain(&was.modes).any(|mode| mode.stops_writers()) {
                trace.blocking_index_build.push(was.name.clone());
            }
            let rows = if outside { (built || rewritten).then(|| is.estimated_rows.max(0)) } else { read };
            if let Some(rows) = rows {
                trace.scans.push(Scan { relation: was.name.clone(), rows });
            }
        }
        let locks = after.relations.values().filter(|relation| relation.kind != Kind::Index);
        let modes = |relation: &Relation, oid: i64| -> Option<Mode> {
            let held = self.relations.get(&oid).map(|before| &before.modes);
            relation.modes.iter().filter(|mode| held.is_none_or(|held| !held.contains(mode))).max().copied()
        };
        trace.locks = locks
            .filter_map(|relation| {
                let mode = modes(relation, relation.table)?;
                // A table that the statement renamed is called what it was called before.
                let name = &self.relations.get(&relation.table).unwrap_or(relation).name;
                let existed_before = origin.relations.contains_key(&relation.table);
                Some(Lock { relation: name.clone(), mode, existed_before, partition: relation.partition })
            })
            .collect();
        trace.locks.extend(self.dropped_under_lock(after, origin));
        trace.locks.extend(self.locked_indexes(after, origin));
        trace.alterations.extend(alterations::between(self, after, origin));
        for list in [&mut trace.rewrites, &mut trace.blocking_index_build] {
            list.sort();
        }
        trace.locks.sort();
        trace.scans.sort();
        trace
    }

    /// Adds locks that another session saw; what is gone by now is added as it was before.
    pub(crate) fn add_locks(&mut self, before: &Snapshot, seen: &BTreeMap<i64, Mode>) {
        for (oid, mode) in seen {
            if let Some(was) = before.relations.get(oid) {
                let is = self.relations.entry(*oid).or_insert_with(|| Arc::clone(was));
                Arc::make_mut(is).modes.insert(*mode);
            }
        }
    }

    /// The locks that stop writers or readers on what was there at `origin`.
    pub(crate) fn strong_locks(&self, origin: &Snapshot) -> Vec<Lock> {
        let held = self
            .relations
            .iter()
            .filter(|(oid, relation)| relation.kind != Kind::Index && origin.relations.contains_key(oid));
        let strongest = held.filter_map(|(_, relation)| {
            let mode = relation.modes.iter().max().copied().filter(|mode| mode.stops_writers())?;
            let (relation, partition) = (relation.name.clone(), relation.partition);
            Some(Lock { relation, mode, existed_before: true, partition })
        });
        let mut locks: Vec<_> = strongest.collect();
        locks.sort();
        locks
    }

    fn tables(&self) -> impl Iterator<Item = (i64, &Relation)> {
        let has_file = |relation: &Relation| matches!(relation.kind, Kind::Table | Kind::MaterializedView);
        self.relations
            .iter()
            .filter(move |(_, relation)| has_file(relation))
            .map(|(oid, relation)| (*oid, &**relation))
    }

    fn indexes_of(&self, table: i64) -> impl Iterator<Item = (i64, &Relation)> {
        let indexes = self.indexes.get(&table).into_iter().flatten();
        indexes.filter_map(|oid| Some((*oid, &**self.relations.get(oid)?)))
    }

    /// How many rows of a table were read since, if it was read from end to end: in its own order, or along
    /// an index.
    fn read_between(&self, after: &Snapshot, table: i64) -> Option<i64> {
        let (was, is) = (self.relations.get(&table)?, after.relations.get(&table)?);
        let along_an_index = |(oid, now): (i64, &Relation)| {
            let read = now.read - self.relations.get(&oid).map_or(0, |before| before.read);
            (read > 0 && was.estimated_rows > 0 && read >= was.estimated_rows).then_some(read)
        };
        if is.scans > was.scans {
            return Some(is.read - was.read);
        }
        after.indexes_of(table).filter_map(along_an_index).max()
    }

    /// Whether an index of a table is new, or has a new file.
    fn built(&self, after: &Snapshot, table: i64) -> bool {
        after.indexes_of(table).any(|(oid, index)| {
            // A column that only becomes wider gets a new index with the old one's file.
            let kept = || self.indexes_of(table).any(|(_, before)| before.file == index.file);
            index.file != 0
                && self.relations.get(&oid).is_none_or(|before| before.file != index.file)
                && !kept()
        })
    }

    /// What was dropped is not in the catalog any more, and its lock cannot be looked up there: a drop needs
    /// the strongest one.
    fn dropped_under_lock(&self, after: &Snapshot, origin: &Snapshot) -> Vec<Lock> {
        let gone = self.relations.iter().filter(|(oid, relation)| {
            relation.kind != Kind::Index
                && !after.relations.contains_key(oid)
                && !relation.modes.contains(&Mode::AccessExclusive)
        });
        gone.map(|(oid, relation)| Lock {
            relation: relation.name.clone(),
            mode: Mode::AccessExclusive,
            existed_before: origin.relations.contains_key(oid),
            partition: relation.partition,
        })
        .collect()
    }

    /// A lock on an index whose table was not locked, as ALTER INDEX takes it.
    fn locked_indexes(&self, after: &Snapshot, origin: &Snapshot) -> Vec<Lock> {
        let indexes = after.relations.iter().filter(|(_, relation)| relation.kind == Kind::Index);
        indexes
            .filter_map(|(oid, index)| {
                let before = self.relations.get(oid)?;
                let mode = *index.modes.difference(&before.modes).max()?;
                let table_is_locked =
                    after.relations.get(&index.table).is_some_and(|table| !table.modes.is_empty());
                (mode >= Mode::ShareUpdateExclusive && !table_is_locked && origin.relations.contains_key(oid))
                    .then(|| Lock {
                        relation: before.name.clone(),
                        mode,
                        existed_before: true,
                        partition: before.partition,
                    })
            })
            .collect()
    }
}

impl From<Row> for Relation {
    fn from(row: Row) -> Self {
        Relation {
            name: row.name,
            full_name: row.full_name,
            kind: match row.kind.as_str() {
                "r" => Kind::Table,
                "m" => Kind::MaterializedView,
                "p" => Kind::Partitioned,
                "i" | "I" => Kind::Index,
                _ => Kind::Other,
            },
            table: row.of_table,
            file: row.file,
            tablespace: row.tablespace,
            scans: row.scans,
            read: row.read,
            estimated_rows: row.estimated_rows,
            written: row.written,
            row_security: row.row_security,
            partition: row.partition,
            columns: row.columns.iter().filter_map(|one| Column::parse(one)).collect(),
            modes: row.modes.iter().filter_map(|name| Mode::from_pg_locks(name)).collect(),
        }
    }
}
