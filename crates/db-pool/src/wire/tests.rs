//! The wire as a whole, fed with messages that are right and with bytes that are not.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use db_core::{Endpoint, Observe, QueryEvent, SqlState, TransactionStatus};
use proptest::prelude::*;

use super::frames::Frames;
use super::{Foreign, Wire};

/// Both directions of a connection.
struct Link {
    wire: Arc<Wire>,
    client: Frames,
    server: Frames,
}

#[derive(Default)]
struct Ear(Mutex<Vec<(String, u64, Option<SqlState>)>>);

impl Observe for Ear {
    fn on_query(&self, event: &QueryEvent<'_>) {
        let heard = (event.statement.to_owned(), event.rows.unwrap(), event.sqlstate);
        self.0.lock().unwrap().push(heard);
    }
}

impl Link {
    fn observed_by(ear: &Arc<Ear>) -> Self {
        let observers = [Arc::clone(ear) as Arc<dyn Observe>].into_iter();
        let wire = Wire::new(Endpoint::new("db", 5432), observers.collect(), true);
        Link { wire, client: Frames::of_server(), server: Frames::of_server() }
    }

    /// A link after its login.
    fn ready() -> (Self, Arc<Ear>) {
        let ear = Arc::new(Ear::default());
        let mut link = Link::observed_by(&ear);
        link.server(b'S', b"TimeZone\0UTC\0");
        link.server(b'K', &[0, 0, 0, 7, 0, 0, 0, 9]);
        link.server(b'Z', b"I");
        link.wire.session().begin();
        (link, ear)
    }

    fn client(&mut self, tag: u8, body: &[u8]) {
        self.wire.sent(&mut self.client, &message(tag, body));
    }

    fn server(&mut self, tag: u8, body: &[u8]) {
        self.wire.received(&mut self.server, &message(tag, body));
    }

