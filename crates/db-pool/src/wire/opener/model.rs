//! The opener between a client that asks anything in any order and a server that refuses anything: each
//! request is answered once and in order, and nothing runs outside the transaction.

use db_core::{Opened, Opening};
use proptest::prelude::*;

use super::super::frames::{Frame, message, write};
use super::super::session::Session;
use super::Opener;

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ask {
    /// A prepared statement is bound and run.
    Run,
    /// One is prepared.
    Prepare,
    /// One is closed.
    Close,
    /// A query as text.
    Text,
    /// The sign of life.
    Empty,
    Rollback,
}

impl Ask {
    fn bytes(self, number: usize) -> Vec<u8> {
        let mut all = Vec::new();
        match self {
            Ask::Run => {
                write(b'B', b"\0s1\0\0\0\0\0\0\0", &mut all);
                write(b'E', format!("{number}\0\0\0\0\0").as_bytes(), &mut all);
                write(b'S', &[], &mut all);
            }
            Ask::Prepare => {
                write(b'P', b"s2\0SELECT 2\0\0\0", &mut all);
                write(b'S', &[], &mut all);
            }
            Ask::Close => {
                write(b'C', b"Ss1\0", &mut all);
                write(b'S', &[], &mut all);
            }
            Ask::Text => write(b'Q', format!("INSERT {number}\0").as_bytes(), &mut all),
            Ask::Empty => write(b'Q', b"\0", &mut all),
            Ask::Rollback => write(b'Q', b"ROLLBACK\0", &mut all),
        }
        all
    }
}

/// A server, as far as messages go: what it refuses is drawn.
#[derive(Default)]
struct Server {
    came: Vec<u8>,
    is_open: bool,
    has_failed: bool,
    /// After an error of the extended protocol, until the next Sync.
    skips: bool,
    sql: String,
    /// Statements of the client that ran while no transaction was open, since BEGIN was to go out.
    outside: usize,
    /// Statements that ran, in their order.
    ran: Vec<String>,
    refuses: Vec<bool>,
    warnings: usize,
}

impl Server {
    fn refuses(&mut self) -> bool {
        self.refuses.pop().unwrap_or(false)
    }

    /// Reads what came and answers.
    fn answer(&mut self) -> Vec<u8> {
        let came = std::mem::take(&mut self.came);
        let (mut rest, mut out) = (&came[..], Vec::new());
        while let Some((tag, body, after)) = message(rest) {
            rest = after;
            if tag == b'S' {
                self.skips = false;
                self.ready(&mut out);
            } else if tag == b'Q' {
                let sql = String::from_utf8_lossy(&body[..body.len() - 1]).into_owned();
                self.text(&sql, &mut out);
                self.ready(&mut out);
            } else if !self.skips {
                self.extended(tag, body, &mut out);
            }
        }
        self.came = rest.to_vec();
        out
    }

    fn extended(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        match tag {
            b'P' => {
                let sql = String::from_utf8_lossy(body).split('\0').nth(1).unwrap().to_owned();
                if self.has_failed || self.refuses() {
                    return self.fail(out);
                }
                self.sql = sql;
                write(b'1', &[], out);
            }
            b'B' => {
                if !body.starts_with(b"\0\0") {
                    self.sql = "client".to_owned();
                }
                if self.has_failed {
                    return self.fail(out);
                }
                write(b'2', &[], out);
            }
            b'E' => {
                if self.has_failed || self.refuses() {
                    return self.fail(out);
                }
                match self.sql.as_str() {
                    "BEGIN" => self.is_open = true,
                    "ASK" => write(b'D', b"\0\x01\0\0\0\x017", out),
                    _ => self.runs(String::from_utf8_lossy(&body[..body.len() - 5]).into_owned()),
                }
                write(b'C', format!("{}\0", self.sql).as_bytes(), out);
            }
            b'C' => write(b'3', &[], out),
            _ => unreachable!("{tag}"),
        }
    }

