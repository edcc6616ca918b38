//! Applies, undoes and redoes migrations, under the lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Connect, Endpoint, SqlState};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};

use crate::codes::Codes;
use crate::direct::{Second, backend};
use crate::error::MigrationError;
use crate::ledger::{Ledger, State, UnderWay};
use crate::location::{DEFAULT_SCHEMA, quoted};
use crate::lock;
use crate::plan::{Plan, Planned};
use crate::policy::{self, MigratorConfig};
use crate::progress::Progress;
use crate::repair::DROP_EVERYTHING;
use crate::run::{Direction, Runner, refuse};
use crate::session::{OWN, RESET, Session, roll_back, standard_strings};
use crate::source::{Migrations, Version};
use crate::status::Status;
use crate::waiting::{EVERY, OnProgress, QUIET, list, runners};

/// One migration that was applied or undone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Its version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// Whether it was undone, not applied.
    pub undone: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// How far [`Migrator::apply_until`] goes. Repeatable migrations wait for a run that applies everything.
///
/// ```
/// use db_migrations::{Until, Version};
/// let until = Until::Version(Version::of("2026-11-02-090000"));
/// assert_ne!(until, Until::All);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// Everything that is pending.
    All,
    /// Up to this version, which is the last to run.
    Version(Version),
    /// So many migrations.
    Steps(usize),
}

impl Until {
    fn reaches(&self, place: usize, version: &Version) -> bool {
        match self {
            Until::All => true,
            Until::Version(newest) => version <= newest,
            Until::Steps(count) => place < *count && !version.is_repeatable(),
        }
    }
}

/// Runs the migrations of one directory.
#[derive(Debug, Clone)]
pub struct Migrator {
    pub(crate) migrations: Migrations,
    pub(crate) config: MigratorConfig,
    second: Option<Second>,
    codes: Option<Codes>,
    progress: Option<OnProgress>,
}

impl Migrator {
    /// A runner of these migrations.
    pub fn new(migrations: Migrations, config: MigratorConfig) -> Self {
        Migrator { migrations, config, second: None, codes: None, progress: None }
    }

    /// With a way to open a second connection like the one that is migrated on: only so can a
    /// transaction-pooling proxy always be noticed and refused ([`MigrationError::Pooled`]).
    #[must_use]
    pub fn opened_by(self, connect: impl Connect + 'static, endpoint: Endpoint) -> Self {
        Migrator { second: Some(Second::new(connect, endpoint)), ..self }
    }

    /// With the SQLSTATE of the last failure on the connection, as an observer of the connection hears it
    /// ([`QueryEvent::sqlstate`](db_core::QueryEvent::sqlstate)); asked behind the end of that answer.
    /// Without it the runner knows only codes that diesel tells, and those of messages in English.
    ///
    /// ```
    /// use db_migrations::{Migrations, Migrator, MigratorConfig};
    /// # fn of(migrations: Migrations) -> Migrator {
    /// Migrator::new(migrations, MigratorConfig::default()).with_codes(|| None)
    /// # }
    /// ```
    #[must_use]
    pub fn with_codes(self, last: impl Fn() -> Option<SqlState> + Send + Sync + 'static) -> Self {
        Migrator { codes: Some(Codes::new(last)), ..self }
    }

    /// With somebody who hears how far a statement is that runs for more than five seconds, every ten
    /// seconds: what the server's `pg_stat_progress_…` views tell. Needs [`Migrator::opened_by`], since the
    /// session is busy.
    #[must_use]
    pub fn with_progress(self, hear: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        Migrator { progress: Some(OnProgress(Arc::new(hear))), ..self }
    }

    /// What [`Migrator::apply`] would run now. Reads only.
    ///
    /// # Errors
    /// [`MigrationError::Database`], and what the policies find: [`MigrationError::Edited`],
    /// [`MigrationError::OutOfOrder`] and [`MigrationError::Unknown`]. Where it is not clear where the ledger
    /// is or may be: [`MigrationError::SeveralLedgers`], [`MigrationError::NoLedgerSchema`],
    /// [`MigrationError::NoLedger`] and [`MigrationError::LedgerDenied`].
    pub async fn plan(&self, conn: &mut AsyncPgConnection) -> Result<Plan, MigrationError> {
        let (_, state) = self.ledger(conn).await?;
        policy::check(&self.migrations, &state, self.config.accept)?;
        let plan = Plan::of(&self.migrations, &state);
        self.refuse_any(&plan, &Until::All, standard_strings(conn).await?)?;
        Ok(plan)
    }

