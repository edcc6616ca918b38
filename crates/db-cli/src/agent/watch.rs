//! Looks at the archive every few seconds: a gap, a late or a foreign segment is told at once, and its end
//! too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_platform::backup::rehearse::rehearsals;
use db_platform::backup::session::Session;
use db_platform::backup::wal::{ArchiveFinding, ArchiveStatus, status};
use db_platform::backup::{BackupError, Cluster, Lease};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::ground::Ground;
use super::tell::Tell;
use crate::connect;
use crate::error::CliError;

/// A segment may be on its way: only what a second look sees as well is told.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// A server that does not answer in this time is gone on without: the archive is looked at alone.
const SERVER_WITHIN: Duration = Duration::from_secs(3);
/// So long may a look take that asks the server as well.
const LOOK_WITHIN: Duration = Duration::from_secs(30);
/// How long the host that tells may be silent before another one does: four looks, within these.
const SHORTEST_TURN: Duration = Duration::from_secs(12);
const LONGEST_TURN: Duration = Duration::from_secs(3_600);
/// How long giving the lock back may take.
const END_WITHIN: Duration = Duration::from_secs(3);
/// What only changes with a backup is read this often: each backup is a request.
const BACKUPS_EVERY: Duration = Duration::from_secs(300);

/// The looking; it ends when this is dropped.
pub(super) struct Watch {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Lets another host tell at once.
    pub(super) async fn end(mut self) {
        // Nobody listens where it has ended by itself.
        let _ = self.stop.send(true);
        // The lock runs out by itself.
        let _ = timeout(END_WITHIN, &mut self.task).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn start(ground: Arc<Ground>, tell: Arc<Tell>, every: Duration) -> Watch {
    let (stop, mut stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        let mut turn = Turn::new(ground.holder(), every);
        let looking = look_and_tell(ground, tell, every, &mut turn);
        tokio::select! {
            () = looking => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        turn.end().await;
    });
    Watch { stop, task }
}

async fn look_and_tell(ground: Arc<Ground>, tell: Arc<Tell>, every: Duration, turn: &mut Turn) {
    let mut eye = Eye { ground, opened: None, session: None, listed: None };
    let (mut known, mut is_blind) = (Known::default(), false);
    loop {
        let pause = match eye.look().await {
            Ok(status) => {
                is_blind = false;
                eye.ground.figures.archived(&status);
                let (mut changes, is_sure) = known.next(&status.findings, status.server.is_some());
                let (was_ours, is_ours) = (turn.is_ours, turn.comes(eye.cluster()).await);
                tell.speak(is_ours);
                if is_ours && !was_ours {
                    // What the host that told before has told, or did not come to tell.
                    changes.retain(|change| matches!(change, Change::Over { .. }));
                    changes.extend(known.began());
                }
                changes.into_iter().filter(|_| is_ours).for_each(|change| tell.archive(change));
                if is_sure { every } else { SECOND_LOOK.min(every) }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_blind, true) {
                    tracing::warn!("the archive cannot be looked at: {error}");
                }
                every
            }
        };
        sleep(pause).await;
    }
}

/// Whether this host tells what all of them see: the one does that has a lock in the repository.
struct Turn {
    holder: String,
    lasts: Duration,
    lease: Option<Lease>,
    /// When the lock was last asked for or renewed.
    asked: Option<Instant>,
    is_ours: bool,
}

impl Turn {
    fn new(holder: String, every: Duration) -> Turn {
        let lasts = every.saturating_mul(4).clamp(SHORTEST_TURN, LONGEST_TURN);
        Turn { holder, lasts, lease: None, asked: None, is_ours: false }
    }

    /// Whether it is this host's, as far as is known. Where no lock can be had for another reason than that
    /// somebody has it, this host tells: rather twice than never.
    async fn comes(&mut self, cluster: Option<&Cluster>) -> bool {
        let Some(cluster) = cluster else { return self.is_ours };
        if self.asked.is_some_and(|asked| asked.elapsed() < self.lasts / 3) {
            return self.is_ours;
        }
        self.asked = Some(Instant::now());
        if let Some(lease) = &mut self.lease {
            match lease.renew().await {
                Err(error) if !error.is_temporary() => {
                    tracing::info!("another host tells of the archive now: {error}");
                    (self.lease, self.is_ours) = (None, false);
                }
                _ => return self.is_ours,
            }
        }
        self.is_ours = match cluster.lock("watch", &self.holder, self.lasts).await {
            Ok(lease) => {
                self.lease = Some(lease);
                true
            }
            Err(BackupError::Locked { .. } | BackupError::LeaseLost(_)) => false,
            Err(error) => {
                tracing::debug!(%error, "whether another host tells cannot be known");
                true
            }
        };
        self.is_ours
    }

    async fn end(&mut self) {
        if let Some(lease) = self.lease.take()
            && let Err(error) = lease.release().await
        {
            tracing::debug!(%error, "the lock runs out by itself");
        }
    }
}

/// Something that has begun or is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Began { key: String, text: String },
    Over { key: String, text: String },
}

/// How the keys of findings begin that only a server can say.
const OF_SERVER: [&str; 3] = ["late:", "failing:", "foreign:"];

/// What was seen, and what of it was told.
#[derive(Default)]
struct Known {
    /// What the last look saw.
    seen: BTreeSet<String>,
    /// What was told and is not over, with its words.
    told: BTreeMap<String, String>,
}

impl Known {
    /// All that lasts.
    fn began(&self) -> impl Iterator<Item = Change> {
        self.told.iter().map(|(key, text)| Change::Began { key: key.clone(), text: text.clone() })
    }

