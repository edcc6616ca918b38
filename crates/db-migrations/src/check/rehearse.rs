//! Plays one migration up, down and up again, and compares the schemas.
//!
//! Where both files are one transaction, all of it happens in one, and a savepoint takes the schema back to
//! where the up left it: that is ten times faster than copying databases. What cannot be in one transaction
//! (CONCURRENTLY, a new enum value and its use, waiting trigger events) is played on a copy, and each step
//! commits.

use std::time::Instant;

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

use super::base::Base;
use super::error::CheckError;
use super::files::Files;
use super::fingerprint::plainly;
use super::gates::Gates;
use super::known_schema::KnownSchema;
use super::play::{self, Failure};
use super::prepared::{self, EVADES_COUNTS, REMOVES_PREPARED, says_one_of};
use super::report::{MigrationCheck, Outcome};
use super::server::{Databases, Scratch};
use super::snapshot::Snapshot;
use super::undone::{Undone, failed, refused};
use crate::ledger::Ledger;
use crate::source::{Migration, REPEATABLE};
use crate::split::Statement;

/// A database to which migrations are applied one after the other, each after a rehearsal.
pub(crate) struct Stage<'s, S> {
    pub(crate) scratch: Scratch<'s, S>,
    database: String,
    /// None while the database is being copied, which nobody may be connected to then.
    conn: Option<AsyncPgConnection>,
    /// The schema as it is now.
    schema: KnownSchema,
    /// What the last migration left, where it is known.
    origin: Option<Snapshot>,
    /// How many migrations were played since the catalogs were vacuumed.
    played: usize,
    /// Whether the migration that is played may write catalogs without this session's counting it.
    counts_may_lie: bool,
    /// Whether what is prepared is kept: the migration that is played may remove it.
    keeps: bool,
    /// Where the migrations make what they make, if not where the server has it.
    pub(crate) search_path: Option<String>,
}

/// What came of playing a migration in one transaction.
enum Went {
    /// It was played, and is applied if it can be.
    Done,
    /// Only a copy can tell.
    NeedsCopy,
}

/// What is rolled back stays in the catalogs as dead rows, which the next fingerprint reads. Tests look more
/// often whether what was read by differences is right.
const VACUUM_EVERY: usize = if cfg!(debug_assertions) { 60 } else { 100 };
const VACUUM: &str = "VACUUM (ANALYZE) pg_class, pg_attribute, pg_attrdef, pg_constraint, pg_depend, pg_index, pg_type, \
    pg_proc, pg_trigger, pg_description, pg_rewrite, pg_shdepend, pg_namespace, pg_enum, pg_sequence, pg_policy";

/// What the server says where a statement only fails because it is in the transaction of the statement before
/// it.
const NEEDS_COMMIT: [&str; 5] = [
    "unsafe use of new value",
    "cannot run inside a transaction block",
    "cannot be executed from a function",
    "pending trigger events",
    "being used by active queries in this session",
];

impl<'s, S: Databases> Stage<'s, S> {
    pub(crate) async fn open(mut scratch: Scratch<'s, S>) -> Result<Self, CheckError> {
        let opened = async {
            let database = scratch.create(None).await?;
            let mut conn = scratch.connect(&database).await?;
            // The runner makes its ledger before the first migration, which may look at it.
            let (ledger, _) = Ledger::read(&mut conn, None).await?;
            ledger.create(&mut conn).await?;
            scratch.reset(&mut conn).await?;
            let schema = KnownSchema::read(&mut conn).await?;
            Ok((database, conn, schema))
        }
        .await;
        match opened {
            Ok((database, conn, schema)) => {
                let (conn, origin, search_path) = (Some(conn), None, None);
                let (counts_may_lie, keeps) = (false, true);
                Ok(Stage {
                    scratch,
                    database,
                    conn,
                    schema,
                    origin,
                    played: 0,
                    counts_may_lie,
                    keeps,
                    search_path,
                })
            }
            Err(error) => {
                scratch.finish().await?;
                Err(error)
            }
        }
    }

    /// Begins with a copy of a base, if there is one.
    pub(super) async fn begin_at(&mut self, base: &Base) -> Result<bool, CheckError> {
        if !self.scratch.has_base(base).await? {
            return Ok(false);
        }
        let database = self.scratch.create(Some(&base.name())).await?;
        self.conn = None;
        let empty = std::mem::replace(&mut self.database, database);
        self.scratch.drop(&empty).await?;
        self.look().await?;
        Ok(true)
    }

    /// Keeps what there is now as a base.
    pub(super) async fn keep(&mut self, base: &Base) -> Result<(), CheckError> {
        self.conn = None;
        self.scratch.keep_base(base, &self.database).await
    }

