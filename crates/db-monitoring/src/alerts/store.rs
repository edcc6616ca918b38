//! Where incidents outlive a process: a session of our own, whose advisory lock says which replica leads.
//!
//! What the leader writes goes over the session that holds the lock. One that has lost the lock without
//! knowing has lost the session, too, and its writes fail: no two replicas keep incidents at once.

use std::time::Duration;

use db_core::{Error, Result};
use diesel::sql_types::{BigInt, Bool, Double, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::alerts::store_sql as sql;
use crate::alerts::{Incidents, Open, OpenIncident, Reading, Told};

/// One question to the server takes at most this long; then the session is given up.
const ANSWER: Duration = Duration::from_secs(3);

/// What is kept of one condition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) key: String,
    pub(crate) number: u64,
    pub(crate) open: Option<Open>,
}

/// One message that one channel is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owed {
    pub(crate) id: String,
    pub(crate) channel: String,
    pub(crate) told: Told,
}

/// What became of one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Done {
    pub(crate) id: String,
    pub(crate) channel: String,
    pub(crate) outcome: String,
}

/// What one replica sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Whether it looks at the server itself, and not only at its own side of it.
    pub(crate) sees_server: bool,
    /// How everything on its side is.
    pub(crate) readings: Vec<Reading>,
}

/// What one look at the store answers.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) leads: bool,
    pub(crate) others: Vec<Seen>,
    pub(crate) kept: Vec<Kept>,
}

/// A session on the primary.
pub(crate) struct Store {
    conn: AsyncPgConnection,
    /// Why there are no tables: then nothing outlives this process, and only the lock counts.
    pub(crate) without_tables: Option<Error>,
    /// Until when what others have kept is known, by the server's clock.
    known_until: f64,
}

#[derive(QueryableByName)]
struct Flag {
    #[diesel(sql_type = Bool)]
    it: bool,
}

#[derive(QueryableByName)]
struct Json {
    #[diesel(sql_type = Text)]
    it: String,
}

#[derive(QueryableByName)]
struct Looked {
    #[diesel(sql_type = Bool)]
    leads: bool,
    #[diesel(sql_type = Text)]
    others: String,
    #[diesel(sql_type = Text)]
    kept: String,
    #[diesel(sql_type = Double)]
    now: f64,
}

impl Store {
    /// Makes a session ours, and the tables where they are missing.
    ///
    /// # Errors
    /// What the server says, or that it is a standby: what is told while there is no primary is kept
    /// afterwards.
    pub(crate) async fn open(mut conn: AsyncPgConnection) -> Result<Self> {
        within(async { Ok(conn.batch_execute(&sql::session()).await?) }).await?;
        let mut store = Store { conn, without_tables: None, known_until: 0.0 };
        if store.flag(sql::IN_RECOVERY).await? {
            return Err(Error::Client("only a standby answers: alerts are kept on the primary".into()));
        }
        if !store.flag(sql::ARE_THERE).await? {
            store.without_tables = store.make_tables().await.err();
        }
        Ok(store)
    }

    async fn make_tables(&mut self) -> Result<()> {
        let mut attempts = 0_u32;
        loop {
            attempts = attempts.saturating_add(1);
            let made = within(async {
                for table in sql::TABLES {
                    self.conn.batch_execute(table).await?;
                }
                Ok(())
            });
            // Two replicas that begin at once make them at once: IF NOT EXISTS does not keep one from failing
            // then.
            let Err(error) = made.await else { return Ok(()) };
            if self.flag(sql::ARE_THERE).await? {
                return Ok(());
            }
            if attempts > 3 {
                return Err(error);
            }
        }
    }

    async fn flag(&mut self, text: &str) -> Result<bool> {
        within(async { Ok(sql_query(text).get_result::<Flag>(&mut self.conn).await?.it) }).await
    }

    /// Tries to lead, without waiting for whoever does.
    pub(crate) async fn try_to_lead(&mut self) -> Result<bool> {
        let tried = sql_query(sql::TRY_TO_LEAD).bind::<BigInt, _>(sql::LOCK);
        within(async { Ok(tried.get_result::<Flag>(&mut self.conn).await?.it) }).await
    }