    fn text(&mut self, sql: &str, out: &mut Vec<u8>) {
        match sql {
            "" => write(b'I', &[], out),
            "ROLLBACK" => {
                self.warnings += usize::from(!self.is_open);
                (self.is_open, self.has_failed) = (false, false);
                write(b'C', b"ROLLBACK\0", out);
            }
            _ if self.has_failed || self.refuses() => {
                self.fail(out);
                self.skips = false;
            }
            _ => {
                self.runs(sql.trim_start_matches("INSERT ").to_owned());
                write(b'C', b"INSERT 0 1\0", out);
            }
        }
    }

    fn runs(&mut self, what: String) {
        self.outside += usize::from(!self.is_open);
        self.ran.push(what);
    }

    fn fail(&mut self, out: &mut Vec<u8>) {
        self.skips = true;
        self.has_failed = self.is_open;
        write(b'E', b"SERROR\0VERROR\0C22012\0Mrefused\0\0", out);
    }

    fn ready(&self, out: &mut Vec<u8>) {
        let status = match (self.is_open, self.has_failed) {
            (false, _) => b"I",
            (true, false) => b"T",
            (true, true) => b"E",
        };
        write(b'Z', status, out);
    }
}

/// The client's end, with the tap's account of it.
struct Client {
    session: Session,
    opener: Opener,
    /// Answers that came: whether each was an error, and the status after it.
    answers: Vec<(bool, u8)>,
    failed: bool,
}

impl Client {
    fn write(&mut self, bytes: &[u8], server: &mut Server) {
        let waiting = super::stream::requests_in(&self.opener.held);
        let ahead = self.session.requests.len().saturating_sub(waiting);
        self.opener.client_said(&mut self.session, bytes, ahead);
        self.tell(bytes, true);
        server.came.append(&mut self.opener.stream.out.bytes);
        self.read();
    }

    /// The server's answers, as many bytes as there are.
    fn hear(&mut self, bytes: &[u8], server: &mut Server) {
        let mut rest = bytes;
        while let Some((tag, body, after)) = message(rest) {
            self.opener.server_said(&mut self.session, tag, body);
            self.read();
            rest = after;
        }
        if self.opener.batch_is_off(&self.session) {
            let waiting = super::stream::requests_in(&self.opener.held);
            let ahead = self.session.requests.len().saturating_sub(waiting);
            self.opener.go_on(&mut self.session, ahead, false);
        }
        server.came.append(&mut self.opener.stream.out.bytes);
        self.read();
    }

    fn read(&mut self) {
        let came = std::mem::take(self.opener.stream.come.unread());
        self.tell(&came, false);
        let mut rest = &came[..];
        while let Some((tag, body, after)) = message(rest) {
            match tag {
                b'E' => self.failed = true,
                b'Z' => self.answers.push((std::mem::take(&mut self.failed), body[0])),
                _ => {}
            }
            rest = after;
        }
    }

    fn tell(&mut self, bytes: &[u8], from_client: bool) {
        let mut rest = bytes;
        while let Some((tag, body, after)) = message(rest) {
            let frame = Frame { tag, count: 1, len: body.len() + 5, body };
            if from_client {
                self.session.client_said(frame);
            } else {
                self.session.server_said(frame);
            }
            rest = after;
        }
    }
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let ask = prop_oneof![
        6 => Just(Ask::Run),
        1 => Just(Ask::Prepare),
        1 => Just(Ask::Close),
        2 => Just(Ask::Text),
        1 => Just(Ask::Empty),
        1 => Just(Ask::Rollback),
    ];
    prop::collection::vec(ask, 1..9)
}

