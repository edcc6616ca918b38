//! What the protocol follower sees, in whatever pieces it arrives.

use super::wire::{Client, Server};
use proptest::prelude::*;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0postgres\0\0";
    [(body.len() as u32 + 4).to_be_bytes().as_slice(), body].concat()
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', format!("{sql}\0").as_bytes())
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

fn execute(portal: &str) -> Vec<u8> {
    message(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
}

/// The offsets at which COMMITs end and their batches, read in pieces of a size.
fn commits(bytes: &[u8], size: usize) -> Vec<(usize, u64)> {
    let mut client = Client::default();
    let (mut at, mut found) = (0, Vec::new());
    for piece in bytes.chunks(size) {
        let mut rest = piece;
        while !rest.is_empty() {
            let step = client.feed(rest);
            assert!(step.len > 0 && step.len <= rest.len());
            at += step.len;
            rest = &rest[step.len..];
            found.extend(step.commit.map(|batch| (at, batch)));
        }
    }
    found
}

#[track_caller]
fn check(messages: &[Vec<u8>], expected: &[(usize, u64)]) {
    let bytes = messages.concat();
    let ends: Vec<(usize, u64)> =
        expected.iter().map(|&(count, batch)| (messages[..count].concat().len(), batch)).collect();
    for size in 1..=bytes.len() {
        assert_eq!(commits(&bytes, size), ends, "in pieces of {size}");
    }
}

#[test]
fn a_commit_is_seen_at_the_end_of_the_message_that_executes_it() {
    let sync = || message(b'S', b"");
    check(&[startup(), query("BEGIN"), query("CoMmIt")], &[(3, 3)]);
    check(&[startup(), query("BEGIN; SELECT 1; COMMIT"), query("SELECT 1")], &[(2, 2)]);
    check(
        &[
            startup(),
            parse("s1", "COMMIT"),
            sync(),
            bind("", "s1"),
            execute(""),
            sync(),
            bind("", "s1"),
            execute(""),
        ],
        &[(5, 3), (8, 4)],
    );
    // Pipelined, with other work in the same batch.
    check(
        &[
            startup(),
            parse("", "SELECT 1"),
            bind("", ""),
            execute(""),
            parse("", "COMMIT"),
            bind("", ""),
            execute(""),
            sync(),
        ],
        &[(7, 2)],
    );
}

#[test]
fn a_name_that_means_something_else_by_now_is_no_commit() {
    check(&[startup(), parse("s", "COMMIT"), parse("s", "SELECT 1"), bind("", "s"), execute("")], &[]);
    check(&[startup(), parse("s", "COMMIT"), message(b'C', b"Ss\0"), bind("", "s"), execute("")], &[]);
    check(&[startup(), parse("s", "COMMIT"), bind("p", "s"), bind("p", ""), execute("p")], &[]);
    check(&[startup(), parse("s", "COMMIT"), bind("p", "s"), execute("other")], &[]);
    check(&[startup(), parse(&"n".repeat(500), "COMMIT"), bind("", &"n".repeat(500)), execute("")], &[]);
}

#[test]
fn a_refused_tls_request_is_followed_and_an_accepted_one_is_not() {
    let request = [0, 0, 0, 8, 4, 210, 22, 47];
    check(&[request.to_vec(), startup(), query("COMMIT")], &[(3, 2)]);
    check(&[request.to_vec(), vec![0x16, 3, 1], query("COMMIT")], &[]);
    check(&[vec![0x16], startup(), query("COMMIT")], &[]);
}

fn answer_of(pieces: &[&[u8]], awaited: u64) -> Vec<(usize, bool)> {
    let (mut client, mut server) = (Client::default(), Server::default());
    client.feed(&startup());
    pieces
        .iter()
        .map(|piece| {
            let answer = server.feed(&mut client, piece, Some(awaited));
            (answer.before, answer.complete)
        })
        .collect()
}

#[test]
fn what_was_asked_before_the_commit_is_still_answered() {
    let (ready, done) = (message(b'Z', b"T"), message(b'C', b"INSERT 0 1\0"));
    let first = [done.as_slice(), &ready].concat();
    let both = [first.as_slice(), &message(b'C', b"COMMIT\0"), &ready].concat();
    assert_eq!(answer_of(&[&ready, &both], 3), [(ready.len(), false), (first.len(), true)]);
    let (start, rest) = both.split_at(first.len());
    assert_eq!(answer_of(&[&ready, start, rest], 3), [(6, false), (first.len(), false), (0, true)]);
    // The whole batch of a pipelined COMMIT is held back, up to its end.
    assert_eq!(
        answer_of(&[&ready, &done, &message(b'C', b"COMMIT\0"), &ready], 2)[1..],
        [(0, false), (0, false), (0, true)]
    );
    assert_eq!(answer_of(&[&ready, &message(b'E', b"x\0")], 2)[1], (0, true));
}

proptest! {
    #[test]
    fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), size in 1_usize..64, begun: bool) {
        let mut all = if begun { startup() } else { Vec::new() };
        all.extend(&bytes);
        commits(&all, size);
        let (mut client, mut server) = (Client::default(), Server::default());
        for (index, piece) in all.chunks(size).enumerate() {
            client.feed(piece);
            let awaited = (index % 2 == 0).then_some(index as u64);
            prop_assert!(server.feed(&mut client, piece, awaited).before <= piece.len());
        }
    }

    #[test]
    fn hostile_messages_do_no_harm(
        messages in prop::collection::vec(
            (prop::sample::select(b"QPBECSFXZdfH\0".to_vec()), any::<Option<u32>>(), prop::collection::vec(any::<u8>(), 0..40)),
            0..40,
        ),
        size in 1_usize..64,
    ) {
        let mut all = startup();
        for (kind, claimed, body) in messages {
            let length = claimed.unwrap_or(body.len() as u32 + 4);
            all.extend([&[kind], length.to_be_bytes().as_slice(), &body].concat());
        }
        prop_assert_eq!(commits(&all, size), commits(&all, all.len()));
    }

    #[test]
    fn a_claimed_length_reserves_no_memory(kind: u8, claimed in 1_000_000_u32.., body in prop::collection::vec(any::<u8>(), 0..5000)) {
        let mut client = Client::default();
        client.feed(&startup());
        client.feed(&[kind]);
        client.feed(&claimed.to_be_bytes());
        client.feed(&body);
        prop_assert!(client.held_bytes() < 2000, "{} bytes", client.held_bytes());
    }
}
