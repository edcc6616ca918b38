//! Runs one migration, segment by segment, and records each within its own transaction.
//!
//! A lock that is not free within `lock_timeout` rolls the whole transaction back before the next attempt: to
//! wait inside it would keep the locks it already has, with everyone queued behind them.

use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use db_core::{Error, SqlState};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::codes::{self, Codes};
use crate::direct::Second;
use crate::error::MigrationError;
use crate::ledger::{Ledger, UnderWay};
use crate::leftovers::{self, Next};
use crate::lock;
use crate::migrator::Step;
use crate::policy::MigratorConfig;
use crate::row_locks::{LockTimeouts, rows_only};
use crate::segments::{How, Segment, hash_of, segments};
use crate::session::{OWN, Session, roll_back};
use crate::session_bound::{self, Gone};
use crate::source::Migration;
use crate::split::Statement;
use crate::statement::{Alone, What};
use crate::waiting::{OnProgress, Waits};

/// Which way a migration runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// A connection that holds the lock, and what is known of its database.
pub(crate) struct Runner<'a> {
    pub(crate) conn: &'a mut AsyncPgConnection,
    pub(crate) config: &'a MigratorConfig,
    pub(crate) session: Session,
    pub(crate) ledger: Ledger,
    /// Who can be asked for whom it waits.
    pub(crate) second: Option<&'a Second>,
    /// Who knows the codes of failures.
    pub(crate) codes: Option<&'a Codes>,
    /// Who is told how far a long statement is.
    pub(crate) progress: Option<&'a OnProgress>,
    /// The backend of its connection.
    pub(crate) pid: i32,
}

/// One way of one migration, cut into segments.
struct Job<'a> {
    migration: &'a Migration,
    direction: Direction,
    file: PathBuf,
    segments: Vec<Segment<'a>>,
    started: Instant,
}

/// What went wrong, and at which statement.
struct Failure {
    place: Option<(usize, String)>,
    error: Error,
}

type Attempt<T = ()> = Result<T, Failure>;

