//! Makes a name or a text from a server harmless on a terminal, and leaves it readable.

/// The text on one line, without control characters, and without those that turn the direction of writing
/// around.
///
/// Line breaks and tabs become spaces; what else would steer a terminal becomes `�`. Quotes and backslashes
/// stay, so that SQL can be copied as it is.
///
/// ```
/// assert_eq!(db_core::shown("SET a = 'b';\n-- c\u{1b}[31m"), "SET a = 'b'; -- c�[31m");
/// ```
pub fn shown(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let one = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() || turns(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(one).collect()
}
