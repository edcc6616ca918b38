//! The kinds of lag that mislead: an idle primary, a dead receiver, a paused replay, clocks that differ.

use super::*;

fn streaming(end: i64, message_age: f64) -> WalReceiver {
    WalReceiver {
        status: Some("streaming".to_owned()),
        latest_end: Some(end),
        last_message_age: Some(message_age),
        ..WalReceiver::default()
    }
}

fn at(received: i64, replayed: i64) -> ReplicationPosition {
    // The last transaction is an hour old by a clock that is wrong: it must not matter.
    ReplicationPosition {
        in_recovery: true,
        received: Some(received),
        replayed: Some(replayed),
        last_replayed_age: Some(3_600.0),
        ..ReplicationPosition::default()
    }
}

#[test]
fn an_idle_primary_makes_no_lag_and_a_wrong_clock_neither() {
    let mut positions = Positions::default();
    for second in 0..100 {
        let lag = positions.of_standby(f64::from(second), &at(500, 500), Some(&streaming(500, 5.0)));
        assert_eq!((lag.state, lag.seconds, lag.bytes), (LagState::CaughtUp, Some(0.0), Some(0)));
    }
}

#[test]
fn a_dead_receiver_is_as_late_as_it_has_been_dead() {
    let mut positions = Positions::default();
    positions.of_standby(10.0, &at(500, 500), Some(&streaming(500, 0.1)));
    let lag = positions.of_standby(25.0, &at(500, 500), None);
    assert_eq!((lag.state, lag.seconds, lag.at_least), (LagState::NoReceiver, Some(15.0), true));
    assert_eq!(lag.bytes, None, "what it lacks cannot be known");
    // A receiver that hears nothing more is as dead.
    let lag = positions.of_standby(50.0, &at(500, 500), Some(&streaming(500, 39.0)));
    assert_eq!((lag.state, lag.seconds), (LagState::NoReceiver, Some(40.0)));
}

#[test]
fn a_paused_replay_grows_late_from_the_first_byte_it_lacks() {
    let mut positions = Positions::default();
    positions.of_standby(10.0, &at(500, 500), Some(&streaming(500, 0.1)));
    let paused = |received| ReplicationPosition { replay_paused: Some(true), ..at(received, 500) };
    positions.of_standby(12.0, &paused(600), Some(&streaming(600, 0.1)));
    let lag = positions.of_standby(30.0, &paused(900), Some(&streaming(900, 0.1)));
    assert_eq!((lag.state, lag.seconds, lag.bytes), (LagState::Paused, Some(18.0), Some(400)));
}

#[test]
fn a_standby_that_stands_still_is_late_whatever_the_server_measured_last() {
    let mut positions = Positions::default();
    positions.note(0.0, 100);
    positions.note(1.0, 200);
    let stuck = Sender { replayed: Some(100), replay_lag: Some(0.01), ..Sender::default() };
    let lag = positions.of_sender(61.0, &stuck);
    assert_eq!((lag.seconds, lag.bytes, lag.at_least), (Some(60.0), Some(100), false));
    // It was late before anybody looked: the server's own figure reaches further.
    let late = Sender { replayed: Some(50), replay_lag: Some(500.0), ..Sender::default() };
    assert_eq!(positions.of_sender(61.0, &late).seconds, Some(500.0));
}

#[test]
fn a_position_that_goes_back_begins_anew() {
    let mut positions = Positions::default();
    positions.note(0.0, 1_000);
    positions.note(50.0, 400);
    let sender = Sender { replayed: Some(300), ..Sender::default() };
    assert_eq!(positions.of_sender(51.0, &sender).seconds, Some(1.0));
}

#[test]
fn behind_a_standby_lag_is_counted_from_what_that_heard_of_the_primary() {
    let mut positions = Positions::default();
    positions.of_standby(0.0, &at(500, 500), Some(&streaming(500, 0.1)));
    // The one between has received nothing itself yet, but its primary says that there is more.
    positions.of_standby(10.0, &at(500, 500), Some(&streaming(900, 0.1)));
    let below = Sender { replayed: Some(500), ..Sender::default() };
    let lag = positions.of_sender(40.0, &below);
    assert_eq!((lag.state, lag.seconds, lag.bytes), (LagState::Behind, Some(30.0), Some(400)));
}