    /// Drops everything that the check has made.
    pub(crate) async fn close(self) -> Result<(), CheckError> {
        drop(self.conn);
        self.scratch.finish().await
    }

    /// The connection to the database, opened again where it was closed.
    pub(crate) async fn conn(&mut self) -> Result<&mut AsyncPgConnection, CheckError> {
        if self.conn.is_none() {
            self.conn = Some(self.connect(&self.database).await?);
        }
        self.conn.as_mut().ok_or_else(|| CheckError::Answer("no connection".to_owned()))
    }

    async fn connect(&self, database: &str) -> Result<AsyncPgConnection, CheckError> {
        let mut conn = self.scratch.connect(database).await?;
        conn.set_prepared_statement_cache_size(prepared::cache(self.keeps));
        Ok(conn)
    }

    /// Whether what is prepared is kept from now on; what was prepared is forgotten where this changes.
    fn keep_prepared(&mut self, keeps: bool) {
        self.keeps = keeps;
        if let Some(conn) = &mut self.conn {
            conn.set_prepared_statement_cache_size(prepared::cache(keeps));
        }
    }

    /// Forgets what is prepared, where a text that was run may have removed it.
    pub(super) fn forget_behind(&mut self, sql: &str) {
        if says_one_of(sql, &REMOVES_PREPARED) {
            self.keep_prepared(false);
            self.keep_prepared(true);
        }
    }

    /// The schema as it is now, and the connection.
    async fn known_and_conn(&mut self) -> Result<(&KnownSchema, &mut AsyncPgConnection), CheckError> {
        self.conn().await?;
        let conn = self.conn.as_mut().ok_or_else(|| CheckError::Answer("no connection".to_owned()))?;
        Ok((&self.schema, conn))
    }

    /// Applies a migration without looking at it, because later ones need it.
    pub(crate) async fn apply(&mut self, migration: &Migration) -> Result<Option<Failure>, CheckError> {
        let segments = match play::cut(&migration.up, migration.run_in_transaction) {
            Ok(segments) => segments,
            Err(failure) => return Ok(Some(failure)),
        };
        let conn = self.conn().await?;
        let played = play::committed(conn, &segments, None).await?;
        self.forget_behind(&migration.up);
        self.reset().await?;
        Ok(played.failure)
    }

    /// Makes what the migrations expect to be there.
    pub(crate) async fn before(&mut self, sql: &str) -> Result<(), CheckError> {
        let made = self.conn().await?.batch_execute(sql).await;
        made.map_err(|error| CheckError::Before { source: Box::new(error.into()) })?;
        self.forget_behind(sql);
        self.reset().await?;
        self.look().await
    }

    /// Reads the schema anew, after [`Stage::apply`].
    pub(crate) async fn look(&mut self) -> Result<(), CheckError> {
        self.origin = None;
        self.schema = KnownSchema::read(self.conn().await?).await?;
        Ok(())
    }

    /// Forgets how large the tables were, after rows came in.
    pub(crate) fn forget_sizes(&mut self) {
        self.origin = None;
    }

    /// Plays a migration up, down and up; it is applied afterwards, if it can be.
    pub(crate) async fn rehearse(&mut self, migration: &Migration) -> Result<MigrationCheck, CheckError> {
        let started = Instant::now();
        let mut check = MigrationCheck::new(migration);
        match Files::of(migration) {
            Err(failure) => failed(&mut check, "up.sql", &failure),
            Ok(files) => {
                check = self.play_and_keep(migration, &files).await?;
                if let Err(failure) = &files.down {
                    failed(&mut check, "down.sql", failure);
                }
            }
        }
        self.played += 1;
        if self.played.is_multiple_of(VACUUM_EVERY) {
            self.tidy_up().await?;
        }
        check.ms = started.elapsed().as_secs_f64() * 1_000.0;
        Ok(check)
    }

    /// Cleans the catalogs, and reads all of the schema once: what was read by differences must be the same.
    async fn tidy_up(&mut self) -> Result<(), CheckError> {
        self.conn().await?.batch_execute(VACUUM).await?;
        let known = self.schema.clone();
        let origin = self.origin.take();
        self.look().await?;
        if known.is_same(&self.schema) {
            self.origin = origin;
        } else {
            let differs = known.diff(&self.schema);
            let said = "the schema was not read rightly by its differences, which is an error of the check";
            if cfg!(debug_assertions) {
                return Err(CheckError::Answer(format!("{said}: {differs:?}")));
            }
            tracing::warn!(?differs, "{said}");
        }
        Ok(())
    }