    /// Everything that is wrong with the files, or with what is applied of them; what is pending is not.
    /// Reads only.
    ///
    /// Where [`Migrator::plan`] stops at the first finding and looks at what is pending, this looks at every
    /// file, its down.sql too.
    ///
    /// ```no_run
    /// # async fn of(migrator: &db_migrations::Migrator, conn: &mut diesel_async::AsyncPgConnection)
    /// #     -> Result<(), db_migrations::MigrationError> {
    /// for finding in migrator.validate(conn).await? {
    ///     eprintln!("{finding}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`MigrationError::Database`], and where it is not clear where the ledger is, as [`Migrator::plan`].
    pub async fn validate(
        &self,
        conn: &mut AsyncPgConnection,
    ) -> Result<Vec<MigrationError>, MigrationError> {
        let (_, state) = self.ledger(conn).await?;
        let standard = standard_strings(conn).await?;
        let mut found = policy::findings(&self.migrations, &state, self.config.accept);
        for migration in self.migrations.iter().chain(self.migrations.repeatable()) {
            let down = migration.down.as_ref().map(|_| Direction::Down);
            let both = [Some(Direction::Up), down].into_iter().flatten();
            found.extend(both.filter_map(|direction| refuse(migration, direction, standard).err()));
        }
        Ok(found)
    }

    /// Which migrations are applied, and which are not as they should be. Reads only.
    ///
    /// # Errors
    /// [`MigrationError::Database`], and where it is not clear where the ledger is, as [`Migrator::plan`].
    pub async fn status(&self, conn: &mut AsyncPgConnection) -> Result<Status, MigrationError> {
        Ok(Status::of(&self.migrations, &self.ledger(conn).await?.1))
    }

    /// Applies what is pending, in order, and then the repeatable migrations that changed; calls `on_step`
    /// after each. What another runner left half-done is finished first. With nothing pending no lock is
    /// taken.
    ///
    /// `conn` must be a direct connection: behind a transaction pooler the lock would protect nothing. Its
    /// session is as after its start-up before the first migration and after each: settings, role, temporary
    /// tables, cursors, LISTEN and statements of PREPARE are gone. Advisory locks that it had before stay.
    ///
    /// # Errors
    /// As [`Migrator::plan`]; [`MigrationError::Locked`] where another runner does not finish in time;
    /// [`MigrationError::Sql`] where the server refuses a statement, and [`MigrationError::LockNotFree`]
    /// where its lock is never free: what committed before it stays, and the next run goes on from there.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the statement under way: cancel it through the connection's cancel
    /// token, or close the connection, and the server stops within a second. What was not committed is rolled
    /// back then. The connection holds the lock until it is closed: do not put it back into a pool.
    pub async fn apply(
        &self,
        conn: &mut AsyncPgConnection,
        on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        self.apply_until(conn, &Until::All, on_step).await
    }

    /// As [`Migrator::apply`], and no further than that.
    ///
    /// # Errors
    /// As [`Migrator::apply`], and [`MigrationError::NoSuchVersion`].
    ///
    /// # Cancel safety
    /// As [`Migrator::apply`].
    pub async fn apply_until(
        &self,
        conn: &mut AsyncPgConnection,
        until: &Until,
        on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        if let Until::Version(newest) = until {
            self.named(newest.as_str())?;
        }
        let Some((mut runner, state)) = self.lock(conn, Need::Pending).await? else { return Ok(Vec::new()) };
        let result = match policy::check(&self.migrations, &state, self.config.accept) {
            Ok(()) => self.apply_pending(&mut runner, &state, until, on_step).await,
            Err(error) => Err(error),
        };
        runner.unlock().await;
        result
    }

    /// Undoes the newest `count` applied migrations, and calls `on_step` after each. Repeatable ones stay.
    ///
    /// # Errors
    /// [`MigrationError::NothingApplied`], [`MigrationError::Unknown`], [`MigrationError::NoDown`],
    /// [`MigrationError::HalfWay`], and as [`Migrator::apply`].
    ///
    /// # Cancel safety
    /// As [`Migrator::apply`].
    pub async fn undo(
        &self,
        conn: &mut AsyncPgConnection,
        count: usize,
        on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        let Some((mut runner, state)) = self.lock(conn, Need::Always).await? else { return Ok(Vec::new()) };
        let result = self.undo_newest(&mut runner, &state, count, on_step).await;
        runner.unlock().await;
        result
    }

