//! A cluster, a second tier and relays between them, for tests to break.

use std::sync::Arc;
use std::time::Duration;

use db_cache::relay::{Accident, Message, OpenConnection, Relay, RelayConfig};
use db_cache::simulation::SimulatedTier;
use db_cache::{EpochRecord, Fresh, Generation, Random, SecondTier, Slot, SlotRecord, Tag};
use db_core::Error;
use db_testkit::{Cluster, until};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::task::JoinHandle;

/// A cluster, the second tier of its caches, and what is generated there.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) tier: Arc<SimulatedTier>,
    random: Random,
}

/// A relay that runs; it ends as a process that is killed does when this is dropped.
pub(crate) struct Running {
    pub(crate) relay: Relay,
    task: JoinHandle<()>,
}

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

pub(crate) fn users() -> Slot {
    Tag::table("users").slot()
}

pub(crate) fn config() -> RelayConfig {
    let (interval, takeover) = (Duration::from_millis(20), Duration::from_millis(50));
    RelayConfig { interval, takeover, ..RelayConfig::default() }
}

impl Scene {
    /// On a cluster that decodes its log.
    pub(crate) async fn logical() -> Self {
        Scene::on(Cluster::builder().setting("wal_level", "logical").start().await.unwrap())
    }

    pub(crate) fn on(cluster: Cluster) -> Self {
        Scene { cluster, tier: Arc::new(SimulatedTier::seeded(7)), random: Random::seeded(8) }
    }

    pub(crate) async fn connect(&self) -> AsyncPgConnection {
        self.cluster.connect(self.cluster.primary()).await.unwrap()
    }

    /// Runs statements on the primary, on a connection of their own.
    pub(crate) async fn run(&self, sql: &str) {
        self.connect().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// What the primary answers, as text.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let sql = format!("SELECT coalesce(({sql})::text, '') AS word");
        sql_query(sql).get_result::<Word>(&mut self.connect().await).await.unwrap().word
    }

    /// A transaction that says that it touched these slots, and whose writer bumps nothing.
    pub(crate) async fn touch(&self, slots: &[Slot]) {
        let message = Message { writer: None, slots: slots.to_vec() };
        self.run(&config().sql(&message)).await;
    }

    /// Starts a relay and waits until it leads.
    pub(crate) async fn lead(&self) -> Running {
        let running = self.start();
        until("the relay leads and has caught up", async || running.relay.status().is_caught_up).await;
        running
    }

    pub(crate) fn start(&self) -> Running {
        let cluster = self.cluster.clone();
        let open: OpenConnection = Arc::new(move || {
            let cluster = cluster.clone();
            Box::pin(async move {
                cluster.connect(cluster.primary()).await.map_err(|error| Error::Client(Box::new(error)))
            })
        });
        let relay = Relay::new(Arc::clone(&self.tier) as Arc<dyn SecondTier>, config());
        let runs = relay.clone();
        Running { relay, task: tokio::spawn(async move { runs.run(open).await }) }
    }

    /// Makes sure that there is a record of the slot, as a load does, and answers with it.
    pub(crate) async fn open(&self, slot: Slot) -> SlotRecord {
        let fresh = Fresh(vec![(slot, Generation::fresh(&self.random))]);
        let told = self.tier.open(&fresh, Generation::fresh(&self.random)).await.unwrap();
        told.slots[0].unwrap()
    }

    pub(crate) async fn slot(&self, slot: Slot) -> SlotRecord {
        self.tier.read(&[], &[slot]).await.unwrap().slots[0].unwrap()
    }

    pub(crate) async fn epoch(&self) -> EpochRecord {
        self.tier.read(&[], &[]).await.unwrap().epoch.unwrap()
    }

    /// Waits until what was loaded under `before` is not valid any more.
    pub(crate) async fn until_bumped(&self, slot: Slot, before: Generation) {
        until("the slot has a fresh generation", async || self.slot(slot).await.generation != before).await;
    }
}

impl Running {
    /// Ends it as kill -9 does: nothing is said to anybody.
    pub(crate) async fn kill(self) {
        self.task.abort();
        until("it has ended", async || self.task.is_finished()).await;
    }

    pub(crate) fn accidents(&self, accident: Accident) -> u64 {
        self.relay.status().accidents.get(&accident).copied().unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
