//! What is asked of a server, in rounds: each is one flush of statements, and one that fails leaves only its section open.

use std::time::SystemTime;

use crate::server::records::progress_sql;
use crate::server::{
    Access, Backend, DatabaseSnapshot, IndexStats, Record, Section, Sequence, ServerRole, ServerSession,
    ServerStatement, SkipReason, Skipped, Snapshot, TableStats,
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
    /// Statements, sequences and the true size of databases: every 5 minutes.
    Statements,
    /// Extensions: hourly.
    Hourly,
}

impl Round {
    /// All of them, the most frequent first.
    pub const ALL: [Round; 5] =
        [Round::Activity, Round::Counters, Round::Sizes, Round::Statements, Round::Hourly];
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
                self.access = Section::of(SystemTime::now(), access);
            }
            Round::Statements => {
                let (sizes, info, statements) = tokio::join!(
                    all(session, "ORDER BY s.datname"),
                    one(session),
                    session.read::<ServerStatement>("")
                );
                (self.database_sizes, self.statements_info) = (sizes, info);
                self.statements = Section::of(SystemTime::now(), statements);
            }
            Round::Hourly => {}
        }
    }

    async fn collect_activity(&mut self, session: &ServerSession) {
        const OTHERS: &str = "WHERE s.application_name IS DISTINCT FROM 'db-platform monitoring'";
        let (server, activity, locks, waits, prepared) = tokio::join!(
            session.identity(),
            session.read::<Backend>(OTHERS),
            all(session, ""),
            all(session, "WHERE NOT s.granted"),
            all(session, "")
        );
        let now = SystemTime::now();
        let is_blind = self.access.get().is_ok_and(|access| !access.reads_all_stats && !access.is_superuser);
        let activity = activity.and_then(|mut backends| {
            if is_blind {
                return Err(no_pg_monitor("pg_stat_activity of other roles"));
            }
            for backend in &mut backends {
                backend.query = backend.query.take().map(|text| db_statement::normalize(&text));
            }
            Ok(backends)
        });
        self.server = Section::of(now, server);
        self.activity = Section::of(now, activity);
        (self.locks, self.lock_waits, self.prepared) = (locks, waits, prepared);
    }

    async fn collect_counters(&mut self, session: &ServerSession) {
        let is_standby = self.server.get().is_ok_and(|server| server.role == ServerRole::Standby);
        let progress = async {
            match progress_sql(session.catalog()) {
                Some(text) => session.rows(&text).await,
                None => Err(Skipped::new(SkipReason::Missing, "no pg_stat_progress_… view may be read")),
            }
        };
        let receiver = async {
            match is_standby {
                true => session.read_one("").await,
                false => Err(Skipped::new(SkipReason::NotApplicable, "a primary receives no log")),
            }
        };
        let (
            databases,
            bgwriter,
            io,
            wal,
            archiver,
            lock_stats,
            position,
            senders,
            receiver,
            slots,
            progress,
        ) = tokio::join!(
            all(session, ""),
            one(session),
            all(session, ""),
            one(session),
            one(session),
            all(session, ""),
            one(session),
            all(session, ""),
            receiver,
            all(session, ""),
            progress
        );
        let checkpointer = match session.catalog().has_relation("pg_stat_checkpointer") {
            true => session.read_one("").await,
            // Until 16 the background writer's view has these columns.
            false => session.read_one::<crate::server::records::OldCheckpointer>("").await.map(Into::into),
        };
        let now = SystemTime::now();
        (self.databases, self.bgwriter, self.io, self.wal) = (databases, bgwriter, io, wal);
        (self.archiver, self.lock_stats, self.position) = (archiver, lock_stats, position);
        (self.senders, self.slots) = (senders, slots);
        self.receiver = Section::of(now, receiver);
        self.progress = Section::of(now, progress);
        self.checkpointer = Section::of(now, checkpointer);
        self.hide_what_is_hidden(now);
    }

    /// Without `pg_read_all_stats` these views answer with rows that tell nothing: that is not the same as nothing.
    fn hide_what_is_hidden(&mut self, now: SystemTime) {
        let Ok(Access { reads_all_stats: false, is_superuser: false, .. }) = self.access.get() else {
            return;
        };
        self.senders = Section::skipped(now, no_pg_monitor("pg_stat_replication"));
        if self.receiver.get().is_ok() {
            self.receiver = Section::skipped(now, no_pg_monitor("pg_stat_wal_receiver"));
        }
        self.progress = Section::skipped(now, no_pg_monitor("progress of other roles"));
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
                (self.tables, self.indexes) =
                    tokio::join!(all(session, TableStats::REST), all(session, IndexStats::REST));
            }
            Round::Statements => self.sequences = all(session, Sequence::REST).await,
            Round::Hourly => self.extensions = all(session, "").await,
            Round::Activity | Round::Counters => {}
        }
    }
}
