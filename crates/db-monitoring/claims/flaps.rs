//! A thousand conditions that come and go while receivers fail and processes and the server restart.

pub(crate) mod process;
mod receiver;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use db_monitoring::alerts::open_in;
use db_testkit::{Cluster, Stop, until};
use diesel_async::AsyncPgConnection;
use serde_json::json;
use tokio::time::Instant;

use crate::{Figure, Size, runtime};
use process::Process;
use receiver::Receiver;

/// So many conditions come and go at once; half of them are critical.
const CONDITIONS: usize = 40;
/// One condition that does not come or go for so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// What happens to processes and the server, in turns.
#[derive(Clone, Copy)]
enum Accident {
    /// kill -9 of the replica that tells people.
    Kill,
    /// The replica that tells people is told to end.
    End,
    /// The server restarts.
    Restart,
    /// One receiver answers nothing well for longer than a delivery is tried.
    Outage,
}

const ACCIDENTS: [Accident; 6] =
    [Accident::Kill, Accident::End, Accident::Outage, Accident::Kill, Accident::Restart, Accident::End];

pub(crate) fn measure(size: Size) -> Figure {
    let (flaps, accidents) = match size {
        Size::Ci => (1_000, 18),
        Size::Nightly => (10_000, 180),
    };
    runtime().block_on(of_flaps(flaps / CONDITIONS, accidents))
}

async fn of_flaps(each: usize, accidents: usize) -> Figure {
    let cluster = Cluster::builder().standbys(0).start().await.unwrap();
    let (all, grave) = (Receiver::start(true).await, Receiver::start(false).await);
    let folder = tempfile::tempdir().unwrap();
    let mut flaps =
        Flaps { conn: None, cluster: &cluster, each, at: [1; CONDITIONS], is_bad: [true; CONDITIONS] };
    flaps.tell(folder.path());
    let start = || Process::start(&cluster.primary_url(), folder.path(), &all.url, &grave.url);
    let mut replicas = [start(), start()];
    let (total, mut kills, mut happened) = (each * CONDITIONS, Vec::new(), 0);
    let mut last = (0, Instant::now());
    loop {
        let over = flaps.look(folder.path()).await;
        if over > last.0 {
            last = (over, Instant::now());
        }
        if over == total || last.1.elapsed() > LOST_AFTER {
            break;
        }
        if over >= (happened + 1) * total / (accidents + 1) {
            match ACCIDENTS[happened % ACCIDENTS.len()] {
                Accident::Kill => {
                    let leader = leader(&replicas).await;
                    replicas[leader].kill();
                    kills.push(Instant::now());
                    replicas[leader] = start();
                }
                Accident::End => {
                    let leader = leader(&replicas).await;
                    replicas[leader].end();
                    replicas[leader] = start();
                }
                Accident::Restart => {
                    cluster.stop(0, Stop::Fast).await.unwrap();
                    cluster.start(0).await.unwrap();
                    flaps.conn = None;
                }
                Accident::Outage => all.fail_for(Duration::from_secs(8)),
            }
            happened += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for receiver in [&all, &grave] {
        receiver.is_well();
    }
    // What was given up is offered again after half a minute.
    let expected = expected(each);
    until_all_came(&expected, &all, &grave).await;
    for replica in &mut replicas {
        replica.end();
    }
    judge(&expected, &all, &grave, &kills, happened)
}

/// What people are to be told: each id, and whether it is critical.
fn expected(each: usize) -> BTreeMap<String, bool> {
    let mut all = BTreeMap::new();
    for condition in 0..CONDITIONS {
        for number in 1..=each {
            for what in ["raised", "resolved"] {
                all.insert(format!("{}#{number}:{what}", key(condition)), is_critical(condition));
            }
        }
    }
    all
}

fn key(condition: usize) -> String {
    format!("condition{condition}")
}

fn is_critical(condition: usize) -> bool {
    condition % 2 == 1
}

/// Which of them did not come, at `all` or, where that refused them for good or they are critical, at
/// `grave`.
fn missing<'a>(expected: &'a BTreeMap<String, bool>, all: &Receiver, grave: &Receiver) -> Vec<&'a str> {
    let (at_all, refused, at_grave) = (all.taken(), all.refused(), grave.taken());
    let came = |(id, is_critical): &(&String, &bool)| {
        let here = at_all.contains_key(*id);
        let there = at_grave.contains_key(*id);
        if **is_critical {
            there && (here || refused.contains(*id))
        } else {
            here || (refused.contains(*id) && there)
        }
    };
    expected.iter().filter(|one| !came(one)).map(|(id, _)| id.as_str()).collect()
}

