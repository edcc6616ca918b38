//! Fetches segments ahead of a server that replays them, in a process of its own beside restore_command.
//!
//! The server waits for each restore_command, so what that fetches ahead is fetched while nothing is
//! replayed. A process that goes on beside it fetches while the server replays. It keeps as many segments
//! ahead as it is told to of the one that was asked for last, wherever that is: another timeline or an
//! earlier position is followed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::task::JoinSet;

use super::control::{data_directory_of, system_of};
use super::fetch::{FetchConfig, get};
use super::spool::{Asked, Spool};
use crate::Repository;
use crate::buffers::LogBuffers;
use crate::physical_error::PhysicalError;
use crate::wal_name::{Segment, WalName};

/// How much of the log is fetched ahead at most, whatever the size of a segment.
const AHEAD_BYTES: usize = 256 << 20;
/// A server that has asked for nothing for so long may have paused: the next call starts another process.
const ENDS_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked what the server has asked for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How often it is looked whether the server is alive.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// Whether nobody fetches ahead of the segment `name` into the spool of `config`. After it was restored a
/// process should be started then that calls [`refill`], and that nobody waits for.
///
/// ```
/// use db_backup::wal::{FetchConfig, needs_refill};
///
/// let without_a_spool = FetchConfig::default();
/// assert!(!needs_refill("000000010000000000000003", &without_a_spool));
/// let config = FetchConfig::beside("pg_wal/RECOVERYXLOG".as_ref());
/// assert!(!needs_refill("00000002.history", &config));
/// assert!(needs_refill("000000010000000000000003", &config));
/// ```
pub fn needs_refill(name: &str, config: &FetchConfig) -> bool {
    let is_segment = name.parse::<WalName>().is_ok_and(|name| name.segment().is_some());
    let spool = config.spool.as_deref().map(|directory| Spool { directory });
    is_segment && spool.is_some_and(|spool| config.ahead > 0 && !spool.is_filled())
}

/// Fetches segments ahead of what [`fetch`](super::fetch) is asked for, into the spool of `config`, until
/// nothing was asked for in 10 s, the server has ended, or it has asked for what is not there. `destination`
/// is %p, as it was given to that call.
///
/// Where another process does this already it returns at once. A process that is killed leaves nothing that
/// is taken for a segment, and no lock. End with status 0 or 1 whatever comes of it: to a server that is the
/// first process of its container any other status is that of a backend that crashed.
///
/// # Errors
/// [`PhysicalError`] where nothing can be fetched ahead. What cannot be fetched is left to
/// [`fetch`](super::fetch), which says why.
///
/// # Cancel safety
/// Safe: an unfinished file may stay, which the next call removes.
pub async fn refill(
    repository: &Repository,
    destination: &Path,
    config: &FetchConfig,
) -> Result<(), PhysicalError> {
    let Some(directory) = config.spool.as_deref() else { return Ok(()) };
    let (spool, data) = (Spool { directory }, data_directory_of(destination));
    let cluster = repository.cluster(system_of(data)?);
    let Some(filling) = spool.fill()? else { return Ok(()) };
    let (server, buffers) = (Server::of(data), Arc::<LogBuffers>::default());
    let mut ahead = Ahead { asked: None, since: Instant::now(), under_way: Vec::new(), ends_at: None };
    let (mut tasks, mut looked) = (JoinSet::new(), Instant::now());
    loop {
        let asked = if filling.holds() { spool.asked(ahead.asked) } else { None };
        if looked.elapsed() > SIGN_OF_LIFE {
            looked = Instant::now();
            if server.as_ref().is_some_and(Server::has_ended) {
                break;
            }
        }
        if !asked.is_some_and(|asked| ahead.goes_on(asked)) {
            break;
        }
        for segment in ahead.next(config, |segment| spool.has(segment)) {
            if spool.announce(segment).is_err() {
                break;
            }
            ahead.under_way.push(segment);
            let (cluster, buffers, path) = (cluster.clone(), Arc::clone(&buffers), spool.path_of(segment));
            tasks.spawn(async move {
                let got = get(&cluster, WalName::Segment(segment), &path, &buffers).await;
                (segment, matches!(got, Ok(Some(_))))
            });
        }
        let Ok(ended) = tokio::time::timeout(LOOK_AGAIN_AFTER, next_of(&mut tasks)).await else { continue };
        ended.into_iter().for_each(|(segment, got)| ahead.ended(&spool, segment, got));
    }
    // What is under way is finished, so that nothing half is left.
    while let Some(ended) = tasks.join_next().await {
        ended.into_iter().for_each(|(segment, got)| ahead.ended(&spool, segment, got));
    }
    if filling.holds() && spool.asked(ahead.asked).is_none() {
        spool.clear();
    }
    Ok(())
}

