//! Writes the caller's span into the server's log: the session is called by it for as long as one transaction
//! lasts.
//!
//! Source: the PostgreSQL manual, "SET" and "Extended Query". Behind a BEGIN goes `SET LOCAL
//! application_name`, in the same message. Before a statement outside a transaction goes `set_config(…,
//! true)`, up to the same Sync, so that both are in one transaction of their own. Either way the server takes
//! it back at the end, whatever the end is. It costs no round trip and prepares nothing by name; the answers
//! are kept from the client.

use std::collections::VecDeque;

use db_core::TraceLink;

use super::frames::{message, text, write};
use super::tokens::{Token, Tokens};

/// What was sent with a label and is not answered.
#[derive(Default)]
pub(super) struct Labels {
    pending: VecDeque<Pending>,
}

/// A request that carries a label.
struct Pending {
    /// So many requests before it are not answered.
    ahead: usize,
    next: Next,
}

/// What of the label is answered next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Parsed,
    Bound,
    Ran,
    /// BEGIN, whose answer is the client's.
    Begun,
    Set,
    Nothing,
}

/// Where a session stands when a client writes to it, at the beginning of a request.
pub(super) struct Standing<'a> {
    pub(super) link: TraceLink,
    /// What the session is called without a label.
    pub(super) name: &'a str,
    /// Requests that are not answered.
    pub(super) unanswered: usize,
    /// Whether the next request is known to begin outside a transaction.
    pub(super) outside: bool,
}

impl Labels {
    /// Whether answers are yet to come that the client does not wait for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes what the client's whole requests become; `text_of` knows the statements that are prepared.
    pub(super) fn client_said<'t>(
        &mut self,
        standing: &Standing<'_>,
        text_of: impl Fn(&str) -> Option<&'t str>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Standing { link, name, mut unanswered, mut outside } = *standing;
        let (mut rest, mut at_start, mut labelled) = (bytes, true, false);
        while let Some((tag, body, after)) = message(rest) {
            let whole = &rest[..rest.len() - after.len()];
            rest = after;
            let mut written = false;
            match tag {
                b'Q' => {
                    if let Some((sql, _)) = text(body).filter(|(sql, _)| at_start && is_begin(sql)) {
                        let label = link.label(name);
                        let set = format!("{sql}\n; SET LOCAL application_name = '{label}'\0");
                        write(b'Q', set.as_bytes(), out);
                        self.pending.push_back(Pending { ahead: unanswered, next: Next::Begun });
                        written = true;
                    }
                    outside = false;
                }
                b'P' | b'B' if at_start => {
                    let (first, second) = match text(body) {
                        Some((first, rest)) => (first, text(rest).map_or("", |(second, _)| second)),
                        None => ("", ""),
                    };
                    let sql = match tag {
                        b'B' => text_of(second).unwrap_or_default(),
                        _ if first.is_empty() => second,
                        // It is prepared, and runs later.
                        _ => "",
                    };
                    if outside && is_plain(sql) {
                        set_for_one_statement(&link.label(name), out);
                        self.pending.push_back(Pending { ahead: unanswered, next: Next::Parsed });
                        labelled = true;
                    }
                }
                // It may begin a transaction.
                b'E' => outside &= labelled,
                // Data are copied in, and what answers what is not simple any more.
                b'd' | b'c' | b'f' | b'F' => {
                    out.extend_from_slice(whole);
                    break;
                }
                _ => {}
            }
            if !written {
                out.extend_from_slice(whole);
            }
            at_start = matches!(tag, b'S' | b'Q');
            labelled &= !at_start;
            unanswered += usize::from(at_start);
        }
        out.extend_from_slice(rest);
    }

    /// Whether a message of the server must be there as a whole before it is passed on.
    pub(super) fn is_of_interest(&self, tag: u8) -> bool {
        let Some(next) = self.next() else { return false };
        match tag {
            b'1' => next == Next::Parsed,
            b'2' => next == Next::Bound,
            b'C' => matches!(next, Next::Ran | Next::Set),
            b'S' => true,
            _ => false,
        }
    }

    /// Reads such a message; whether the client gets it.
    pub(super) fn is_for_client(&mut self, tag: u8, body: &[u8]) -> bool {
        if tag == b'S' {
            let told = text(body).and_then(|(name, rest)| Some((name, text(rest)?.0)));
            let is_label = |value: &str| TraceLink::unlabelled(value) != value;
            return !told.is_some_and(|(name, value)| name == "application_name" && is_label(value));
        }
        let Some(pending) = self.pending.front_mut() else { return true };
        pending.next = match pending.next {
            Next::Parsed => Next::Bound,
            Next::Bound => Next::Ran,
            _ => Next::Nothing,
        };
        false
    }

    /// A message of the server has gone by.
    pub(super) fn passed(&mut self, tag: u8) {
        match tag {
            b'Z' => {
                if self.pending.front().is_some_and(|first| first.ahead == 0) {
                    self.pending.pop_front();
                }
                self.pending.iter_mut().for_each(|later| later.ahead = later.ahead.saturating_sub(1));
            }
            // What a server says by itself.
            b'N' | b'S' | b'A' => {}
            _ => {
                if let Some(first) = self.pending.front_mut().filter(|first| first.ahead == 0) {
                    let begun = first.next == Next::Begun && tag == b'C';
                    // An error, mostly: then nothing more is answered.
                    first.next = if begun { Next::Set } else { Next::Nothing };
                }
            }
        }
    }

    fn next(&self) -> Option<Next> {
        self.pending.front().filter(|first| first.ahead == 0).map(|first| first.next)
    }
}

