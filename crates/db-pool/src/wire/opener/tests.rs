//! What the server and the client get of each other's messages while a transaction begins.

use db_core::{Opened, Opening};

use super::super::frames::{message, write};
use super::super::session::Session;
use super::Opener;

fn messages(texts: &[&str]) -> Vec<u8> {
    let mut all = Vec::new();
    for one in texts {
        let (tag, body) = one.split_at(1);
        write(tag.as_bytes()[0], body.replace('.', "\0").as_bytes(), &mut all);
    }
    all
}

/// Each message as its type and its body, in which a zero byte is a dot; what BEGIN is made of is one word.
fn shown(mut bytes: &[u8]) -> String {
    let mut all = Vec::new();
    while let Some((tag, body, after)) = message(bytes) {
        all.push(format!("{}{}", char::from(tag), String::from_utf8_lossy(body).replace('\0', ".")));
        bytes = after;
    }
    assert!(bytes.is_empty());
    let begin = "P.BEGIN... B........ E..... P.ASK... B........ E.....";
    let failed = all.join(" ").replace(begin, "BEGIN");
    failed.replace("ESERROR.VERROR.C25P02.Mcurrent transaction is aborted, commands ignored until end of transaction block..", "FAILED")
}

struct Connection {
    session: Session,
    opener: Opener,
}

impl Connection {
    fn that_begins() -> Self {
        let mut session = Session::default();
        session.open_with(Opening::new("BEGIN").asking("ASK"));
        Connection { session, opener: Opener::default() }
    }

    /// What the server gets.
    fn client(&mut self, ahead: usize, said: &[&str]) -> String {
        self.opener.client_said(&mut self.session, &messages(said), ahead);
        shown(&std::mem::take(&mut self.opener.stream.out.bytes))
    }

    /// What the client gets of what the server says, and what the server gets thereupon.
    fn server(&mut self, said: &[&str]) -> (String, String) {
        let all = messages(said);
        let mut rest = &all[..];
        while let Some((tag, body, after)) = message(rest) {
            self.opener.server_said(&mut self.session, tag, body);
            rest = after;
        }
        let came = shown(&std::mem::take(self.opener.stream.come.unread()));
        (came, shown(&std::mem::take(&mut self.opener.stream.out.bytes)))
    }

    /// What the client got of our own making.
    fn came(&mut self) -> String {
        shown(&std::mem::take(self.opener.stream.come.unread()))
    }

    fn begin(&self) -> Opened {
        self.session.facts().begin
    }
}

const ROW: &str = "D.\u{1}...\u{1}7";

fn both(came: &str, sent: &str) -> (String, String) {
    (came.to_owned(), sent.to_owned())
}

#[test]
fn begin_goes_with_the_first_request_and_the_rest_waits() {
    let mut conn = Connection::that_begins();
    assert_eq!(conn.begin(), Opened::Unsent);
    assert_eq!(conn.client(0, &["B.s1.", "E", "S", "B.s2.", "E", "S"]), "BEGIN B.s1. E S");
    assert_eq!((conn.begin(), conn.client(0, &["B.s3.", "E", "S"])), (Opened::Unanswered, String::new()));
    assert_eq!(conn.server(&["1", "2"]), both("", ""));
    assert_eq!(conn.server(&["CBEGIN."]), both("", "B.s2. E S B.s3. E S"));
    assert_eq!(conn.begin(), Opened::Begun);
    assert_eq!(
        conn.server(&["1", "2", ROW, "CSELECT 1.", "2", "D..", "CSELECT 1."]),
        both("2 D.. CSELECT 1.", "")
    );
    assert_eq!(conn.session.facts().opened.unwrap()[0].as_deref(), Some("7"));
    assert_eq!(conn.client(0, &["B.s4.", "E", "S"]), "B.s4. E S");
    assert_eq!(conn.server(&["ZT"]), both("ZT", ""));
    assert!(!conn.opener.is_active());
}

#[test]
fn where_begin_is_refused_nothing_behind_it_reaches_the_server() {
    let mut conn = Connection::that_begins();
    assert_eq!(conn.client(0, &["B.s1.", "E", "S", "B.s2.", "E", "S"]), "BEGIN B.s1. E S");
    assert_eq!(conn.server(&["1", "2", "Erefused", "ZI"]), both("Erefused ZE FAILED ZE", ""));
    assert_eq!(conn.begin(), Opened::Refused);
    assert_eq!(conn.client(0, &["QINSERT.", "P.x.", "S", "Q.", "QROLLBACK TO a.", "CSs1.", "S"]), "");
    assert_eq!(conn.came(), "FAILED ZE FAILED ZE I ZE FAILED ZE FAILED ZE");
    assert_eq!(conn.client(0, &["QCOMMIT."]), "");
    assert_eq!(conn.came(), "FAILED ZE");
    assert_eq!(conn.client(0, &["QROLLBACK.", "B.s1.", "E", "S"]), "B.s1. E S");
    assert_eq!((conn.came().as_str(), conn.begin()), ("CROLLBACK. ZI", Opened::Apart));
}

