//! What is asked of a server, in rounds: each is one flush of statements, and one that fails leaves only
//! its section open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use db_core::TraceLink;

use crate::SchemaLook;
use crate::server::records::OldCheckpointer;
use crate::server::records::progress_sql;
use crate::server::{
    Archiver, Backend, Catalog, DatabaseSnapshot, DatabaseStats, IndexStats, LockWait, Positions,
    PreparedTransaction, Record, ReplicationLag, Section, Sender, Sequence, ServerRole, ServerSession,
    ServerStatement, SkipReason, Skipped, Slot, Snapshot, TableStats, WalReceiver, record,
};

/// How often a kind of figure is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Round {
    /// Activity and locks: each second.
    Activity,
    /// Counters: every 15 seconds.
    Counters,
    /// Tables, sizes as of the last VACUUM, settings: every minute.
    Sizes,
    /// Statements, sequences and the size on disk of databases that were written to: every 5 minutes.
    Statements,
    /// Extensions, keys, definitions of indexes, bloat: hourly.
    Hourly,
}

impl Round {
    /// All of them, the most frequent first.
    pub const ALL: [Round; 5] =
        [Round::Activity, Round::Counters, Round::Sizes, Round::Statements, Round::Hourly];
}

/// What this server has no column for, of what checks conclude from.
fn missing_columns(catalog: &Catalog) -> BTreeSet<String> {
    let mut missing: BTreeSet<String> = record::missing::<Backend>(catalog).collect();
    missing.extend(record::missing::<LockWait>(catalog));
    missing.extend(record::missing::<PreparedTransaction>(catalog));
    missing.extend(record::missing::<DatabaseStats>(catalog));
    missing.extend(record::missing::<Archiver>(catalog));
    missing.extend(record::missing::<Sender>(catalog));
    missing.extend(record::missing::<Slot>(catalog));
    missing.extend(record::missing::<WalReceiver>(catalog));
    missing
}

async fn all<R: Record>(session: &ServerSession, rest: &str) -> Section<Vec<R>> {
    let read = session.read(rest).await;
    Section::of(SystemTime::now(), read)
}

async fn one<R: Record>(session: &ServerSession) -> Section<R> {
    let read = session.read_one("").await;
    Section::of(SystemTime::now(), read)
}

impl Snapshot {
    /// Asks for what a round has of the whole server.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the sections as they are; the session stays usable.
    pub async fn collect(&mut self, session: &ServerSession, round: Round) {
        match round {
            Round::Activity => self.collect_activity(session).await,
            Round::Counters => self.collect_counters(session).await,
            Round::Sizes => {
                let (settings, access) = tokio::join!(all(session, ""), session.access());
                self.settings = settings;
                self.missing_columns = Arc::new(missing_columns(session.catalog()));
                self.access = Section::of(SystemTime::now(), access);
            }
            Round::Statements => {
                let (sizes, info, statements) = tokio::join!(
                    self.known_sizes.read(session),
                    one(session),
                    session.read::<ServerStatement>("")
                );
                self.database_sizes = Section::of(SystemTime::now(), sizes);
                self.statements_info = info;
                self.statements = Section::of(SystemTime::now(), statements);
            }
            Round::Hourly => {}
        }
    }

    async fn collect_activity(&mut self, session: &ServerSession) {
        const OTHERS: &str = "WHERE s.application_name IS DISTINCT FROM 'db-platform monitoring'";
        if self.server.get().is_err() {
            self.server = Section::of(SystemTime::now(), session.identity().await);
        }
        let is_standby = self.server.get().is_ok_and(|server| server.role == ServerRole::Standby);
        let receiver = async {
            match is_standby {
                true => session.read_one("").await,
                false => Err(Skipped::new(SkipReason::NotApplicable, "a primary receives no log")),
            }
        };
        let (server, activity, locks, waits, prepared, position, senders, receiver) = tokio::join!(
            session.identity(),
            session.read::<Backend>(OTHERS),
            all(session, ""),
            all(session, "WHERE NOT s.granted"),
            all(session, ""),
            one(session),
            all(session, ""),
            receiver
        );
        let now = SystemTime::now();
        let is_blind = self.is_blind();
        let activity = activity.and_then(|mut backends| {
            if is_blind {
                return Err(no_pg_monitor("pg_stat_activity of other roles"));
            }
            for backend in &mut backends {
                if let Some(name) = &mut backend.application_name {
                    // A label is one transaction's, and figures by name would grow without end.
                    name.truncate(TraceLink::unlabelled(name).len());
                }
                backend.query = backend.query.take().map(|text| db_statement::normalize(&text));
            }
            Ok(backends)
        });
        self.server = Section::of(now, server);
        self.activity = Section::of(now, activity);
        (self.locks, self.lock_waits, self.prepared) = (locks, waits, prepared);
        (self.position, self.senders) = (position, senders);
        self.receiver = Section::of(now, receiver);
        if is_blind {
            self.senders = Section::skipped(now, no_pg_monitor("pg_stat_replication"));
            if self.receiver.get().is_ok() {
                self.receiver = Section::skipped(now, no_pg_monitor("pg_stat_wal_receiver"));
            }
        }
    }

