//! Bumps what was committed, whoever committed it: after a crash between COMMIT and the bump, while the
//! second tier was away, and by programs that know no cache.
//!
//! A transaction says what it touched in a message in the log, or in a row of an outbox where the server does
//! not decode its log. One process at a time reads that, bumps, and only then lets go of it. Where something
//! may have been missed the whole cache gets a fresh epoch: a relay is never silent about a gap.

mod catalog;
mod decoding;
mod install;
mod leading;
mod message;
mod status;
mod verdict;
mod visible;

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use db_core::{Error, Part, Result, Running};
use diesel_async::AsyncPgConnection;

use crate::random::Random;
use crate::second_tier::{SecondTier, Store, Writer};
use crate::tier_error::TierError;

use leading::Leading;
use status::Shared;

pub use message::{Message, NoMessage, receipt};
pub use status::RelayStatus;
pub use verdict::{Accident, Way};

/// How a relay reads commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// The name of its schema, its publication, its messages and its slot. Two installations on one cluster
    /// take two names.
    ///
    /// Lower-case letters, digits and `_`, as PostgreSQL wants a slot's name.
    pub name: String,
    /// Whether it makes what it needs in the database where that is missing; else run
    /// [`RelayConfig::install_sql`] before.
    pub installs: bool,
    /// How often the leader looks where there is nothing to do. It is how late a write from outside is seen.
    pub interval: Duration,
    /// How long it rests at most where looking takes long because the server writes much log.
    pub longest_rest: Duration,
    /// How often the others try to take over, and how long is waited after a failure.
    pub takeover: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        RelayConfig {
            name: "db_cache".to_owned(),
            installs: true,
            interval: Duration::from_millis(100),
            longest_rest: Duration::from_secs(5),
            takeover: Duration::from_secs(1),
        }
    }
}

/// Why a relay does not do its work now. It tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The database did not answer, or refused.
    #[error(transparent)]
    Database(#[from] Error),
    /// The second tier did not do what it was asked to.
    #[error(transparent)]
    Tier(#[from] TierError),
    /// Nothing can be done before somebody makes room.
    #[error("the cache's relay cannot read commits: {0}")]
    Blocked(Accident),
    /// The database lacks what the relay needs, and the relay may not make it.
    #[error(
        "the schema {0:?} of the cache's relay is missing or incomplete: run RelayConfig::install_sql as its owner"
    )]
    NotInstalled(String),
}

/// Opens a connection to the primary, past any pooler: the lock by which one process leads is held by a
/// session.
pub type OpenConnection =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<AsyncPgConnection>> + Send>> + Send + Sync>;

/// The relay of one process. Of all processes one leads, and another takes over when it is gone.
///
/// Clones are the same relay.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use db_cache::SecondTier;
/// use db_cache::relay::{Relay, RelayConfig};
///
/// # fn attach(tier: Arc<dyn SecondTier>) -> db_core::Part {
/// Relay::new(tier, RelayConfig::default()).part()
/// # }
/// ```
#[derive(Clone)]
pub struct Relay {
    tier: Arc<dyn SecondTier>,
    config: RelayConfig,
    random: Arc<Random>,
    shared: Arc<Shared>,
    said: Arc<Mutex<HashSet<String>>>,
}

impl Relay {
    /// A relay that does nothing yet.
    pub fn new(tier: Arc<dyn SecondTier>, config: RelayConfig) -> Self {
        let random = Arc::new(Random::from_entropy());
        Relay { tier, config, random, shared: Arc::default(), said: Arc::default() }
    }

    /// Attaches it to `Db`.
    pub fn part(&self) -> Part {
        let relay = self.clone();
        Part::named("cache relay").starting(move |ground| async move {
            let (health, measures) = (relay.clone(), relay.clone());
            let opened = ground.clone();
            let open: OpenConnection = Arc::new(move || {
                let ground = opened.clone();
                Box::pin(async move { ground.connect_direct().await })
            });
            ground.spawn(async move { relay.run(open).await });
            Ok(Running::new()
                .with_health(move || health.status().health())
                .with_metrics(move || measures.status().measures()))
        })
    }