    fn status(&self) -> (TransactionStatus, usize, bool) {
        let session = self.wire.session();
        (session.status, session.unanswered(), session.is_clean())
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

#[test]
fn a_request_is_unanswered_until_the_server_is_ready_for_the_next() {
    let (mut link, ear) = Link::ready();
    link.client(b'P', b"s0\0SELECT $1\0\0\0");
    link.client(b'S', b"");
    assert_eq!(link.status(), (TransactionStatus::Idle, 1, false));
    link.server(b'1', b"");
    link.server(b'Z', b"I");
    assert_eq!(link.status(), (TransactionStatus::Idle, 0, true));
    for _ in 0..2 {
        link.client(b'B', b"\0s0\0\0\0\0\0\0\0");
        link.client(b'E', b"\0\0\0\0\0");
        link.client(b'S', b"");
    }
    link.server(b'D', b"\0\0");
    link.server(b'D', b"\0\0");
    link.server(b'C', b"SELECT 2\0");
    assert_eq!(link.status().1, 2);
    link.server(b'Z', b"I");
    link.server(b'E', b"C22012\0Mdivision by zero\0\0");
    link.server(b'Z', b"I");
    assert_eq!(link.status(), (TransactionStatus::Idle, 0, true));
    let zero = Some("22012".parse().unwrap());
    assert_eq!(
        *ear.0.lock().unwrap(),
        [("SELECT $1".to_owned(), 2, None), ("SELECT $1".to_owned(), 0, zero)]
    );
}

#[test]
fn what_a_request_wrote_is_counted_over_its_statements() {
    let (mut link, _) = Link::ready();
    let written = Arc::new(Mutex::new(Vec::new()));
    struct Written(Arc<Mutex<Vec<Option<u64>>>>);
    impl Observe for Written {
        fn on_query(&self, event: &QueryEvent<'_>) {
            self.0.lock().unwrap().push(event.written);
        }
    }
    let observer = [Arc::new(Written(Arc::clone(&written))) as Arc<dyn Observe>].into_iter();
    link.wire = Wire::new(Endpoint::new("db", 5432), observer.collect(), true);
    link.server(b'Z', b"I");
    link.wire.session().begin();
    for tags in [
        &[&b"INSERT 0 18446744073709551615\0"[..]][..],
        &[b"UPDATE 0\0"],
        &[b"SELECT 7\0"],
        &[b"UPDATE 2\0", b"DELETE 3\0"],
    ] {
        link.client(b'Q', b"whatever\0");
        tags.iter().for_each(|tag| link.server(b'C', tag));
        link.server(b'Z', b"I");
    }
    assert_eq!(*written.lock().unwrap(), [Some(u64::MAX), Some(0), None, Some(5)]);
}

#[test]
fn a_message_that_is_written_in_pieces_was_sent_with_the_first() {
    let (mut link, _) = Link::ready();
    let bytes = message(b'Q', b"SELECT 1\0");
    let (first, rest) = bytes.split_at(7);
    link.wire.sent(&mut link.client, first);
    let between = Instant::now();
    link.wire.sent(&mut link.client, rest);
    assert!(link.wire.session().requests[0].sent <= between);
    link.client(b'Q', b"SELECT 2\0");
    link.server(b'Z', b"I");
    assert!(link.wire.session().waiting_since().unwrap() >= between, "the next one begins by itself");
}

#[test]
fn copying_in_is_one_request_although_it_has_two_syncs() {
    let (mut link, _) = Link::ready();
    for (tag, body) in
        [(b'P', &b"\0COPY t FROM STDIN\0\0\0"[..]), (b'B', b"\0\0\0\0\0\0\0\0"), (b'E', b"\0\0\0\0\0")]
    {
        link.client(tag, body);
    }
    link.client(b'S', b"");
    for (tag, body) in [(b'1', &b""[..]), (b'2', b""), (b'G', b"\0\0\0")] {
        link.server(tag, body);
    }
    link.client(b'd', b"1\n");
    link.client(b'c', b"");
    link.client(b'S', b"");
    assert_eq!(link.status().1, 1);
    link.server(b'C', b"COPY 1\0");
    link.server(b'Z', b"I");
    assert_eq!(link.status(), (TransactionStatus::Idle, 0, true));
    // As text it has none, and the next Sync is the next request's.
    link.client(b'Q', b"COPY t FROM STDIN\0");
    link.server(b'G', b"\0\0\0");
    link.client(b'c', b"");
    link.server(b'C', b"COPY 0\0");
    link.server(b'Z', b"I");
    link.client(b'P', b"s0\0SELECT 1\0\0\0");
    link.client(b'S', b"");
    assert_eq!(link.status().1, 1);
}

#[test]
fn closing_a_statement_makes_nobody_wait() {
    let (mut link, _) = Link::ready();
    link.client(b'C', b"Ss0\0");
    link.client(b'S', b"");
    assert_eq!(link.status(), (TransactionStatus::Idle, 0, true));
}

#[test]
fn the_first_error_of_a_transaction_is_remembered_until_the_next_begins() {
    let (mut link, _) = Link::ready();
    let mut ask = |sql: &[u8], answers: &[(u8, &[u8])]| {
        link.client(b'Q', sql);
        answers.iter().for_each(|(tag, body)| link.server(*tag, body));
        link.wire.session().failed_with.map(|code| code.to_string())
    };
    assert_eq!(ask(b"BEGIN\0", &[(b'Z', b"T")]), None);
    let deadlock: (u8, &[u8]) = (b'E', b"C40P01\0Mdeadlock detected\0\0");
    assert_eq!(ask(b"UPDATE t\0", &[deadlock, (b'Z', b"E")]).as_deref(), Some("40P01"));
    let aborted: (u8, &[u8]) = (b'E', b"C25P02\0Mcurrent transaction is aborted\0\0");
    assert_eq!(ask(b"SELECT 1\0", &[aborted, (b'Z', b"E")]).as_deref(), Some("40P01"));
    assert_eq!(ask(b"ROLLBACK\0", &[(b'Z', b"I")]).as_deref(), Some("40P01"));
    assert_eq!(ask(b"BEGIN\0", &[(b'Z', b"T")]), None);
}

#[test]
fn a_request_that_has_failed_is_unanswered_and_needs_no_cancel() {
    let (mut link, _) = Link::ready();
    link.client(b'Q', b"SELECT 1 / 0\0");
    assert_eq!(link.wire.session().foreign(), Foreign::Something);
    link.server(b'E', b"SERROR\0C22012\0Mdivision by zero\0\0");
    assert_eq!((link.status().1, link.wire.session().foreign()), (1, Foreign::Nothing));
    link.client(b'Q', b"SELECT 1\0");
    assert_eq!(link.wire.session().foreign(), Foreign::Something, "the next one may be at work");
}

#[test]
fn settings_that_the_server_reports_are_left_behind_until_they_are_as_before() {
    let (mut link, _) = Link::ready();
    link.server(b'S', b"TimeZone\0Asia/Tokyo\0");
    assert!(link.wire.session().leftover().state && !link.status().2);
    link.server(b'S', b"TimeZone\0UTC\0");
    assert!(link.status().2);
}

#[test]
fn what_makes_no_sense_is_not_relied_on() {
    for nonsense in [(b'Z', &b"X"[..]), (b'Z', b""), (b'Z', b"I")] {
        let (mut link, _) = Link::ready();
        link.server(nonsense.0, nonsense.1);
        assert!(link.wire.session().is_broken(), "{nonsense:?}: an answer to nothing, or no answer");
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_and_it_keeps_no_more_than_it_must(
        messages in prop::collection::vec(
            (any::<bool>(), prop::sample::select(&b"QPBECSFDZKENTtnsGHWAIR123dcfpX\0\xff"[..]), prop::collection::vec(any::<u8>(), 0..40)),
            0..60,
        ),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (mut link, _) = Link::ready();
        for (from_client, tag, body) in &messages {
            if *from_client { link.client(*tag, body) } else { link.server(*tag, body) }
        }
        link.wire.sent(&mut link.client, &noise);
        link.wire.received(&mut link.server, &noise);
        let sent = messages.iter().filter(|(from_client, ..)| *from_client).count();
        prop_assert!(link.wire.session().unanswered() <= sent + noise.len());
        link.wire.ended(false);
        prop_assert_eq!(link.wire.session().unanswered(), 0);
    }
}

#[test]
fn a_long_message_is_waited_for_when_it_is_written_and_has_had_time_to_arrive() {
    let (mut link, _) = Link::ready();
    link.client(b'P', b"s\0SELECT length($1)\0\0\0");
    link.client(b'S', b"");
    for (tag, body) in [(b'1', &b""[..]), (b'Z', b"I")] {
        link.server(tag, body);
    }
    let bind = message(b'B', &[&b"\0s\0\0\0\0\x01\0\x01\0\0"[..], &vec![7; 100_000]].concat());
    let began = Instant::now();
    link.wire.sent(&mut link.client, &bind[..50_000]);
    assert_eq!(link.wire.session().waiting_since(), None, "nobody can answer it yet");
    // The network takes its time, counted from when the first bytes were surely seen.
    let seen = Instant::now();
    while seen.elapsed().as_millis() < 5 {}
    link.wire.sent(&mut link.client, &bind[50_000..]);
    link.client(b'E', b"\0\0\0\0\0");
    link.client(b'S', b"");
    let session = link.wire.session();
    assert!(session.requests[0].sent.elapsed().as_millis() >= 5, "its time begins with its first byte");
    let since = session.waiting_since().unwrap();
    assert!(since.saturating_duration_since(began).as_millis() >= 10, "{:?}", since - began);
}