/// What the next task has ended with; where there is none this waits for ever.
async fn next_of<T: 'static>(tasks: &mut JoinSet<T>) -> Option<T> {
    match tasks.join_next().await {
        Some(ended) => ended.ok(),
        None => std::future::pending().await,
    }
}

/// What is to be fetched ahead.
struct Ahead {
    asked: Option<Asked>,
    /// Since when that is what was asked for last.
    since: Instant,
    under_way: Vec<Segment>,
    /// The segment that could not be fetched. Those behind it are of no use.
    ends_at: Option<Segment>,
}

impl Ahead {
    /// Notes what was asked for; whether the server still asks.
    fn goes_on(&mut self, asked: Asked) -> bool {
        if self.asked != Some(asked) {
            // What was not there may have come since.
            (self.asked, self.since, self.ends_at) = (Some(asked), Instant::now(), None);
        }
        self.since.elapsed() < ENDS_AFTER
    }

    /// The segments that should be fetched now.
    fn next(&self, config: &FetchConfig, has: impl Fn(Segment) -> bool) -> Vec<Segment> {
        let Some(Asked { segment, size }) = self.asked else { return Vec::new() };
        let most = (AHEAD_BYTES / size as usize).max(1);
        let window = std::iter::successors(Some(segment.next(size)), |segment| Some(segment.next(size)));
        let window = window.take(config.ahead.min(most));
        let wanted = window.take_while(|segment| self.ends_at != Some(*segment));
        let wanted = wanted.filter(|segment| !self.under_way.contains(segment) && !has(*segment));
        wanted.take(config.workers.max(1).saturating_sub(self.under_way.len())).collect()
    }

    fn ended(&mut self, spool: &Spool<'_>, segment: Segment, got: bool) {
        self.under_way.retain(|known| *known != segment);
        if !got {
            spool.withdraw(segment);
            self.ends_at = Some(self.ends_at.map_or(segment, |known| known.min(segment)));
        }
    }
}

/// The server of a data directory.
struct Server(Pid);

impl Server {
    /// `None` where none runs on it.
    fn of(data: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?).map(Server)
    }

    fn has_ended(&self) -> bool {
        test_kill_process(self.0) == Err(Errno::SRCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 16 << 20;

    fn segment(number: u32) -> Segment {
        Segment { timeline: 1, log: 0, number }
    }

    fn ahead(asked: Segment) -> Ahead {
        let asked = Some(Asked { segment: asked, size: SIZE });
        Ahead { asked, since: Instant::now(), under_way: Vec::new(), ends_at: None }
    }

    #[test]
    fn what_is_behind_the_one_asked_for_is_fetched_and_no_more() {
        let config = FetchConfig { ahead: 3, workers: 2, ..FetchConfig::default() };
        let mut ahead = ahead(segment(5));
        assert_eq!(ahead.next(&config, |_| false), [segment(6), segment(7)]);
        ahead.under_way.push(segment(6));
        assert_eq!(ahead.next(&config, |_| false), [segment(7)]);
        assert_eq!(ahead.next(&config, |one| one == segment(7)), [segment(8)]);
        assert_eq!(ahead.next(&config, |one| one > segment(6)), [], "all are there");
        // Back to where it was before, as a server that starts again.
        assert!(ahead.goes_on(Asked { segment: segment(2), size: SIZE }));
        assert_eq!(ahead.next(&config, |_| false), [segment(3)]);
    }

    #[test]
    fn behind_a_segment_that_is_not_there_nothing_is_fetched_until_another_is_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let (spool, config) = (Spool { directory: home.path() }, FetchConfig::default());
        let mut ahead = ahead(segment(5));
        ahead.ended(&spool, segment(7), false);
        assert_eq!(ahead.next(&config, |_| false), [segment(6)]);
        assert!(ahead.goes_on(Asked { segment: segment(6), size: SIZE }));
        assert_eq!(ahead.next(&config, |_| false)[0], segment(7));
    }

    #[test]
    fn large_segments_are_bounded_by_their_bytes() {
        let config = FetchConfig { ahead: 7, workers: 7, ..FetchConfig::default() };
        let mut ahead = ahead(segment(0));
        ahead.asked = Some(Asked { segment: segment(0), size: 64 << 20 });
        assert_eq!(ahead.next(&config, |_| false).len(), AHEAD_BYTES / (64 << 20));
    }
}
