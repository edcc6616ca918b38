//! When nothing is under way any more, and all has recovered, nothing that is old may be valid.

use super::actions::{self, Guard};
use super::reading;
use super::state::{Reading, State, Writing};
use super::writing;

/// Checks what a state would come to if nothing more were written.
pub(super) fn check(state: &State, without: Guard) -> Result<(), String> {
    let is_over = |at: Writing| {
        matches!(at, Writing::Never | Writing::Idle | Writing::Over | Writing::Unknown | Writing::Untold)
    };
    let reads = state.readers.iter().any(|reader| reader.at != Reading::Idle || reader.store.is_some());
    if reads || !state.writers.iter().all(|writer| is_over(writer.at)) {
        return Ok(());
    }
    let mut s = state.clone();
    recover(&mut s, without);
    let shown = s.database.shown();
    for p in 0..s.processes.len() {
        let here = s.processes[p].entry.filter(|entry| {
            s.processes[p].has_lease && reading::is_valid_here(&s.processes[p], entry, without)
        });
        let there = reading::valid_there(&mut s, p, without);
        for (tier, entry) in [("first", here), ("second", there)] {
            if let Some(entry) = entry.filter(|entry| entry.value != shown) {
                let value = entry.value;
                return Err(format!(
                    "{value:?} is valid for good in the {tier} tier, and the database has {shown:?}"
                ));
            }
        }
    }
    Ok(())
}

fn recover(s: &mut State, without: Guard) {
    s.tier.is_down = false;
    while writing::show(s) {}
    for w in 0..s.writers.len() {
        actions::learn_history(s, w, without);
        writing::tell(s, w);
        writing::give_up(s, w);
    }
    while actions::relay(s) {}
    for w in 0..s.writers.len() {
        writing::end_doubt(s, w, without);
        actions::end_quarantine(s, w);
    }
    for p in 0..s.processes.len() {
        // A look that finds an epoch of another run makes a new one; the feed tells of it.
        reading::valid_there(s, p, without);
        for _ in 0..2 {
            actions::feed(s, p, without);
        }
    }
    for p in 0..s.processes.len() {
        actions::feed(s, p, without);
    }
}