    /// Undoes the newest applied migration and applies it again, then the repeatable ones, of which it may
    /// have dropped something; calls `on_step` after each.
    ///
    /// # Errors
    /// As [`Migrator::undo`].
    ///
    /// # Cancel safety
    /// As [`Migrator::apply`].
    pub async fn redo(
        &self,
        conn: &mut AsyncPgConnection,
        mut on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        let Some((mut runner, state)) = self.lock(conn, Need::Always).await? else { return Ok(Vec::new()) };
        let result = self.redo_newest(&mut runner, &state, &mut on_step).await;
        runner.unlock().await;
        result
    }

    async fn redo_newest(
        &self,
        runner: &mut Runner<'_>,
        state: &State,
        mut on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        let mut steps = self.undo_newest(runner, state, 1, &mut on_step).await?;
        if let Some(migration) = steps.first().and_then(|step| self.migrations.get(&step.version)) {
            let step = runner.run(migration, Direction::Up, None).await?;
            on_step(&step);
            steps.push(step);
        }
        // What down.sql dropped may be theirs.
        for migration in self.migrations.repeatable() {
            let step = runner.run(migration, Direction::Up, None).await?;
            on_step(&step);
            steps.push(step);
        }
        Ok(steps)
    }

    pub(crate) async fn apply_pending(
        &self,
        runner: &mut Runner<'_>,
        state: &State,
        until: &Until,
        mut on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        let mut steps = Vec::new();
        let plan = Plan::of(&self.migrations, state);
        warn_of_order(&plan);
        self.refuse_any(&plan, until, runner.session.standard)?;
        let undos = plan.unfinished_undo.iter().map(|version| (version, Direction::Down));
        let pending = plan
            .pending
            .iter()
            .enumerate()
            .filter(|(place, planned)| until.reaches(*place, &planned.version));
        let todo = undos.chain(pending.map(|(_, planned)| (&planned.version, Direction::Up)));
        for (version, direction) in todo {
            let Some(migration) = self.migrations.get(version) else { continue };
            let cut_off = state.cut_off(version).filter(|cut_off| cut_off.direction == direction);
            let step = runner.run(migration, direction, cut_off).await?;
            on_step(&step);
            steps.push(step);
        }
        Ok(steps)
    }

    /// Finds what is refused before anything runs: else what comes before it would be applied alone.
    fn refuse_any(&self, plan: &Plan, until: &Until, standard: bool) -> Result<(), MigrationError> {
        let pending = plan.pending.iter().enumerate();
        for (_, planned) in pending.filter(|(place, planned)| until.reaches(*place, &planned.version)) {
            let Some(migration) = self.migrations.get(&planned.version) else { continue };
            refuse(migration, Direction::Up, standard)?;
        }
        Ok(())
    }

    async fn undo_newest(
        &self,
        runner: &mut Runner<'_>,
        state: &State,
        count: usize,
        mut on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        if let Some(half) = state.under_way.iter().find(|half| half.direction == Direction::Up) {
            let migration = self.migrations.get(&half.version);
            let migration = migration.map_or_else(|| half.version.to_string(), |migration| migration.label());
            return Err(MigrationError::HalfWay { migration });
        }
        if state.applied.is_empty() {
            return Err(MigrationError::NothingApplied);
        }
        let mut steps = Vec::new();
        for version in state.applied.iter().rev().take(count) {
            let migration = self.migrations.get(version);
            let migration = migration.ok_or_else(|| MigrationError::Unknown { version: version.clone() })?;
            let step = runner.run(migration, Direction::Down, state.cut_off(version)).await?;
            on_step(&step);
            steps.push(step);
        }
        Ok(steps)
    }

