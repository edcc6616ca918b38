//! A front of an S3 emulator: it lets only some verbs through, as credentials would, and one put at a time.
//!
//! moto looks whether an object is there and writes it then, with nothing in between: under load of many
//! writers two were told that they won. Its own policies cannot be used either: it takes the signature of a
//! list whose prefix has a slash for a wrong one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What is answered to a verb that is not let through.
const DENIED: &str =
    "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";

/// Starts one before the emulator on port `upstream`, and returns its own port. It ends with the process.
pub(crate) fn front(upstream: u16, verbs: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let puts = Arc::new(Mutex::new(()));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let puts = Arc::clone(&puts);
            thread::spawn(move || serve(client, upstream, verbs, &puts));
        }
    });
    port
}

/// Passes on one request, or refuses it.
fn serve(mut client: TcpStream, upstream: u16, verbs: &[&str], puts: &Mutex<()>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim_end().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        } else if !lower.starts_with("connection:") {
            headers.push(line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let verb = first.split(' ').next()?;
    // A copy is a put that reads.
    let copies = headers.iter().any(|line| line.to_ascii_lowercase().starts_with("x-amz-copy-source"));
    let answer = if verbs.contains(&verb) && !copies {
        let _alone = (verb == "PUT").then(|| puts.lock().unwrap_or_else(PoisonError::into_inner));
        answer(upstream, &first, &headers, &body)?
    } else {
        let head = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{DENIED}", DENIED.len()).into_bytes()
    };
    client.write_all(&answer).ok()
}

/// What the emulator on this port answers to one request.
pub(crate) fn answer(port: u16, first: &str, headers: &[String], body: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let length = format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let head: String = [first].into_iter().chain(headers.iter().map(String::as_str)).collect();
    stream.write_all(&[head.as_bytes(), length.as_bytes(), body].concat()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}
