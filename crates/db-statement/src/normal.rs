//! The normal form of a statement: what is the same for all its constants, list lengths, spaces and comments.
//!
//! It is written token by token, as text or into the hash of the fingerprint, so that the two cannot
//! disagree.

use crate::LONGEST_TEXT;
use crate::atoms::{AND, ARRAY, AS, BY, FROM, IN, NOT, ON, OR, SELECT, VALUES, WHERE, WITH};
use crate::atoms::{Atom, Atoms, Sort};

/// How deep elements of a list may nest and still be compared: it bounds how often a token is looked at.
const DEEPEST_ELEMENT: usize = 4;

/// Where a normal form goes.
pub(crate) trait Sink {
    fn byte(&mut self, byte: u8);

    fn bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    fn lower(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(byte.to_ascii_lowercase()));
    }
}

impl Sink for Vec<u8> {
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The normal form of one SQL text.
///
/// Keywords and names without quotes are in lower case, tokens are set apart in one way, and comments are
/// gone. Every constant and parameter is `?`, and a list of alike elements is one element. See the crate's
/// front page for the rules.
///
/// A text longer than [`LONGEST_TEXT`](crate::LONGEST_TEXT) is read that far, and its normal form ends in
/// ` …`.
///
/// ```
/// let text = "SELECT \"id\" FROM Users -- all\n WHERE id IN (1, 2, 3) AND name = 'x'";
/// assert_eq!(db_statement::normalize(text), "select id from users where id in (?) and name = ?");
/// ```
pub fn normalize(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len().min(LONGEST_TEXT).min(4096));
    write(text, &mut bytes);
    // Only whole tokens and ASCII are written, so it is UTF-8 as the text is.
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Writes the normal form of `text` to `sink`.
#[inline]
pub(crate) fn write(text: &str, sink: &mut impl Sink) {
    let read = within_limit(text);
    let is_cut = read.len() < text.len();
    let mut atoms = Atoms::new(read);
    let mut writer = Writer { sink, before: None, written: 0, semicolon: false };
    let (mut list, mut rows): (Option<Run<'_>>, Option<Run<'_>>) = (None, None);
    while let Some(atom) = atoms.next() {
        match atom.sort {
            // Behind `IN (` or `ARRAY [`: the first element of a list.
            Sort::Mark(b'(') if matches!(writer.before, Some(Sort::Word(IN))) => {
                list = Some(Run::new(&atoms, writer.written + 1))
            }
            Sort::Mark(b'[') if matches!(writer.before, Some(Sort::Word(ARRAY))) => {
                list = Some(Run::new(&atoms, writer.written + 1))
            }
            Sort::Word(SELECT | WITH) => list = list.filter(|list| list.depth != atoms.depth),
            Sort::Word(VALUES) if atoms.before_opening() => {
                rows = Some(Run::new(&atoms, writer.written + 1));
                list = list.filter(|list| list.depth != atoms.depth);
            }
            Sort::Mark(b',') => {
                let depth = atoms.depth;
                let run = match (&mut list, &mut rows) {
                    (Some(list), _) if list.depth == depth => Some((list, false)),
                    (_, Some(rows)) if rows.depth == depth && atoms.in_rows() => Some((rows, true)),
                    _ => None,
                };
                if let Some((run, is_row)) = run {
                    // The common case, without a second look at the last element: constants alone.
                    let is_bare = writer.written == run.written + 1 && writer.before == Some(Sort::Constant);
                    if is_bare && let Some(behind) = atoms.behind_constant() {
                        atoms = behind;
                        continue;
                    }
                    if let Some(behind) = same(run.element, atoms, is_row, is_cut) {
                        atoms = behind;
                        continue;
                    }
                    *run = Run::new(&atoms, writer.written + 1);
                }
            }
            Sort::Mark(b')' | b']') => list = list.filter(|list| list.depth <= atoms.depth),
            Sort::Mark(b';') => (list, rows) = (None, None),
            _ => {}
        }
        writer.atom(atom.sort, atoms.bytes(atom));
    }
    if is_cut {
        writer.sink.bytes(" …".as_bytes());
    }
}

/// As much of a text as is read.
pub(crate) fn within_limit(text: &str) -> &str {
    let mut end = LONGEST_TEXT.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Elements of a list, or rows, that follow each other.
struct Run<'a> {
    depth: usize,
    /// Where the element begins that was written last.
    element: Atoms<'a>,
    /// How many atoms were written before it.
    written: usize,
}

impl<'a> Run<'a> {
    fn new(atoms: &Atoms<'a>, written: usize) -> Self {
        Run { depth: atoms.depth, element: *atoms, written }
    }
}

/// The place behind the element at `next`, if it is the same as the one at `last`.
fn same<'a>(mut last: Atoms<'a>, mut next: Atoms<'a>, is_row: bool, is_cut: bool) -> Option<Atoms<'a>> {
    let level = next.depth;
    loop {
        let behind = next;
        let (one, other) = (last.step(), next.step());
        let Some(other) = other else { return is_cut.then_some(next) };
        let one = one?;
        if next.depth > level + DEEPEST_ELEMENT {
            return None;
        }
        if is_row {
            if !alike(&last, one, &next, other) {
                return None;
            }
            if next.depth == level {
                return (last.depth == level && other.sort == Sort::Mark(b')')).then_some(next);
            }
        } else {
            let ends = |atoms: &Atoms<'_>, atom: Atom| {
                atoms.depth < level || (atoms.depth == level && atom.sort == Sort::Mark(b','))
            };
            match (ends(&last, one), ends(&next, other)) {
                (true, true) => return Some(behind),
                (false, false) if alike(&last, one, &next, other) => {}
                _ => return None,
            }
        }
    }
}