    /// How far behind standbys are, by what `positions` remembers.
    pub(crate) fn measure_lag(&mut self, positions: &mut Positions, now: f64) {
        let measured = self.position.get().map_err(Clone::clone).and_then(|at| {
            let own = match at.in_recovery {
                true => {
                    let receiver = match self.receiver.get() {
                        Ok(receiver) => Some(receiver),
                        Err(skipped) if skipped.reason == SkipReason::NotApplicable => None,
                        Err(skipped) => return Err(skipped.clone()),
                    };
                    Some(positions.of_standby(now, at, receiver))
                }
                false => None,
            };
            if let Some(end) = at.current {
                positions.note(now, end);
            }
            let senders = self.senders.get().map_err(Clone::clone)?;
            let standbys = senders.iter().map(|sender| positions.of_sender(now, sender)).collect();
            Ok(ReplicationLag { own, standbys })
        });
        self.lag = Section::of(SystemTime::now(), measured);
    }

    async fn collect_counters(&mut self, session: &ServerSession) {
        let progress = async {
            match progress_sql(session.catalog()) {
                Some(text) => session.rows(&text).await,
                None => Err(Skipped::new(SkipReason::Missing, "no pg_stat_progress_… view may be read")),
            }
        };
        let (databases, bgwriter, io, wal, archiver, lock_stats, slots, progress) = tokio::join!(
            all(session, ""),
            one(session),
            all(session, ""),
            one(session),
            one(session),
            all(session, ""),
            all(session, ""),
            progress
        );
        let checkpointer = match session.catalog().has_relation("pg_stat_checkpointer") {
            true => session.read_one("").await,
            // Until 16 the background writer's view has these columns.
            false => session.read_one::<OldCheckpointer>("").await.map(Into::into),
        };
        let now = SystemTime::now();
        (self.databases, self.bgwriter, self.io, self.wal) = (databases, bgwriter, io, wal);
        (self.archiver, self.lock_stats, self.slots) = (archiver, lock_stats, slots);
        self.progress = Section::of(now, progress);
        self.checkpointer = Section::of(now, checkpointer);
        // Without `pg_read_all_stats` this view's rows tell nothing, which is not the same as no rows.
        if self.is_blind() {
            self.progress = Section::skipped(now, no_pg_monitor("progress of other roles"));
        }
    }

    /// Whether the role sees only its own sessions.
    fn is_blind(&self) -> bool {
        self.access.get().is_ok_and(|access| !access.reads_all_stats && !access.is_superuser)
    }
}

fn no_pg_monitor(what: &str) -> Skipped {
    Skipped::new(SkipReason::NoPermission, format!("the role does not see {what}; grant it pg_monitor"))
}

impl DatabaseSnapshot {
    /// Asks for what a round has of the database that the session is in.
    ///
    /// # Cancel safety
    /// As [`Snapshot::collect`].
    pub async fn collect(&mut self, session: &ServerSession, round: Round) {
        match round {
            Round::Sizes => {
                let (tables, indexes) = tokio::join!(
                    session.read::<TableStats>(TableStats::REST),
                    session.read(IndexStats::REST)
                );
                let indexes = tables
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|tables| indexes.map(|indexes| IndexStats::of_tables(indexes, tables)));
                let now = SystemTime::now();
                (self.tables, self.indexes) = (Section::of(now, tables), Section::of(now, indexes));
            }
            Round::Statements => self.sequences = all(session, Sequence::REST).await,
            Round::Hourly => {
                self.extensions = all(session, "").await;
                let schema = SchemaLook::read(session).await;
                self.schema = Section::read(SystemTime::now(), schema);
            }
            Round::Activity | Round::Counters => {}
        }
    }
}
