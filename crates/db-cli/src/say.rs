//! What is printed: JSON or text, with colour on a terminal only.

use std::io::IsTerminal;

use clap::builder::styling::AnsiColor;
use serde_json::Value;

/// Prints a result: the JSON value, or the text.
pub(crate) fn result(json: bool, text: &str, value: &Value) {
    if json {
        println!("{value}");
    } else {
        println!("{text}");
    }
}

/// Prints something long as it is written, line by line: as one text it would stand in memory twice.
pub(crate) fn lines(shown: &impl std::fmt::Display) {
    use std::fmt::Write as _;
    let mut printer = Printer { line: String::new() };
    // It takes whatever it is given.
    let _ = write!(printer, "{shown}");
    println!("{}", coloured(&printer.line));
}

struct Printer {
    line: String,
}

impl std::fmt::Write for Printer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for piece in text.split_inclusive('\n') {
            match piece.strip_suffix('\n') {
                Some(end) => {
                    self.line.push_str(end);
                    println!("{}", coloured(&self.line));
                    self.line.clear();
                }
                None => self.line.push_str(piece),
            }
        }
        Ok(())
    }
}

/// Colours the words that a reader looks for, where standard output is a terminal and NO_COLOR is not set.
pub(crate) fn coloured(text: &str) -> String {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if !(wanted && std::io::stdout().is_terminal()) {
        return text.to_owned();
    }
    text.lines().map(colour).collect::<Vec<_>>().join("\n")
}

fn colour(line: &str) -> String {
    let bad = ["unknown ", "edited since", "cut off", "comes before"];
    let style = match line {
        line if bad.iter().any(|words| line.contains(words)) => AnsiColor::Red.on_default(),
        line if line.starts_with("pending ")
            || line.starts_with("warn ")
            || line.contains("[ACCESS EXCLUSIVE") =>
        {
            AnsiColor::Yellow.on_default()
        }
        line if line.starts_with("wrong ") => AnsiColor::Red.on_default(),
        line if line.starts_with("applied ") || line.starts_with("ok   ") => AnsiColor::Green.on_default(),
        line if line.starts_with("apply ") => AnsiColor::Cyan.on_default(),
        line => return line.to_owned(),
    };
    format!("{style}{line}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_look_stands_out() {
        assert_eq!(colour("applied  1_a"), "\u{1b}[32mapplied  1_a\u{1b}[0m");
        assert_eq!(colour("applied  1_a (edited since)"), "\u{1b}[31mapplied  1_a (edited since)\u{1b}[0m");
        assert_eq!(colour("2 applied, 0 pending"), "2 applied, 0 pending");
    }

    #[test]
    fn what_is_no_terminal_gets_no_colour() {
        // The test runner captures standard output.
        assert_eq!(coloured("pending  1_a"), "pending  1_a");
    }
}