impl Runner<'_> {
    /// Runs a migration, from where it was cut off if it was.
    pub(crate) async fn run(
        &mut self,
        migration: &Migration,
        direction: Direction,
        cut_off: Option<&UnderWay>,
    ) -> Result<Step, MigrationError> {
        let job = Job::new(migration, direction, self.session.standard)?;
        for line in session_bound::without_effect(&job.segments) {
            let file = job.file.display();
            tracing::warn!("{file}:{line}: SET LOCAL has no effect, since its part ends here: write SET");
        }
        let done = cut_off.map_or(0, |cut_off| cut_off.done);
        if let Some(cut_off) = cut_off {
            if cut_off.hash != hash_of(&job.segments, done) {
                let (version, migration) = (migration.version.clone(), migration.label());
                return Err(MigrationError::EditedUnderWay { version, migration, done });
            }
            if let Some(Gone { name: table, line }) = session_bound::gone(&job.segments, done) {
                return Err(MigrationError::TemporaryGone { file: job.file, line, table });
            }
            tracing::info!(migration = %migration.label(), done, "going on where the last runner was cut off");
        }
        if done >= job.segments.len() {
            self.conn.batch_execute(OWN).await?;
            self.conn.batch_execute("BEGIN").await?;
            self.record(&job, job.segments.len()).await?;
            self.conn.batch_execute("COMMIT").await?;
        }
        let mut begun = cut_off.and_then(|cut_off| cut_off.begun.clone());
        for (index, segment) in job.segments.iter().enumerate().skip(done) {
            self.segment(&job, index, segment, begun.take()).await?;
        }
        self.session.clean(self.conn).await?;
        let step = job.step();
        tracing::info!(migration = %migration.label(), undone = step.undone, elapsed = ?step.elapsed, "migration ran");
        Ok(step)
    }

    /// Runs a segment until it commits, or until its locks were not to be had often enough.
    async fn segment(
        &mut self,
        job: &Job<'_>,
        index: usize,
        segment: &Segment<'_>,
        mut begun: Option<Vec<i64>>,
    ) -> Result<(), MigrationError> {
        let most = match &segment.how {
            How::Alone(alone) if alone.patient => PATIENT_ATTEMPTS,
            How::Together(_) if rows_only(segment) => PATIENT_ATTEMPTS,
            _ => self.config.lock_attempts.max(1),
        };
        let (started, mut attempts, mut pause) = (Instant::now(), 0, FIRST_PAUSE);
        let (what, progress) = (job.where_begins(segment), self.progress);
        let waits = Waits { second: self.second, pid: self.pid, what, progress };
        let mut telling = pin!(waits.tell());
        loop {
            let run = async {
                match &segment.how {
                    How::Together(begin) => self.together(job, index, segment, begin).await,
                    How::Alone(alone) => self.alone(job, index, segment, alone, &mut begun).await,
                }
            };
            let attempt = tokio::select! {
                biased;
                attempt = run => attempt,
                never = &mut telling => match never {},
            };
            let Err(failure) = attempt else { return Ok(()) };
            attempts += 1;
            if matches!(failure.error, Error::ConnectionLost { .. }) {
                return Err(job.error(segment, failure, None));
            }
            let code = codes::of(self.codes, self.conn, &failure.error).await;
            roll_back(self.conn).await?;
            if !matches!(code, Some(SqlState::LOCK_NOT_AVAILABLE | SqlState::DEADLOCK_DETECTED)) {
                return Err(job.error(segment, failure, code));
            }
            if attempts >= most {
                return Err(job.lock_not_free(segment, failure, attempts, started.elapsed()));
            }
            tracing::debug!(attempts, error = %failure.error, "a lock is not free: everything back, and once more");
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause.min(self.config.lock_pause)) => {}
                never = &mut telling => match never {},
            }
            pause = pause.saturating_mul(2);
        }
    }

    async fn together(&mut self, job: &Job<'_>, index: usize, segment: &Segment<'_>, begin: &str) -> Attempt {
        self.open(segment, self.config.lock_timeout).await?;
        self.conn.batch_execute(begin).await.map_err(before(segment))?;
        let rows = self.config.concurrently_lock_timeout;
        let mut timeouts = LockTimeouts::of(segment, self.config.lock_timeout, rows);
        for statement in &segment.statements {
            if let Some(set) = timeouts.before(statement.text) {
                self.conn.batch_execute(&set).await.map_err(at(statement))?;
            }
            self.conn.batch_execute(statement.text).await.map_err(at(statement))?;
        }
        self.back_to_ours().await?;
        self.record(job, index + 1).await.map_err(at_the_end)?;
        // What is deferred until now fails here.
        self.conn.batch_execute("COMMIT").await.map_err(at_the_end)
    }

    async fn alone(
        &mut self,
        job: &Job<'_>,
        index: usize,
        segment: &Segment<'_>,
        alone: &Alone,
        begun: &mut Option<Vec<i64>>,
    ) -> Attempt {
        let Some((statement, settings)) = segment.statements.split_last() else { return Ok(()) };
        let timeout =
            if alone.patient { self.config.concurrently_lock_timeout } else { self.config.lock_timeout };
        self.open_with(segment, settings, timeout).await?;
        let next = leftovers::next(self.conn, &alone.what, begun.as_deref()).await.map_err(at(statement))?;
        if begun.is_none() {
            let indexes = leftovers::indexes_of(self.conn, &alone.what).await.map_err(at(statement))?;
            *begun = Some(indexes);
            self.back_to_ours().await?;
            let to = UnderWay { begun: begun.clone(), ..job.under_way(index) };
            self.ledger.came(self.conn, &to).await.map_err(at_the_end)?;
            self.open_with(segment, settings, timeout).await?;
        }
        let ran = match &next {
            Next::Run if alone.what == What::DiscardAll => {
                self.conn.batch_execute(&self.session.clean_sql()).await
            }
            Next::Run => self.conn.batch_execute(statement.text).await,
            Next::RunInstead(sql) => self.conn.batch_execute(sql).await,
            Next::Done => Ok(()),
        };
        if let Err(error) = ran {
            let failure = at(statement)(error);
            if !matches!(failure.error, Error::ConnectionLost { .. }) {
                // An INVALID index costs every write, so it does not wait for the next attempt.
                leftovers::clear(self.conn, &alone.what, begun.as_deref()).await.map_err(at(statement))?;
            }
            return Err(failure);
        }
        self.back_to_ours().await?;
        self.conn.batch_execute("BEGIN").await.map_err(at_the_end)?;
        self.record(job, index + 1).await.map_err(at_the_end)?;
        self.conn.batch_execute("COMMIT").await.map_err(at_the_end)
    }

    /// Makes the session ours again behind what a file has done with it, and sure that there is still a
    /// ledger to write to and a lock to write it under.
    async fn back_to_ours(&mut self) -> Attempt {
        let guards = format!("{OWN}; {}; {}", self.ledger.guard(), lock::guard());
        self.conn.batch_execute(&guards).await.map_err(at_the_end)?;
        self.ledger.follow(self.conn).await.map_err(at_the_end)
    }

    /// Makes the session as the segment's first statement must find it.
    async fn open(&mut self, segment: &Segment<'_>, lock_timeout: Duration) -> Attempt {
        self.open_with(segment, &[], lock_timeout).await
    }

    async fn open_with(
        &mut self,
        segment: &Segment<'_>,
        further: &[Statement<'_>],
        lock_timeout: Duration,
    ) -> Attempt {
        self.session.begin(self.conn, lock_timeout).await.map_err(before(segment))?;
        for setting in segment.settings.iter().chain(further) {
            self.conn.batch_execute(setting.text).await.map_err(at(setting))?;
        }
        Ok(())
    }

    /// Records that `done` segments have run: within their transaction, or it would not be true.
    async fn record(&mut self, job: &Job<'_>, done: usize) -> Result<(), diesel::result::Error> {
        if done < job.segments.len() {
            return self.ledger.came(self.conn, &job.under_way(done)).await;
        }
        match job.direction {
            Direction::Down => self.ledger.forget(self.conn, &job.migration.version).await,
            Direction::Up => {
                let statements = job.segments.iter().map(|segment| segment.statements.len()).sum();
                let cost = (statements, job.started.elapsed());
                self.ledger.applied(self.conn, job.migration, "ran", cost).await
            }
        }
    }
}