    /// Plays it, and prepares nothing where it may remove what is prepared.
    async fn play_and_keep(
        &mut self,
        migration: &Migration,
        files: &Files<'_>,
    ) -> Result<MigrationCheck, CheckError> {
        let says = |words: &[&str]| {
            says_one_of(&migration.up, words)
                || migration.down.as_ref().is_some_and(|down| says_one_of(down, words))
        };
        self.counts_may_lie = says(&EVADES_COUNTS);
        self.keep_prepared(!says(&REMOVES_PREPARED));
        let mut played = self.play(migration, files).await;
        // A function that an earlier one made may do so, too.
        if self.keeps && played.as_ref().is_err_and(prepared::may_be_missing) {
            self.keep_prepared(false);
            self.roll_back().await?;
            self.look().await?;
            played = self.play(migration, files).await;
        }
        self.keep_prepared(true);
        played
    }

    async fn play(&mut self, migration: &Migration, files: &Files<'_>) -> Result<MigrationCheck, CheckError> {
        if let Some((up, down)) = files.in_one_transaction() {
            let mut check = MigrationCheck::new(migration);
            if let Went::Done = self.in_one_transaction(&mut check, &up, down.as_deref()).await? {
                return Ok(check);
            }
        }
        let mut check = MigrationCheck::new(migration);
        self.on_a_copy(&mut check, files).await?;
        Ok(check)
    }