async fn until_all_came(expected: &BTreeMap<String, bool>, all: &Receiver, grave: &Receiver) {
    let begun = Instant::now();
    while !missing(expected, all, grave).is_empty() && begun.elapsed() < LOST_AFTER {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn judge(
    expected: &BTreeMap<String, bool>,
    all: &Receiver,
    grave: &Receiver,
    kills: &[Instant],
    accidents: usize,
) -> Figure {
    let missing = missing(expected, all, grave);
    let (mut twice, mut known, mut unexpected) = (Vec::new(), 0, BTreeSet::new());
    for receiver in [all, grave] {
        for (id, taken) in receiver.taken() {
            if !expected.contains_key(&id) {
                unexpected.insert(id.clone());
            }
            for pair in taken.windows(2) {
                // The sender died, or never heard the answer: it cannot know, and says the same id again.
                let unheard =
                    !pair[0].answered || kills.iter().any(|kill| pair[0].at <= *kill && *kill <= pair[1].at);
                if unheard {
                    known += 1;
                } else {
                    twice.push(id.clone());
                }
            }
        }
    }
    let wrong = missing.len() + twice.len() + unexpected.len() + all.unsigned() + grave.unsigned();
    Figure {
        value: wrong as f64,
        unit: "messages lost, told twice, of no incident or not signed",
        holds: wrong == 0,
        detail: json!({
            "flaps": expected.len() / 2, "accidents": accidents, "kills": kills.len(),
            "lost": missing, "twice": twice, "of_no_incident": unexpected,
            "unsigned": all.unsigned() + grave.unsigned(),
            "under_the_same_id_again_because_the_answer_was_lost": known,
            "requests": all.requests() + grave.requests(),
            "failed_by_the_receivers": all.failed() + grave.failed(),
            "refused_for_good_and_told_another_way": all.refused().len(),
        }),
    }
}

/// The replica that tells people.
async fn leader(replicas: &[Process; 2]) -> usize {
    until("a replica leads", async || replicas.iter().any(Process::leads)).await;
    usize::from(!replicas[0].leads())
}

/// The conditions, and how often each has come and gone.
struct Flaps<'a> {
    cluster: &'a Cluster,
    conn: Option<AsyncPgConnection>,
    each: usize,
    /// The number of the incident that each is at.
    at: [usize; CONDITIONS],
    is_bad: [bool; CONDITIONS],
}

impl Flaps<'_> {
    /// Goes on with each condition whose incident was raised or is over, as the database knows. How many are
    /// over.
    async fn look(&mut self, folder: &Path) -> usize {
        if self.conn.is_none() {
            self.conn = Some(self.cluster.connect(0).await.unwrap());
        }
        let Some(conn) = &mut self.conn else { unreachable!("it was opened") };
        let open: BTreeSet<String> =
            open_in(conn).await.unwrap().into_iter().map(|one| one.incident).collect();
        let before = (self.at, self.is_bad);
        for condition in 0..CONDITIONS {
            let is_open = open.contains(&format!("{}#{}", key(condition), self.at[condition]));
            if self.is_bad[condition] && is_open {
                self.is_bad[condition] = false;
            } else if !self.is_bad[condition] && !is_open && self.at[condition] <= self.each {
                self.at[condition] += 1;
                self.is_bad[condition] = self.at[condition] <= self.each;
            }
        }
        if before != (self.at, self.is_bad) {
            self.tell(folder);
        }
        self.at.iter().map(|at| at - 1).sum()
    }

    /// Writes down how each is, for the replicas.
    fn tell(&self, folder: &Path) {
        let world: Vec<_> = (0..CONDITIONS)
            .map(|condition| {
                let level = match (self.is_bad[condition], is_critical(condition)) {
                    (false, _) => "fine",
                    (true, false) => "warning",
                    (true, true) => "critical",
                };
                (key(condition), level)
            })
            .collect();
        process::write_world(folder, &world);
    }
}