/// The first pause; each is twice as long as the one before, up to `lock_pause`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A statement that may wait long for its locks is not worth many attempts.
const PATIENT_ATTEMPTS: u32 = 3;

/// Fails where a migration has a statement that no migration can have.
pub(crate) fn refuse(
    migration: &Migration,
    direction: Direction,
    standard: bool,
) -> Result<(), MigrationError> {
    Job::new(migration, direction, standard).map(|_| ())
}

impl<'a> Job<'a> {
    fn new(migration: &'a Migration, direction: Direction, standard: bool) -> Result<Self, MigrationError> {
        let (sql, file) = match direction {
            Direction::Up => (&migration.up, migration.up_file()),
            Direction::Down => match &migration.down {
                Some(down) => (down, migration.down_file()),
                None => {
                    let (version, name) = (migration.version.clone(), migration.name.clone());
                    return Err(MigrationError::NoDown { version, name });
                }
            },
        };
        match segments(sql, migration.run_in_transaction, standard) {
            Ok(segments) => Ok(Job { migration, direction, file, segments, started: Instant::now() }),
            Err(refusal) => Err(MigrationError::Refused {
                file,
                line: refusal.statement.line,
                head: refusal.statement.head(),
                why: refusal.why,
            }),
        }
    }

    /// Where a segment stands, as people know it.
    fn where_begins(&self, segment: &Segment<'_>) -> String {
        let line = segment.statements.first().map_or(1, |statement| statement.line);
        format!("{}:{line}", self.file.display())
    }

    fn under_way(&self, done: usize) -> UnderWay {
        UnderWay {
            version: self.migration.version.clone(),
            direction: self.direction,
            done,
            hash: hash_of(&self.segments, done),
            begun: None,
        }
    }

    fn step(&self) -> Step {
        Step {
            version: self.migration.version.clone(),
            name: self.migration.name.clone(),
            undone: self.direction == Direction::Down,
            elapsed: self.started.elapsed(),
        }
    }