    /// Leaves nothing behind where it is not done this way.
    async fn in_one_transaction(
        &mut self,
        check: &mut MigrationCheck,
        up: &[Statement<'_>],
        down: Option<&[Statement<'_>]>,
    ) -> Result<Went, CheckError> {
        let origin = self.origin.take();
        let (known, conn) = self.known_and_conn().await?;
        let asked = &*conn;
        let origin = async {
            match origin {
                Some(origin) => origin.later(asked).await,
                None => Snapshot::take(asked).await,
            }
        };
        let (begun, before, origin) = tokio::join!(play::sent(asked, "BEGIN"), known.counted(asked), origin);
        begun?;
        let (before, origin) = (before?, origin?);
        let mut played = play::traced(conn, up, origin.clone(), &origin).await?;
        let mut applied = None;
        if played.failure.is_none() {
            // What a COMMIT would check is checked now.
            let kept = if up.is_empty() { "" } else { "; SET CONSTRAINTS ALL IMMEDIATE" };
            match self.read_behind(&format!("SAVEPOINT up{kept}"), &[], &before, &before).await? {
                Ok(schema) => applied = Some(schema),
                Err(error) => {
                    let last = up.last().ok_or_else(|| CheckError::Answer("no savepoint".to_owned()))?;
                    played.failure = Some(play::failure(last, error)?);
                }
            }
        }
        if let Some(failure) = &played.failure {
            self.roll_back().await?;
            if needs_commit(failure) {
                return Ok(Went::NeedsCopy);
            }
            failed(check, "up.sql", failure);
            return Ok(Went::Done);
        }
        check.up = Outcome::Ok;
        check.statements = played.traces;
        let Some(applied) = applied else { return Ok(Went::NeedsCopy) };
        let again = is_repeatable(check);
        if down.is_some() || again {
            let Some(undone) = self.undo_and_redo(down, up, &before, &applied).await? else {
                // It may have failed only because it is in the up's transaction: a copy will tell.
                self.roll_back().await?;
                return Ok(Went::NeedsCopy);
            };
            undone.note(check, &before, &applied);
        } else {
            check.down = Outcome::Missing;
        }
        let ends = format!("ROLLBACK TO SAVEPOINT up; COMMIT; {}", self.beginning());
        if self.conn().await?.batch_execute(&ends).await.is_err() {
            self.roll_back().await?;
            return Ok(Went::NeedsCopy);
        }
        self.origin = played.end.filter(|_| applied.has_old_names);
        self.schema = applied;
        Ok(Went::Done)
    }

    /// Plays the migration on a copy of the database, then applies it to the database itself.
    async fn on_a_copy(&mut self, check: &mut MigrationCheck, files: &Files<'_>) -> Result<(), CheckError> {
        self.conn = None;
        let copy = self.scratch.create(Some(&self.database)).await?;
        let rehearsed = self.rehearse_on(&copy, check, files).await;
        self.scratch.drop(&copy).await?;
        rehearsed?;
        if check.up == Outcome::Ok {
            let conn = self.conn().await?;
            let played = play::committed(conn, &files.up, None).await?;
            if let Some(failure) = &played.failure {
                failed(check, "up.sql", failure);
            }
            self.reset().await?;
        }
        self.look().await
    }

    async fn rehearse_on(
        &self,
        copy: &str,
        check: &mut MigrationCheck,
        files: &Files<'_>,
    ) -> Result<(), CheckError> {
        let mut conn = self.connect(copy).await?;
        let mut gates =
            Gates { first: self.scratch.connect(copy).await?, second: self.scratch.connect(copy).await? };
        // A copy lacks the settings of the database itself, so it is compared with itself.
        let before = KnownSchema::read(&mut conn).await?;
        let origin = Snapshot::take(&conn).await?;
        let up = play::committed(&mut conn, &files.up, Some((&origin, &mut gates))).await?;
        if let Some(failure) = &up.failure {
            failed(check, "up.sql", failure);
            return Ok(());
        }
        check.up = Outcome::Ok;
        check.statements = up.traces;
        if is_repeatable(check) {
            self.scratch.reset(&mut conn).await?;
            let applied = KnownSchema::read(&mut conn).await?;
            let again = play::committed(&mut conn, &files.up, None).await?;
            self.scratch.reset(&mut conn).await?;
            let redone = match again.failure {
                Some(failure) => Err(failure),
                None => Ok(KnownSchema::read(&mut conn).await?),
            };
            Undone { undone: None, redone }.note(check, &before, &applied);
            return Ok(());
        }
        let Ok(Some(down_segments)) = &files.down else {
            check.down = Outcome::Missing;
            return Ok(());
        };
        self.scratch.reset(&mut conn).await?;
        let applied = KnownSchema::read(&mut conn).await?;
        let down = play::committed(&mut conn, down_segments, None).await?;
        if let Some(failure) = &down.failure {
            failed(check, "down.sql", failure);
            return Ok(());
        }
        check.down = Outcome::Ok;
        self.scratch.reset(&mut conn).await?;
        let undone = KnownSchema::read(&mut conn).await?;
        let again = play::committed(&mut conn, &files.up, None).await?;
        self.scratch.reset(&mut conn).await?;
        let redone = match again.failure {
            Some(failure) => Err(failure),
            None => Ok(KnownSchema::read(&mut conn).await?),
        };
        let worked = redone.is_ok();
        Undone { undone: Some(undone), redone }.note(check, &before, &applied);
        if worked {
            // What belongs to the whole server, such as a role, must be gone before the database itself gets
            // the up.
            play::committed(&mut conn, down_segments, None).await?;
        }
        Ok(())
    }

    /// Plays down, where there is one, and up in the open transaction; none where one of them fails.
    async fn undo_and_redo(
        &mut self,
        down: Option<&[Statement<'_>]>,
        up: &[Statement<'_>],
        before: &KnownSchema,
        applied: &KnownSchema,
    ) -> Result<Option<Undone>, CheckError> {
        let beginning = self.beginning();
        let mut undone = None;
        if let Some(down) = down {
            match self.read_behind(&beginning, down, before, applied).await? {
                Ok(schema) => undone = Some(schema),
                Err(error) => return refused(error),
            }
        }
        let last = undone.as_ref().unwrap_or(applied);
        match self.read_behind(&beginning, up, before, last).await? {
            Ok(redone) => Ok(Some(Undone { undone, redone: Ok(redone) })),
            Err(error) => refused(error),
        }
    }

    /// Runs a text and plays statements in the open transaction, and reads what differs from a schema then,
    /// by what was known `last`; the inner error is what the server said of one of them.
    async fn read_behind(
        &mut self,
        first: &str,
        statements: &[Statement<'_>],
        before: &KnownSchema,
        last: &KnownSchema,
    ) -> Result<diesel::QueryResult<KnownSchema>, CheckError> {
        // What they have set is undone, and the session prints plainly.
        let resetting = format!("{}; {}", self.scratch.resetting(), plainly());
        let mut texts = vec![first];
        texts.extend(statements.iter().map(|statement| statement.text));
        texts.push(&resetting);
        let counts_may_lie = self.counts_may_lie;
        let conn = self.conn().await?;
        match play::then(conn, &texts, last.marks_now(before, conn, counts_may_lie)).await? {
            Ok(marks) => Ok(Ok(before.next(marks, conn).await?)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// What puts a session into the state in which a file of a migration begins.
    fn beginning(&self) -> String {
        let mut text = self.scratch.resetting();
        if let Some(path) = &self.search_path {
            let path = path.replace('\\', "\\\\").replace('\'', "''");
            text.push_str(&format!("; SELECT pg_catalog.set_config('search_path', E'{path}', false)"));
        }
        text
    }

    pub(crate) async fn reset(&mut self) -> Result<(), CheckError> {
        let beginning = self.beginning();
        if let Some(conn) = self.conn.as_mut() {
            conn.batch_execute(&beginning).await?;
        }
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), CheckError> {
        self.conn().await?.batch_execute("ROLLBACK").await?;
        self.reset().await
    }
}

/// Whether it has no down and runs again whenever it changes.
fn is_repeatable(check: &MigrationCheck) -> bool {
    check.version.starts_with(REPEATABLE)
}

fn needs_commit(failure: &Failure) -> bool {
    NEEDS_COMMIT.iter().any(|said| failure.message.contains(said))
}
