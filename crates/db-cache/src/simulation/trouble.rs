//! What goes wrong in a run: with the second tier, with the database, with the processes.

use std::sync::Arc;
use std::time::Duration;

use super::faults::{Faults, Operation};
use super::tier::TierState;
use super::world::World;
use crate::mutant::Mutant;
use crate::second_tier::{Answer, Fresh, NewEpoch, SecondTier};
use crate::tag::Tag;

const OPERATIONS: [Operation; 12] = [
    Operation::Read,
    Operation::Open,
    Operation::Store,
    Operation::Lease,
    Operation::Release,
    Operation::Mark,
    Operation::Bump,
    Operation::Abort,
    Operation::Epoch,
    Operation::Feed,
    Operation::Members,
    Operation::Relayed,
];

/// Makes trouble for a while.
pub(super) async fn make(world: Arc<World>) {
    let mut replica: TierState = world.tier.state();
    for _ in 0..24 {
        tokio::time::sleep(Duration::from_millis(world.below(90))).await;
        if world.commits_unmarked() && world.chance(0.4) {
            if world.chance(0.5) {
                is_down(&world).await
            } else {
                hears_of_no_commit(&world).await
            }
            continue;
        }
        let what = world.below(17);
        if (6..=8).contains(&what) {
            world.loses_marks();
        }
        match what {
            0..=2 => one_operation_is_unwell(&world),
            3 => all_operations_are_well(&world),
            4 => is_down(&world).await,
            5 => replica = world.tier.state(),
            6 => world.tier.fail_over(replica.clone()),
            7 => world.tier.flush(),
            8 => evict(&world),
            9 => world.tier.cut_feed(world.below(3) as usize),
            10 => world.database.pause_replay(true),
            11 => world.database.pause_replay(false),
            12 => world.start_process(Some(world.below(3) as usize)).await,
            14 | 15 => world.database.set_unwell(what == 14),
            // What commits without a mark promises nothing of a process that alone is cut off.
            16 if !world.commits_unmarked() => {
                cut_off(&world);
                // What divides the network takes a server with it, as often as not.
                if world.chance(0.5) {
                    world.loses_marks();
                    world.tier.fail_over(replica.clone());
                }
            }
            _ if world.chance(0.4) => fail_over(&world).await,
            _ => {}
        }
    }
}

/// The standby replays, now and then.
pub(super) async fn replay(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_millis(world.below(30))).await;
        world.database.replay();
    }
}

/// A relay, where there is one: what was committed is bumped, in order, whatever became of the process that
/// committed it.
pub(super) async fn relay(world: Arc<World>) {
    let (mut read, mut history) = (0, world.database.history());
    while world.relays() {
        // Now and then it stands still.
        let rest = if world.chance(0.05) { world.below(600) } else { 20 };
        tokio::time::sleep(Duration::from_millis(rest)).await;
        let Some(looked) = in_time(world.tier.read(&[], &[])).await else { continue };
        let mut caught_up = true;
        if world.database.history() != history {
            let now = world.database.history();
            let epoch = crate::generation::Generation::fresh(&world.random);
            if in_time(world.tier.epoch(epoch, NewEpoch::Always)).await.is_none() {
                continue;
            }
            (read, history) = (0, now);
        }
        let told = world.database.messages(read);
        tokio::time::sleep(Duration::from_millis(world.below(60))).await;
        for slots in told {
            let fresh = slots.iter().map(|slot| (*slot, crate::generation::Generation::fresh(&world.random)));
            if in_time(world.tier.bump(None, &Fresh(fresh.collect()), None)).await.is_none() {
                caught_up = false;
                break;
            }
            read += 1;
        }
        let as_of = match world.leaves_out(Mutant::RelayedLate) {
            true => in_time(world.tier.read(&[], &[])).await.map_or(looked.now, |read| read.now),
            false => looked.now,
        };
        if caught_up {
            // Where it does not come through nobody trusts the tier.
            in_time(world.tier.relayed(as_of)).await;
        }
    }
}

/// A relay gives up on a tier that hangs.
async fn in_time<T>(answer: Answer<'_, T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(200), answer).await.ok().and_then(Result::ok)
}

/// Ends all trouble.
pub(super) async fn end(world: &World) {
    all_operations_are_well(world);
    world.database.pause_replay(false);
    world.database.set_unwell(false);
}

fn one_operation_is_unwell(world: &World) {
    let operation = OPERATIONS[world.below(OPERATIONS.len() as u64) as usize];
    let faults = Faults {
        slowest_request: Duration::from_millis(world.below(30)),
        slowest_answer: Duration::from_millis(world.below(30)),
        lose_request: if world.chance(0.5) { 0.3 } else { 0.0 },
        lose_answer: if world.chance(0.5) { 0.3 } else { 0.0 },
        hang: if world.chance(0.1) { 0.2 } else { 0.0 },
        refuse: None,
    };
    world.tier.set_faults(operation, faults);
}

fn all_operations_are_well(world: &World) {
    OPERATIONS.iter().for_each(|operation| world.tier.set_faults(*operation, Faults::NONE));
}

async fn is_down(world: &World) {
    OPERATIONS.iter().for_each(|operation| world.tier.set_faults(*operation, Faults::DOWN));
    // Longer where commits go on meanwhile, so that they are answered.
    let longest = if world.commits_unmarked() { 1_500 } else { 400 };
    tokio::time::sleep(Duration::from_millis(world.below(longest))).await;
    all_operations_are_well(world);
}

/// It answers reads, and no writer reaches it.
async fn hears_of_no_commit(world: &World) {
    let writes = [Operation::Mark, Operation::Bump];
    writes.iter().for_each(|operation| world.tier.set_faults(*operation, Faults::DOWN));
    tokio::time::sleep(Duration::from_millis(world.below(200))).await;
    writes.iter().for_each(|operation| world.tier.set_faults(*operation, Faults::NONE));
}

/// One process does not reach the tier for a while, which may be longer than a doubt lasts.
fn cut_off(world: &World) {
    let reach = world.reach(world.below(3) as usize);
    let lasts = Duration::from_millis(world.below(1_200));
    reach.cut_off(true);
    world.cuts_off(lasts);
    tokio::spawn(async move {
        tokio::time::sleep(lasts).await;
        reach.cut_off(false);
    });
}

fn evict(world: &World) {
    match world.chance(0.2) {
        true => world.tier.evict_epoch(),
        false => world.tier.evict_slot(Tag::row("rows", world.below(4)).slot()),
    }
}

/// The standby takes over. Each process hears of it, one after the other, before it reads from the new
/// primary.
async fn fail_over(world: &World) {
    let history = world.database.fail_over();
    let database = Arc::clone(&world.database);
    world.log().lost(|version| database.was_committed(version).1);
    for cache in world.all_caches() {
        cache.set_history(history).await;
    }
}