fn alike(a: &Atoms<'_>, one: Atom, b: &Atoms<'_>, other: Atom) -> bool {
    match (one.sort, other.sort) {
        (Sort::Constant, Sort::Constant) => true,
        (Sort::Word(_) | Sort::Plain, Sort::Word(_) | Sort::Plain) => {
            let is_word = |atom: Atom| matches!(atom.sort, Sort::Word(_));
            let both = (is_word(one), is_word(other));
            let (one, other) = (a.bytes(one), b.bytes(other));
            if both == (true, true) { one.eq_ignore_ascii_case(other) } else { lower_eq(both, one, other) }
        }
        (sort, same) => sort == same && a.bytes(one) == b.bytes(other),
    }
}

/// Whether two names are the same where only the words among them are folded.
fn lower_eq(words: (bool, bool), one: &[u8], other: &[u8]) -> bool {
    let fold = |is_word: bool, byte: &u8| if is_word { byte.to_ascii_lowercase() } else { *byte };
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| fold(words.0, a) == fold(words.1, b))
}

struct Writer<'s, S> {
    sink: &'s mut S,
    before: Option<Sort>,
    /// How many atoms were written.
    written: usize,
    /// A semicolon that is written if something follows.
    semicolon: bool,
}

impl<S: Sink> Writer<'_, S> {
    #[inline]
    fn atom(&mut self, sort: Sort, bytes: &[u8]) {
        if sort == Sort::Mark(b';') {
            self.semicolon = self.before.is_some();
            return;
        }
        if self.semicolon {
            self.sink.bytes(b"; ");
            (self.semicolon, self.before) = (false, None);
        }
        if self.before.is_some_and(|before| is_apart(before, sort)) {
            self.sink.byte(b' ');
        }
        self.before = Some(sort);
        self.written += 1;
        match sort {
            Sort::Constant => self.sink.byte(b'?'),
            Sort::Word(_) => self.sink.lower(bytes),
            _ => self.sink.bytes(bytes),
        }
    }
}

/// Whether a space stands between two tokens.
#[inline]
fn is_apart(before: Sort, sort: Sort) -> bool {
    if matches!(before, Sort::Mark(b'(' | b'[' | b'.') | Sort::Cast) {
        return false;
    }
    match sort {
        Sort::Mark(b')' | b']' | b'[' | b',' | b'.') | Sort::Cast => false,
        // A call has none, the parentheses of an expression have one.
        Sort::Mark(b'(') => match before {
            Sort::Word(code) => {
                matches!(code, IN | VALUES | AND | OR | NOT | WHERE | FROM | ON | AS | BY | SELECT)
            }
            Sort::Plain | Sort::Quoted => false,
            _ => true,
        },
        _ => true,
    }
}