    /// Where a failure is: at its statement, else at the end of its segment.
    fn place(&self, segment: &Segment<'_>, failure: &Failure) -> (usize, String) {
        failure.place.clone().unwrap_or_else(|| {
            let last = segment.statements.last();
            (last.map_or(1, |last| last.line), "COMMIT".to_owned())
        })
    }

    fn error(&self, segment: &Segment<'_>, mut failure: Failure, code: Option<SqlState>) -> MigrationError {
        let (line, head) = self.place(segment, &failure);
        let hint = held_already(self, code.as_ref()).or_else(|| hint(&failure.error, code));
        // Whoever reads the error goes by its code; diesel does not tell it.
        if let (Error::Server(report), Some(code)) = (&mut failure.error, code) {
            report.code = Some(code);
        }
        MigrationError::Sql { file: self.file.clone(), line, head, source: Box::new(failure.error), hint }
    }

    fn lock_not_free(
        &self,
        segment: &Segment<'_>,
        failure: Failure,
        attempts: u32,
        waited: Duration,
    ) -> MigrationError {
        let (line, head) = self.place(segment, &failure);
        let source = Box::new(failure.error);
        MigrationError::LockNotFree { file: self.file.clone(), line, head, attempts, waited, source }
    }
}

/// What it makes is there: most likely somebody else made it, and the ledger does not know.
fn held_already(job: &Job<'_>, code: Option<&SqlState>) -> Option<String> {
    // A schema, a table, a column, a function, and whatever else has a name.
    const IS_THERE: [&str; 5] = ["42P06", "42P07", "42701", "42723", "42710"];
    let is_there = code.is_some_and(|code| IS_THERE.contains(&code.as_str()));
    let is_once = job.direction == Direction::Up && !job.migration.version.is_repeatable();
    (is_there && is_once).then(|| {
        format!(
            "where the database was made by hand or by another tool and holds what the migrations up to this one make, \
             record that once: `dbctl migrate baseline {}`",
            job.migration.version
        )
    })
}

/// The way out, by the server's code: its messages are in any language.
fn hint(error: &Error, code: Option<SqlState>) -> Option<String> {
    const OUTSIDE: &str = "give the migration a metadata.toml with run_in_transaction = false";
    let report = error.report()?;
    // A connection that nobody listens on tells no code: there the words must do.
    let by_words = report.message.starts_with("unsafe use of new value").then_some("55P04");
    let known = match code.as_ref().map(SqlState::as_str).or(by_words).unwrap_or_default() {
        // A new value of an enum that is used before COMMIT; a statement that runs outside a transaction
        // only.
        "55P04" | "25001" => Some(OUTSIDE.to_owned()),
        "2D000" => Some(format!("a block or a procedure that commits by itself runs outside a transaction: {OUTSIDE}")),
        "55006" => Some(
            "where the table has deferred checks to make, write SET CONSTRAINTS ALL IMMEDIATE before the statement, or \
             COMMIT and BEGIN between the two"
                .to_owned(),
        ),
        "42501" => Some(
            "GRANT the role what it lacks; since PostgreSQL 15 only the owner of the database makes tables in public \
             until GRANT CREATE ON SCHEMA public"
                .to_owned(),
        ),
        _ => None,
    };
    let said = || report.hint.as_deref().map(|hint| hint.trim_end_matches('.').to_owned());
    known.or_else(said)
}

/// What fails before the first statement is shown there: the statement did not run.
fn before<'a>(segment: &'a Segment<'a>) -> impl FnOnce(diesel::result::Error) -> Failure + 'a {
    let first = segment.statements.first();
    move |error| Failure { place: first.map(|first| (first.line, first.head())), error: error.into() }
}

/// What fails behind the last statement is shown at its COMMIT.
fn at_the_end(error: diesel::result::Error) -> Failure {
    Failure { place: None, error: error.into() }
}

fn at<'a>(statement: &'a Statement<'a>) -> impl FnOnce(diesel::result::Error) -> Failure + 'a {
    |error| {
        let error = Error::from(error);
        let position = error.report().and_then(|report| report.position);
        Failure { place: Some((statement.line_of(position), statement.head())), error }
    }
}