/// Whether a statement may run behind another one in a transaction of their own: it reads or writes rows, and
/// is no command, of which some refuse that.
pub(super) fn is_plain(sql: &str) -> bool {
    let first = Tokens::of(sql).map(|(token, _)| token).find(|token| *token != Token::Sign(b'('));
    const PLAIN: [&str; 8] = ["select", "with", "insert", "update", "delete", "merge", "values", "table"];
    let is_plain = |word: &[u8]| PLAIN.iter().any(|plain| word.eq_ignore_ascii_case(plain.as_bytes()));
    matches!(first, Some(Token::Word(word)) if is_plain(word))
}

/// Whether a message begins a transaction and does nothing else.
fn is_begin(sql: &str) -> bool {
    let mut tokens = Tokens::of(sql).map(|(token, _)| token);
    let begins = matches!(tokens.next(), Some(Token::Word(word))
        if word.eq_ignore_ascii_case(b"begin") || word.eq_ignore_ascii_case(b"start"));
    begins && tokens.skip_while(|token| *token != Token::Sign(b';')).all(|token| token == Token::Sign(b';'))
}

/// Parse, Bind and Execute of what gives the session its name until the next Sync; it has no row.
fn set_for_one_statement(label: &str, out: &mut Vec<u8>) {
    let sql = format!(
        "\0SELECT FROM pg_catalog.set_config('application_name', '{label}', true) AS s (v) \
         WHERE v IS NULL\0\0\0"
    );
    write(b'P', sql.as_bytes(), out);
    write(b'B', &[0; 8], out);
    write(b'E', &[0; 5], out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: TraceLink = TraceLink { trace: 1, span: 2 };
    const LABEL: &str = "shop#00000000000000000000000000000001-00000002";
    const SET: &str = "P.SET B........ E.....";

    fn messages(texts: &[&str]) -> Vec<u8> {
        let mut all = Vec::new();
        for one in texts {
            let (tag, body) = one.split_at(1);
            write(tag.as_bytes()[0], body.replace('.', "\0").as_bytes(), &mut all);
        }
        all
    }

    /// Each message as its type and its body, in which a zero byte is a dot and the label's statement is
    /// short.
    fn shown(mut bytes: &[u8]) -> String {
        let mut all = Vec::new();
        while let Some((tag, body, after)) = message(bytes) {
            let body = String::from_utf8_lossy(body).replace('\0', ".");
            let set = format!(
                "SELECT FROM pg_catalog.set_config('application_name', '{LABEL}', true) AS s (v) \
                 WHERE v IS NULL..."
            );
            all.push(format!("{}{}", char::from(tag), body.replace(&set, "SET").replace(LABEL, "LABEL")));
            bytes = after;
        }
        all.join(" ")
    }

    fn client(labels: &mut Labels, unanswered: usize, outside: bool, said: &[&str]) -> String {
        let standing = Standing { link: LINK, name: "shop", unanswered, outside };
        let text_of = |name: &str| match name {
            "s1" => Some("/* a */ (SELECT 1)"),
            "s2" => Some("VACUUM"),
            _ => None,
        };
        let mut out = Vec::new();
        labels.client_said(&standing, text_of, &messages(said), &mut out);
        shown(&out)
    }

    /// What of the server's messages the client gets.
    fn server(labels: &mut Labels, said: &[&str]) -> String {
        let mut all = Vec::new();
        for one in said {
            let (tag, body) = one.split_at(1);
            let tag = tag.as_bytes()[0];
            if !labels.is_of_interest(tag) {
                labels.passed(tag);
            } else if !labels.is_for_client(tag, body.replace('.', "\0").as_bytes()) {
                continue;
            }
            all.push(*one);
        }
        all.join(" ")
    }

    #[test]
    fn a_transaction_is_labelled_in_the_message_that_begins_it() {
        let mut labels = Labels::default();
        let sent = client(&mut labels, 1, false, &["QBEGIN READ ONLY -- x.", "B.s1.", "E.....", "S"]);
        assert_eq!(sent, "QBEGIN READ ONLY -- x\n; SET LOCAL application_name = 'LABEL'. B.s1. E..... S");
        let told = format!("Sapplication_name.{LABEL}.");
        let said = ["CSELECT", "ZI", "CBEGIN", "CSET", &told, "ZT", "2", "C", "ZT"];
        assert_eq!(server(&mut labels, &said), "CSELECT ZI CBEGIN ZT 2 C ZT");
        assert!(!labels.is_waiting());
    }

    #[test]
    fn a_statement_of_its_own_is_labelled_up_to_its_sync() {
        let mut labels = Labels::default();
        let said = ["B.s1.", "E", "S", "P.INSERT.", "B..", "E", "S"];
        assert_eq!(client(&mut labels, 0, true, &said), format!("{SET} B.s1. E S {SET} P.INSERT. B.. E S"));
        let said =
            ["1", "2", "CSELECT 0", "2", "D", "CSELECT 1", "ZI", "1", "2", "CSELECT 0", "1", "2", "E", "ZI"];
        assert_eq!(server(&mut labels, &said), "2 D CSELECT 1 ZI 1 2 E ZI");
        assert!(!labels.is_waiting());
    }

    #[test]
    fn what_the_server_refuses_is_the_clients_to_hear() {
        let mut labels = Labels::default();
        client(&mut labels, 0, true, &["B.s1.", "E", "S", "QSTART TRANSACTION."]);
        assert_eq!(server(&mut labels, &["1", "Ecancelled", "ZI", "Eshut down"]), "Ecancelled ZI Eshut down");
    }

    #[test]
    fn what_may_not_run_behind_another_statement_has_no_label() {
        for said in [
            &["B.s2.", "E", "S", "B.s1.", "E", "S"][..],
            &["P.VACUUM.", "B..", "E", "S"],
            &["B.unheard of.", "E", "S"],
            &["Ps3.SELECT 1.", "S"],
            &["CSs1.", "S"],
            &["QSELECT 1."],
            &["QBEGIN; INSERT INTO t VALUES (1); COMMIT."],
            &["Qcommit."],
            &["drow", "c", "S", "QBEGIN."],
        ] {
            assert_eq!(client(&mut Labels::default(), 0, true, said), said.join(" "), "{said:?}");
        }
        let same = ["B.s1.", "E", "S"];
        assert_eq!(client(&mut Labels::default(), 0, false, &same), same.join(" "), "in a transaction");
        let sent = client(&mut Labels::default(), 0, true, &["CSs1.", "S", "B.s1.", "E", "S"]);
        assert_eq!(sent, format!("CSs1. S {SET} B.s1. E S"));
    }
}