    /// Takes the lock and makes the ledger; the runner must be unlocked. None where nothing needs to be done,
    /// or not any more since another runner did it.
    pub(crate) async fn lock<'a>(
        &'a self,
        conn: &'a mut AsyncPgConnection,
        need: Need,
    ) -> Result<Option<(Runner<'a>, State)>, MigrationError> {
        refuse_a_transaction(conn)?;
        if !self.needed(conn, need).await? {
            return Ok(None);
        }
        if let Some(second) = &self.second {
            second.refuse_pooled(conn).await?;
        }
        let (started, mut told) = (Instant::now(), None::<Instant>);
        while !lock::try_lock(conn).await? {
            if started.elapsed() >= self.config.lock_patience {
                return Err(MigrationError::Locked { waited: self.config.lock_patience });
            }
            let is_due = told.map_or(started.elapsed() >= QUIET, |told| told.elapsed() >= EVERY);
            if is_due {
                let runners = runners(conn, lock::KEY).await?;
                let waited = started.elapsed().as_secs_f64();
                tracing::warn!(
                    "another runner is migrating this database; waited {waited:.1} s for {}",
                    list(&runners)
                );
                told = Some(Instant::now());
            }
            tokio::time::sleep(lock::POLL).await;
            if !self.needed(conn, need).await? {
                return Ok(None);
            }
        }
        match self.prepare(conn, need).await {
            Ok((session, ledger, state, pid)) => {
                let (config, second) = (&self.config, self.second.as_ref());
                let (codes, progress) = (self.codes.as_ref(), self.progress.as_ref());
                Ok(Some((Runner { conn, config, session, ledger, second, codes, progress, pid }, state)))
            }
            Err(error) => {
                leave(conn, None).await;
                Err(error)
            }
        }
    }

    async fn prepare(
        &self,
        conn: &mut AsyncPgConnection,
        need: Need,
    ) -> Result<(Session, Ledger, State, i32), MigrationError> {
        let session = Session::open(conn).await?;
        conn.batch_execute(OWN).await?;
        if need == Need::Empty {
            let schema = quoted(self.config.ledger_schema.as_deref().unwrap_or(DEFAULT_SCHEMA));
            // What goes with what need not be told.
            conn.batch_execute("SET client_min_messages = warning").await?;
            conn.batch_execute(DROP_EVERYTHING).await?;
            conn.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
        }
        let (ledger, _) = self.ledger(conn).await?;
        ledger.create(conn).await?;
        let (ledger, state) = self.ledger(conn).await?;
        let pid = backend(conn).await?;
        Ok((session, ledger, state, pid))
    }

    pub(crate) async fn ledger(
        &self,
        conn: &mut AsyncPgConnection,
    ) -> Result<(Ledger, State), MigrationError> {
        Ledger::read(conn, self.config.ledger_schema.as_deref()).await
    }

    async fn needed(&self, conn: &mut AsyncPgConnection, need: Need) -> Result<bool, MigrationError> {
        Ok(need != Need::Pending || !self.plan(conn).await?.is_empty())
    }
}

/// Whether there is work to do under the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// There is.
    Always,
    /// There is, on a database that is made empty first.
    Empty,
    /// Only if something is pending.
    Pending,
}

async fn leave(conn: &mut AsyncPgConnection, session: Option<&Session>) {
    // A statement that failed may have left a transaction open; a lost connection has already forgotten
    // everything.
    let _ = roll_back(conn).await;
    let _ = match session {
        Some(session) => session.clean(conn).await,
        None => conn.batch_execute(RESET).await,
    };
    lock::unlock(conn).await;
}

impl Runner<'_> {
    /// Leaves the session as it was at its start, and gives the lock back.
    pub(crate) async fn unlock(self) {
        leave(self.conn, Some(&self.session)).await;
    }
}

impl State {
    fn cut_off(&self, version: &Version) -> Option<&UnderWay> {
        self.under_way.iter().find(|under_way| under_way.version == *version)
    }
}

/// Diesel compares versions as text, so that 10 runs before 2.
fn warn_of_order(plan: &Plan) {
    let number = |planned: &Planned| planned.version.as_str().parse::<u128>().ok();
    for pair in plan.pending.windows(2) {
        if let [first, second] = pair
            && number(first).zip(number(second)).is_some_and(|(first, second)| first > second)
        {
            let (first, second) = (&first.version, &second.version);
            tracing::warn!(
                "{first} runs before {second}, as in diesel: versions are texts; give them one length"
            );
        }
    }
}

fn refuse_a_transaction(conn: &mut AsyncPgConnection) -> Result<(), MigrationError> {
    type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;
    match Manager::transaction_manager_status_mut(conn).transaction_depth()? {
        Some(_) => Err(MigrationError::InTransaction),
        None => Ok(()),
    }
}
