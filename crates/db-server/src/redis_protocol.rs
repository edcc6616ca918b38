//! Asks a Redis one thing: as much of its protocol as starting and joining servers needs.

use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::Password;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Logs in on a loopback port, sends one command, and returns its answer as text; a refusal is an error.
pub(crate) fn ask(port: u16, password: &Password, command: &[&str]) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(&[encode(&["AUTH", password.reveal()]), encode(command)].concat())?;
    let mut answers = BufReader::new(stream);
    answer(&mut answers)?;
    answer(&mut answers)
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// A line, a number or a text; a missing value is an empty text. Lists are not asked for.
fn answer(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    match line.split_at_checked(1) {
        Some(("+" | ":", said)) => Ok(said.to_owned()),
        Some(("-", said)) => Err(Error::other(said.to_owned())),
        Some(("$", "-1")) => Ok(String::new()),
        Some(("$", length)) => {
            let length: usize = length.parse().map_err(|_| odd(line))?;
            let mut text = vec![0; length];
            from.read_exact(&mut text)?;
            from.read_exact(&mut [0; 2])?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        _ => Err(odd(line)),
    }
}

fn odd(line: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("an answer that begins with {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_asked_for_kind_are_read() {
        let check = |bytes: &str, expected: std::result::Result<&str, &str>| {
            let found = answer(&mut bytes.as_bytes()).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{bytes:?}");
        };
        check("+OK\r\n", Ok("OK"));
        check(":7\r\n", Ok("7"));
        check("$5\r\na\r\nbc\r\n", Ok("a\r\nbc"));
        check("$-1\r\n", Ok(""));
        check("-NOAUTH Authentication required.\r\n", Err("NOAUTH Authentication required."));
        check("", Err("an answer that begins with \"\""));
        assert_eq!(encode(&["GET", "a"]), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    }
}