#[test]
fn before_a_simple_query_begin_has_a_sync_of_its_own() {
    let mut conn = Connection::that_begins();
    assert_eq!(conn.client(0, &["QINSERT.", "QCOMMIT."]), "BEGIN S");
    assert_eq!(conn.server(&["1", "2", "CBEGIN.", "1", "2", ROW, "CSELECT 1."]), both("", ""));
    assert_eq!(conn.server(&["ZT"]), both("", "QINSERT. QCOMMIT."));
    assert_eq!(conn.server(&["CINSERT 0 1.", "ZT"]), both("CINSERT 0 1. ZT", ""));
}

#[test]
fn a_refusal_before_a_simple_query_is_its_answer() {
    let mut conn = Connection::that_begins();
    assert_eq!(conn.client(0, &["QINSERT.", "QCOMMIT."]), "BEGIN S");
    assert_eq!(conn.server(&["1", "Erefused", "ZI"]), both("Erefused ZE FAILED ZE", ""));
    let mut conn = Connection::that_begins();
    assert_eq!(conn.client(0, &["QINSERT.", "QROLLBACK."]), "BEGIN S");
    let said = ["1", "2", "CBEGIN.", "1", "Enot allowed", "ZE"];
    assert_eq!(conn.server(&said), both("Enot allowed ZE", "QROLLBACK."));
    assert_eq!(conn.begin(), Opened::Begun);
}

#[test]
fn what_only_closes_or_asks_for_a_sign_of_life_begins_nothing() {
    let mut conn = Connection::that_begins();
    assert_eq!(conn.client(0, &["CSs1.", "S", "Q."]), "CSs1. S Q.");
    assert_eq!(conn.begin(), Opened::Unsent);
    assert_eq!(conn.client(2, &["CSs2.", "S", "B.s1.", "E", "S"]), "CSs2. S BEGIN B.s1. E S");
    let said = [
        "3",
        "ZI",
        "I",
        "ZI",
        "3",
        "ZI",
        "1",
        "2",
        "CBEGIN.",
        "1",
        "2",
        "CSELECT 0.",
        "2",
        "CINSERT 0 1.",
        "ZT",
    ];
    assert_eq!(conn.server(&said), both("3 ZI I ZI 3 ZI 2 CINSERT 0 1. ZT", ""));
}

#[test]
fn a_rollback_before_anything_else_asks_nothing_of_the_server() {
    let mut conn = Connection::that_begins();
    assert_eq!(conn.client(0, &["Qrollback;."]), "Q.");
    assert_eq!(conn.begin(), Opened::Apart);
    assert_eq!(conn.client(1, &["B.s1.", "E", "S"]), "B.s1. E S");
    let mut conn = Connection::that_begins();
    assert_eq!(conn.client(0, &["QROLLBACK; RESET ALL."]), "QROLLBACK; RESET ALL.");
}

#[test]
fn data_that_are_copied_in_go_out_once_the_transaction_is_open() {
    let mut conn = Connection::that_begins();
    assert_eq!(conn.client(0, &["B.copy.", "E", "S"]), "BEGIN B.copy. E S");
    assert_eq!(conn.client(0, &["drow"]), "");
    let said = ["1", "2", "CBEGIN.", "1", "2", ROW, "CSELECT 1.", "2", "G"];
    assert_eq!(conn.server(&said), both("2 G", "drow"));
    assert_eq!(conn.client(0, &["drow", "c", "S"]), "drow c S");
    assert_eq!(conn.server(&["CCOPY 2.", "ZT"]), both("CCOPY 2. ZT", ""));
}

#[test]
fn a_first_request_that_fails_leaves_a_failed_transaction() {
    let mut conn = Connection::that_begins();
    conn.client(0, &["B.s1.", "E", "S", "QROLLBACK."]);
    let said = ["1", "2", "CBEGIN.", "1", "2", ROW, "CSELECT 1.", "Eduplicate", "ZE"];
    assert_eq!(conn.server(&said), both("Eduplicate ZE", "QROLLBACK."));
    assert_eq!(conn.begin(), Opened::Begun);
}

#[test]
fn whatever_the_pieces_are_the_server_gets_the_same() {
    let all = messages(&["CSs0.", "S", "B.s1.", "E", "S", "B.s2.", "E", "S"]);
    for cut in 1..all.len() {
        let mut conn = Connection::that_begins();
        for piece in [&all[..cut], &all[cut..]] {
            conn.opener.client_said(&mut conn.session, piece, 0);
        }
        assert_eq!(shown(&conn.opener.stream.out.bytes), "CSs0. S BEGIN B.s1. E S", "{cut}");
    }
}