fn run(
    asks: &[Ask],
    ahead: &[Ask],
    refuses: &[bool],
    reads: &[bool],
    batch: Option<usize>,
) -> (Client, Server) {
    let mut client =
        Client { session: Session::default(), opener: Opener::default(), answers: Vec::new(), failed: false };
    let mut server = Server::default();
    client.tell(&[b'Z', 0, 0, 0, 5, b'I'], false);
    let mut prepare = Vec::new();
    write(b'P', b"s1\0INSERT\0\0\0", &mut prepare);
    write(b'S', &[], &mut prepare);
    client.write(&prepare, &mut server);
    // What was asked before and is not answered.
    for ask in ahead {
        client.write(&ask.bytes(0), &mut server);
    }
    let opening = Opening::new("BEGIN").asking("ASK");
    client.session.open_with(match batch {
        Some(statements) => opening.batch(statements),
        None => opening,
    });
    let earlier = server.answer();
    server.refuses = refuses.to_vec();
    server.outside = 0;
    let mut reads = reads.iter().cycle();
    let mut answers = earlier;
    for (number, ask) in asks.iter().enumerate() {
        client.write(&ask.bytes(number + 1), &mut server);
        if *reads.next().unwrap_or(&true) {
            client.hear(&std::mem::take(&mut answers), &mut server);
            answers = server.answer();
        }
    }
    for _ in 0..asks.len() + 4 {
        client.hear(&std::mem::take(&mut answers), &mut server);
        answers = server.answer();
    }
    (client, server)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn each_request_is_answered_once_and_nothing_runs_before_begin(
        asks in asks(),
        ahead in prop::collection::vec(Just(Ask::Close), 0..3),
        refuses in prop::collection::vec(prop::bool::weighted(0.2), 0..12),
        reads in prop::collection::vec(any::<bool>(), 1..6),
    ) {
        let (client, server) = run(&asks, &ahead, &refuses, &reads, None);
        prop_assert_eq!(client.answers.len(), 1 + ahead.len() + asks.len(), "each has its answer");
        prop_assert!(client.session.requests.is_empty(), "the tap counts as the client does");
        prop_assert!(client.opener.held.is_empty(), "nothing is kept");
        // Behind the client's own ROLLBACK there is no transaction, and it may run what it likes.
        let until = asks.iter().position(|ask| *ask == Ask::Rollback).unwrap_or(asks.len());
        let inside = server.ran.iter().filter(|number| number.parse().is_ok_and(|number: usize| (1..=until).contains(&number)));
        let answered = client.answers[1 + ahead.len()..][..until].iter().zip(&asks);
        let fine = answered.filter(|((failed, _), ask)| !failed && matches!(ask, Ask::Run | Ask::Text)).count();
        prop_assert_eq!(inside.count(), fine, "what ran is what was answered without an error");
        if until == asks.len() {
            prop_assert_eq!(server.outside, 0, "a statement ran outside");
        }
        prop_assert_eq!(server.warnings <= asks.iter().filter(|ask| **ask == Ask::Rollback).count(), true);
    }

    #[test]
    fn a_batch_is_answered_as_its_statements_are_and_is_all_or_nothing(
        statements in 1_usize..6,
        refuses in prop::collection::vec(prop::bool::weighted(0.1), 0..12),
        reads in prop::collection::vec(any::<bool>(), 1..6),
    ) {
        let (client, server) = run(&vec![Ask::Run; statements], &[], &refuses, &reads, Some(statements));
        prop_assert_eq!(client.answers.len(), 1 + statements);
        prop_assert!(client.session.requests.is_empty() && client.opener.held.is_empty());
        let failed = client.answers[1..].iter().position(|(failed, _)| *failed);
        let fine = failed.unwrap_or(statements);
        prop_assert_eq!(server.ran.len(), fine, "those behind the first that failed did not run");
        prop_assert!(client.answers[1 + fine..].iter().all(|(failed, _)| *failed));
        let became = if failed.is_some() { Opened::RolledBack } else { Opened::Committed };
        prop_assert_eq!(client.session.facts().begin, became);
        prop_assert_eq!(client.answers.last().unwrap().1, b'I');
    }

    #[test]
    fn a_batch_that_is_none_runs_in_a_transaction(
        first in 0_usize..4,
        between in prop::sample::select(vec![Ask::Prepare, Ask::Text, Ask::Empty]),
        then in prop::collection::vec(prop::sample::select(vec![Ask::Run, Ask::Prepare, Ask::Text]), 0..5),
        refuses in prop::collection::vec(prop::bool::weighted(0.2), 0..12),
        reads in prop::collection::vec(any::<bool>(), 1..6),
    ) {
        let asks = [vec![Ask::Run; first], vec![between], then].concat();
        // One more than come: something else is always among them.
        let (client, server) = run(&asks, &[], &refuses, &reads, Some(first + 1));
        prop_assert!(client.session.requests.is_empty() && client.opener.held.is_empty());
        prop_assert_eq!(client.answers.len(), 1 + asks.len());
        prop_assert_eq!(server.outside, 0, "a statement ran outside");
    }
}
