//! A webhook's receiver that fails in every way a receiver can, and remembers what it took.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use db_notify::{Secret, webhook};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::process::KEY;

/// One message that was taken.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) at: Instant,
    /// Whether the sender was told so.
    pub(super) answered: bool,
}

#[derive(Default)]
struct Seen {
    taken: BTreeMap<String, Vec<Taken>>,
    refused: BTreeSet<String>,
    unsigned: usize,
    requests: usize,
    failed: usize,
    /// Everything fails until then.
    fails_until: Option<Instant>,
    /// From now on nothing fails.
    is_well: bool,
}

pub(super) struct Receiver {
    pub(super) url: String,
    seen: Arc<Mutex<Seen>>,
}

/// What a receiver does with one request.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Takes,
    /// 500, or 429 with the wish to wait.
    Fails(&'static str),
    /// 410: it never will take this.
    Refuses,
    /// Nothing is answered, and nothing was taken.
    HangsUp,
    /// It takes the message, and its answer is lost.
    TakesAndHangsUp,
    /// Nothing is answered for longer than the sender waits.
    Hangs,
}

impl Receiver {
    /// One that may refuse a message for good, or not.
    pub(super) async fn start(refuses: bool) -> Receiver {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", socket.local_addr().unwrap());
        let seen = Arc::<Mutex<Seen>>::default();
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let kept = Arc::clone(&kept);
                // A sender that was killed half way ends its connection.
                tokio::spawn(async move { serve(stream, &kept, refuses).await });
            }
        });
        Receiver { url, seen }
    }

    pub(super) fn fail_for(&self, long: Duration) {
        self.seen().fails_until = Some(Instant::now() + long);
    }

    pub(super) fn is_well(&self) {
        self.seen().is_well = true;
    }

    pub(super) fn taken(&self) -> BTreeMap<String, Vec<Taken>> {
        self.seen().taken.clone()
    }

    pub(super) fn refused(&self) -> BTreeSet<String> {
        self.seen().refused.clone()
    }

    pub(super) fn unsigned(&self) -> usize {
        self.seen().unsigned
    }

    pub(super) fn requests(&self) -> usize {
        self.seen().requests
    }

    pub(super) fn failed(&self) -> usize {
        self.seen().failed
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

fn draw(seen: &Seen, refuses: bool) -> Answer {
    if seen.is_well {
        return Answer::Takes;
    }
    if seen.fails_until.is_some_and(|until| Instant::now() < until) {
        return Answer::Fails("503 Service Unavailable");
    }
    match fastrand::u32(..100) {
        0..10 => Answer::Fails("500 Internal Server Error"),
        10..12 => Answer::Fails("429 Too Many Requests\r\nretry-after: 1"),
        12..17 => Answer::HangsUp,
        17..20 => Answer::TakesAndHangsUp,
        20..21 => Answer::Hangs,
        21..23 if refuses => Answer::Refuses,
        _ => Answer::Takes,
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Seen>, refuses: bool) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let (head, body) = request(&mut stream, &mut bytes).await?;
        let answer = take(&head, &body, &mut seen.lock().unwrap(), refuses);
        let status = match answer {
            Answer::Takes => "200 OK",
            Answer::Fails(status) => status,
            Answer::Refuses => "410 Gone",
            Answer::HangsUp | Answer::TakesAndHangsUp => return None,
            Answer::Hangs => {
                tokio::time::sleep(Duration::from_secs(10)).await;
                return None;
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// The head and the body of the next request; none where the connection ended.
async fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length: usize = header(&head, "content-length")?.parse().ok()?;
            if bytes.len() >= end + 4 + length {
                // The signature is over letters as they came.
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let body = bytes[end + 4..end + 4 + length].to_vec();
                bytes.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let of = |line: &'a str| line.split_once(':').filter(|(found, _)| found.eq_ignore_ascii_case(name));
    head.lines().find_map(of).map(|(_, value)| value.trim())
}

fn take(head: &str, body: &[u8], seen: &mut Seen, refuses: bool) -> Answer {
    seen.requests += 1;
    let of = |name| header(head, name).unwrap_or_default();
    let (id, timestamp, signature) = (of("webhook-id"), of("webhook-timestamp"), of("webhook-signature"));
    let verified = webhook::verify(&Secret::new(KEY), id, timestamp, body, signature, SystemTime::now());
    seen.unsigned += usize::from(verified.is_err());
    let answer = draw(seen, refuses);
    let message: Value = serde_json::from_slice(body).unwrap();
    let each: Vec<&Value> = match message["messages"].as_array() {
        Some(parts) if !parts.is_empty() => parts.iter().collect(),
        _ => vec![&message],
    };
    let at = Instant::now();
    // Channels speak of each other, too; what they say is of no condition.
    let of_conditions = each
        .iter()
        .filter(|one| !one["incident"].as_str().is_some_and(|incident| incident.starts_with("channel:")));
    for one in of_conditions {
        let id = one["id"].as_str().unwrap_or("no id").to_owned();
        match answer {
            Answer::Takes => seen.taken.entry(id).or_default().push(Taken { at, answered: true }),
            Answer::TakesAndHangsUp => seen.taken.entry(id).or_default().push(Taken { at, answered: false }),
            Answer::Refuses => {
                seen.refused.insert(id);
            }
            _ => {}
        }
    }
    seen.failed += usize::from(answer != Answer::Takes);
    answer
}