    /// Gives the lead back.
    pub(crate) async fn give_up(&mut self) -> Result<()> {
        within(async {
            sql_query("SELECT pg_advisory_unlock_all()").execute(&mut self.conn).await?;
            Ok(())
        })
        .await
    }

    /// Looks at what is there, on behalf of the replica of this name.
    pub(crate) async fn look(&mut self, instance: &str) -> Result<Look> {
        if self.without_tables.is_some() {
            let leads = sql_query(sql::LEADS).bind::<BigInt, _>(sql::LOCK);
            let leads = within(async { Ok(leads.get_result::<Flag>(&mut self.conn).await?.it) }).await?;
            return Ok(Look { leads, others: Vec::new(), kept: Vec::new() });
        }
        let looked = sql_query(sql::LOOK)
            .bind::<BigInt, _>(sql::LOCK)
            .bind::<Text, _>(instance)
            .bind::<Double, _>(self.known_until);
        let looked: Looked = within(async { Ok(looked.get_result(&mut self.conn).await?) }).await?;
        // What is written in a transaction that ends later bears an earlier time.
        self.known_until = looked.now - 5.0;
        Ok(Look { leads: looked.leads, others: read(&looked.others)?, kept: read(&looked.kept)? })
    }

    /// What channels are owed for at least so long.
    pub(crate) async fn owed(&mut self, for_at_least: Duration) -> Result<Vec<Owed>> {
        if self.without_tables.is_some() {
            return Ok(Vec::new());
        }
        let owed = sql_query(sql::OWED).bind::<Double, _>(for_at_least.as_secs_f64());
        let owed = within(async { Ok(owed.get_result::<Json>(&mut self.conn).await?) }).await?;
        read(&owed.it)
    }

    /// Keeps incidents, and what is owed because of them.
    pub(crate) async fn keep(&mut self, kept: &[Kept], owed: &[Owed], instance: &str) -> Result<()> {
        if self.without_tables.is_some() {
            return Ok(());
        }
        let keep = sql_query(sql::KEEP)
            .bind::<Text, _>(write(kept)?)
            .bind::<Text, _>(write(owed)?)
            .bind::<Text, _>(instance);
        within(async { Ok(keep.execute(&mut self.conn).await.map(drop)?) }).await
    }

    /// Keeps what became of messages.
    pub(crate) async fn done(&mut self, done: &[Done]) -> Result<()> {
        if self.without_tables.is_some() {
            return Ok(());
        }
        let done = sql_query(sql::DONE).bind::<Text, _>(write(done)?);
        within(async { Ok(done.execute(&mut self.conn).await.map(drop)?) }).await
    }

    /// Tells the leader what this replica reads.
    pub(crate) async fn read(&mut self, instance: &str, seen: &Seen) -> Result<()> {
        if self.without_tables.is_some() {
            return Ok(());
        }
        let read = sql_query(sql::READ).bind::<Text, _>(instance).bind::<Text, _>(write(seen)?);
        within(async { Ok(read.execute(&mut self.conn).await.map(drop)?) }).await
    }
}

/// The incidents that are open in a database, as its service has kept them; none where it has kept nothing.
///
/// ```no_run
/// # async fn show(conn: &mut diesel_async::AsyncPgConnection) -> db_core::Result<()> {
/// for incident in db_monitoring::alerts::open_in(conn).await? {
///     println!("{}: {}", incident.incident, incident.open.title);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the server says, such as that the role may not read the schema `dbp`.
///
/// # Cancel safety
/// Dropping the future abandons the question.
pub async fn open_in(conn: &mut AsyncPgConnection) -> Result<Vec<OpenIncident>> {
    if !sql_query(sql::ARE_THERE).get_result::<Flag>(conn).await?.it {
        return Ok(Vec::new());
    }
    let kept: Vec<Kept> = read(&sql_query(sql::OPEN).get_result::<Json>(conn).await?.it)?;
    let mut incidents = Incidents::default();
    for Kept { key, number, open } in kept {
        incidents.take_in(&key, number, open);
    }
    Ok(incidents.open())
}

/// The answer, or that there was none in time.
async fn within<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(ANSWER, question).await;
    answer.unwrap_or(Err(Error::DeadlineExceeded { waited: ANSWER }))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Client(Box::new(error)))
}

fn write<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Client(Box::new(error)))
}