    /// What is to be told after a look, and whether no second look is needed. What only a server can say
    /// lasts while none is asked.
    fn next(&mut self, findings: &[ArchiveFinding], asked_server: bool) -> (Vec<Change>, bool) {
        let mut now: BTreeMap<String, String> =
            findings.iter().map(|finding| (finding.key(), finding.to_string())).collect();
        if !asked_server {
            let of_server = |key: &str| OF_SERVER.iter().any(|kind| key.starts_with(kind));
            let told = self.told.iter().filter(|(key, _)| of_server(key));
            now.extend(told.map(|(key, text)| (key.clone(), text.clone())));
        }
        let mut changes = Vec::new();
        self.told.retain(|key, text| {
            let lasts = now.contains_key(key);
            if !lasts {
                changes.push(Change::Over { key: key.clone(), text: text.clone() });
            }
            lasts
        });
        let seen_twice = now.iter().filter(|(key, _)| self.seen.contains(*key));
        let new: Vec<_> = seen_twice.filter(|(key, _)| !self.told.contains_key(*key)).collect();
        for (key, text) in new {
            self.told.insert(key.clone(), text.clone());
            changes.push(Change::Began { key: key.clone(), text: text.clone() });
        }
        let is_sure = now.keys().all(|key| self.told.contains_key(key));
        self.seen = now.into_keys().collect();
        (changes, is_sure)
    }
}

/// What a look needs; what fails is opened anew by the next one.
struct Eye {
    ground: Arc<Ground>,
    opened: Option<Opened>,
    session: Option<Session>,
    /// When the backups were last listed.
    listed: Option<Instant>,
}

struct Opened {
    cluster: Cluster,
    segment_bytes: u32,
}

impl Eye {
    async fn look(&mut self) -> Result<ArchiveStatus, CliError> {
        if self.opened.is_none() {
            self.opened = Some(self.open().await?);
        }
        let Some(Opened { cluster, segment_bytes }) = &self.opened else { return Err(CliError::NoBackups) };
        let (cluster, segment_bytes) = (cluster.clone(), *segment_bytes);
        let seen = self.with_server(&cluster, segment_bytes).await;
        let looked = async {
            let status = match seen {
                Some(status) => status,
                None => status(&cluster, None, segment_bytes, self.ground.late_after()).await?,
            };
            if self.listed.is_none_or(|at| at.elapsed() >= BACKUPS_EVERY) {
                let (backups, rehearsals) = (cluster.backups().await?, rehearsals(&cluster).await?);
                self.ground.figures.listed(&backups, rehearsals.last());
                self.listed = Some(Instant::now());
            }
            Ok(status)
        };
        let looked = looked.await;
        if looked.is_err() {
            // Credentials that have expired, say.
            self.opened = None;
        }
        looked
    }

    /// The cluster that was looked at.
    fn cluster(&self) -> Option<&Cluster> {
        self.opened.as_ref().map(|opened| &opened.cluster)
    }

    async fn open(&self) -> Result<Opened, CliError> {
        let (_, cluster) = self.ground.cluster().await?;
        let newest = cluster.backups().await?.whole.pop();
        let segment_bytes = newest.map_or(16 << 20, |summary| summary.server.wal_segment_bytes);
        Ok(Opened { cluster, segment_bytes })
    }

    /// The archive as the server and the repository see it; none where the server does not answer.
    async fn with_server(&mut self, cluster: &Cluster, segment_bytes: u32) -> Option<ArchiveStatus> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => timeout(SERVER_WITHIN, connect::session(&self.ground.url)).await.ok()?.ok()?,
        };
        let looked = status(cluster, Some(&mut session), segment_bytes, self.ground.late_after());
        let status = timeout(LOOK_WITHIN, looked).await.ok()?.ok()?;
        self.session = Some(session);
        Some(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(number: u32) -> ArchiveFinding {
        ArchiveFinding::Gap { first: format!("00000001000000000000000{number}"), missing: 1 }
    }

    fn keys(changes: Vec<Change>) -> Vec<String> {
        let said = |change| match change {
            Change::Began { key, .. } => format!("+{key}"),
            Change::Over { key, .. } => format!("-{key}"),
        };
        changes.into_iter().map(said).collect()
    }

    #[test]
    fn a_finding_is_told_once_when_a_second_look_has_seen_it_and_again_when_it_is_over() {
        let mut known = Known::default();
        let mut check = |findings: &[ArchiveFinding], told: &[&str], is_sure: bool| {
            let (changes, sure) = known.next(findings, true);
            assert_eq!((keys(changes), sure), (told.iter().map(ToString::to_string).collect(), is_sure));
        };
        check(&[], &[], true);
        check(&[gap(3)], &[], false);
        check(&[], &[], true);
        check(&[gap(3)], &[], false);
        check(&[gap(3), gap(7)], &["+gap:000000010000000000000003"], false);
        check(&[gap(3), gap(7)], &["+gap:000000010000000000000007"], true);
        check(&[gap(3), gap(7)], &[], true);
        check(&[gap(7)], &["-gap:000000010000000000000003"], true);
    }

    #[test]
    fn what_only_a_server_can_say_is_not_over_while_none_answers() {
        let mut known = Known::default();
        let late = [ArchiveFinding::Late { lag_bytes: 1, since: None }, gap(3)];
        for _ in 0..2 {
            known.next(&late, true);
        }
        assert_eq!(keys(known.next(&[], false).0), ["-gap:000000010000000000000003"]);
        assert_eq!(keys(known.next(&[], true).0), ["-late:"]);
    }
}
