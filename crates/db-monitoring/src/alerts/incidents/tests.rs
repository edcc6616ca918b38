//! Looks in, messages out.

use std::time::UNIX_EPOCH;

use super::*;
use crate::alerts::Silence;

struct Story {
    incidents: Incidents,
    config: AlertConfig,
    start: Instant,
}

impl Story {
    fn new() -> Self {
        let second = Duration::from_secs(1);
        let config =
            AlertConfig { raise_after: 30 * second, resolve_after: 60 * second, ..AlertConfig::default() };
        Story { incidents: Incidents::default(), config, start: Instant::now() }
    }

    /// One look at `seconds`; what is told, as `incident:what`.
    fn look(&mut self, seconds: u64, levels: &[(&str, Level)]) -> Vec<String> {
        let readings: Vec<_> =
            levels.iter().map(|(key, level)| Reading::new(*key, *level, "title")).collect();
        let after = Duration::from_secs(seconds);
        let told = self.incidents.step(&readings, &self.config, self.start + after, UNIX_EPOCH + after);
        told.iter().map(Told::id).collect()
    }
}

const NOTHING: [String; 0] = [];

#[test]
fn a_condition_is_raised_once_it_has_lasted_and_resolved_once_it_is_calm() {
    let mut story = Story::new();
    assert_eq!(story.look(0, &[("a", Level::Warning)]), NOTHING);
    assert_eq!(story.look(20, &[("a", Level::Fine)]), NOTHING);
    assert_eq!(story.look(21, &[("a", Level::Warning)]), NOTHING);
    assert_eq!(story.look(50, &[("a", Level::Warning)]), NOTHING, "29 s");
    assert_eq!(story.look(51, &[("a", Level::Warning)]), ["a#1:raised"]);
    assert_eq!(story.look(52, &[("a", Level::Fine)]), NOTHING);
    assert_eq!(story.look(100, &[("a", Level::Between)]), NOTHING, "not calm");
    assert_eq!(story.look(112, &[("a", Level::Fine)]), NOTHING);
    assert_eq!(story.look(171, &[("a", Level::Fine)]), NOTHING, "59 s");
    assert_eq!(story.look(172, &[("a", Level::Fine)]), ["a#1:resolved"]);
    assert_eq!(story.look(173, &[("a", Level::Fine)]), NOTHING);
    story.look(200, &[("a", Level::Critical)]);
    assert_eq!(story.look(230, &[("a", Level::Critical)]), ["a#2:raised"]);
}

#[test]
fn a_graver_one_is_told_again_when_it_has_lasted_and_never_less_grave() {
    let mut story = Story::new();
    story.look(0, &[("a", Level::Warning)]);
    assert_eq!(story.look(30, &[("a", Level::Critical)]), ["a#1:raised"]);
    assert!(!story.incidents.open()[0].open.critical, "it has not been critical for long");
    assert_eq!(story.look(60, &[("a", Level::Critical)]), ["a#1:graver"]);
    assert_eq!(story.look(61, &[("a", Level::Warning)]), NOTHING);
    assert_eq!(story.look(99, &[("a", Level::Critical)]), NOTHING);
}

#[test]
fn what_cannot_be_known_raises_nothing_resolves_nothing_and_stays_one_incident() {
    let mut story = Story::new();
    story.look(0, &[("a", Level::Warning), ("b", Level::Warning)]);
    assert_eq!(story.look(30, &[("a", Level::Warning), ("b", Level::Unknown)]), ["a#1:raised"]);
    for second in 31..5_000 {
        assert_eq!(story.look(second, &[("a", Level::Unknown)]), NOTHING);
    }
    assert!(story.incidents.open()[0].is_unknown);
    assert_eq!(story.look(5_000, &[("a", Level::Warning), ("b", Level::Warning)]), NOTHING);
    assert_eq!(story.look(5_029, &[("a", Level::Warning), ("b", Level::Warning)]), NOTHING);
    assert_eq!(story.look(5_030, &[("a", Level::Fine), ("b", Level::Warning)]), ["b#1:raised"]);
    assert_eq!(story.look(5_090, &[("a", Level::Fine), ("b", Level::Unknown)]), ["a#1:resolved"]);
}

#[test]
fn what_nobody_looks_at_any_more_ends_after_a_day() {
    let mut story = Story::new();
    story.look(0, &[("a", Level::Warning)]);
    story.look(30, &[("a", Level::Warning)]);
    assert_eq!(story.look(30 + 86_399, &[]), NOTHING);
    assert_eq!(story.look(30 + 86_400, &[]), ["a#1:resolved"]);
}

#[test]
fn what_is_silenced_is_told_after_the_silence_or_not_at_all() {
    let mut story = Story::new();
    story.config.silences = vec![Silence::parse("a* @ 1970-01-01T00:01:00Z..1970-01-01T00:10:00Z").unwrap()];
    let bad = [("a1", Level::Warning), ("a2", Level::Warning), ("b", Level::Critical)];
    story.look(60, &bad);
    assert_eq!(story.look(90, &bad), ["b#1:raised"]);
    assert_eq!(story.look(91, &[("a1", Level::Fine), bad[1], bad[2]]), NOTHING);
    assert_eq!(story.look(151, &[("a1", Level::Fine), bad[1], bad[2]]), NOTHING, "nobody knew of it");
    assert_eq!(story.look(600, &bad), ["a2#1:raised"]);
}

#[test]
fn a_silence_acknowledges_what_was_told_and_its_end_is_told_even_so() {
    let mut story = Story::new();
    story.config.silences = vec![Silence::parse("* @ 1970-01-01T00:01:00Z..1970-01-01T00:10:00Z").unwrap()];
    story.look(0, &[("a", Level::Critical)]);
    assert_eq!(story.look(30, &[("a", Level::Critical)]), ["a#1:raised"]);
    assert_eq!(story.look(60, &[("a", Level::Critical)]), ["a#1:acknowledged"]);
    assert_eq!(story.look(61, &[("a", Level::Critical)]), NOTHING);
    story.look(62, &[("a", Level::Fine)]);
    assert_eq!(story.look(122, &[("a", Level::Fine)]), ["a#1:resolved"]);
}

#[test]
fn the_gravest_go_first_and_ends_last() {
    let mut story = Story::new();
    story.look(0, &[("over", Level::Critical)]);
    story.look(30, &[("over", Level::Critical)]);
    let levels = [("over", Level::Fine), ("w", Level::Warning), ("c", Level::Critical)];
    story.look(31, &levels);
    assert_eq!(story.look(91, &levels), ["c#1:raised", "w#1:raised", "over#1:resolved"]);
}

#[test]
fn after_a_restart_an_incident_is_the_same_one() {
    let mut story = Story::new();
    story.look(0, &[("a", Level::Warning)]);
    story.look(30, &[("a", Level::Warning)]);
    let (number, open) = story.incidents.kept("a").map(|(number, open)| (number, open.cloned())).unwrap();
    let mut after = Story::new();
    after.incidents.take_in("a", number, open);
    assert_eq!(after.look(0, &[("a", Level::Warning)]), NOTHING);
    assert_eq!(after.look(60, &[("a", Level::Warning)]), NOTHING, "it was told");
    after.look(61, &[("a", Level::Fine)]);
    assert_eq!(after.look(121, &[("a", Level::Fine)]), ["a#1:resolved"]);
}