    /// What it has done, and how it is.
    pub fn status(&self) -> RelayStatus {
        self.shared.lock().clone()
    }

    /// How it is configured.
    pub fn config(&self) -> &RelayConfig {
        &self.config
    }

    /// The statement by which a transaction says that it touched these slots; none where the database is not
    /// prepared.
    pub fn sql(&self, message: &Message) -> Option<String> {
        self.shared.lock().is_installed.then(|| self.config.sql(message))
    }

    /// The transaction of `writer` has bumped by itself: the relay is told, beside, to leave it alone.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn has_bumped(&self, writer: Writer) {
        let tier = Arc::clone(&self.tier);
        tokio::spawn(async move {
            let (key, keep) = (receipt(writer), RECEIPT);
            let store = Store { key, bytes: vec![1], keep, release: None, learned: None };
            // Where it is lost, the relay bumps once more.
            let _ = tier.store(&store).await;
        });
    }

    /// Reads commits for ever, or waits to take over.
    ///
    /// # Cancel safety
    /// Dropping the future ends the session, and with it the lead. What was not yet let go of is read again.
    pub async fn run(&self, open: OpenConnection) {
        loop {
            let Err(error) = self.hold_session(&open).await;
            self.step_down(Some(error.to_string()));
            self.say_once(&error.to_string());
            tokio::time::sleep(self.config.takeover).await;
        }
    }

    async fn hold_session(
        &self,
        open: &OpenConnection,
    ) -> std::result::Result<std::convert::Infallible, RelayError> {
        let mut conn = open().await?;
        catalog::prepare(&mut conn).await?;
        loop {
            let leads = catalog::lead(&mut conn, &self.config).await?;
            if !catalog::is_installed(&mut conn, &self.config).await? {
                match (leads, self.config.installs) {
                    (true, true) => catalog::install(&mut conn, &self.config).await?,
                    (_, false) => return Err(RelayError::NotInstalled(self.config.name.clone())),
                    // The leader is about to.
                    (false, true) => {}
                }
            }
            let is_installed = catalog::is_installed(&mut conn, &self.config).await?;
            {
                let mut status = self.shared.lock();
                (status.is_installed, status.is_leader, status.problem) = (is_installed, leads, None);
            }
            if leads {
                tracing::info!(name = self.config.name, "this process leads the cache's relay now");
                Leading::begin(self, &mut conn).await?.go_on().await?;
            }
            tokio::time::sleep(self.config.takeover).await;
        }
    }

    fn step_down(&self, problem: Option<String>) {
        let mut status = self.shared.lock();
        (status.is_leader, status.is_caught_up, status.retained_bytes) = (false, false, None);
        status.problem = problem;
    }

    fn note(&self, accident: Accident) {
        *self.shared.lock().accidents.entry(accident).or_default() += 1;
        match accident {
            Accident::FirstStart => tracing::info!("the cache's relay starts, and the cache is empty"),
            // Said as the error that it ends in.
            Accident::Shadowed => {}
            _ => tracing::warn!(
                cause = accident.as_str(),
                "commits may have been missed, so every entry of the cache was dropped: {accident}"
            ),
        }
    }

    /// Reads what a transaction said; what cannot be understood is said once.
    fn read(&self, body: &str) -> Option<Message> {
        body.parse().inspect_err(|error: &NoMessage| self.say_once(&error.to_string())).ok()
    }

    fn say_once(&self, text: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < MOST_SAID && said.insert(text.to_owned()) {
            tracing::warn!("{text}");
        }
    }
}

/// How long a writer's own word is kept: longer than a relay is behind while all is well.
const RECEIPT: Duration = Duration::from_secs(120);

/// How many different warnings a relay remembers to have said.
const MOST_SAID: usize = 100;

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("config", &self.config)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
