//! A Google Cloud Storage in memory, as much of its XML API as `object_store` speaks.
//!
//! Those that exist speak the JSON API, which it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running stub; it ends when it is dropped.
pub(crate) struct GcsStub {
    pub(crate) endpoint: String,
    retains: Arc<AtomicBool>,
    server: JoinHandle<()>,
}

struct Stored {
    bytes: Vec<u8>,
    generation: u64,
    modified: DateTime<Utc>,
}

type Objects = Arc<Mutex<BTreeMap<String, Stored>>>;

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl GcsStub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (objects, retains) = (Objects::default(), Arc::new(AtomicBool::new(false)));
        let asked = Arc::clone(&retains);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&objects), Arc::clone(&asked)));
            }
        });
        GcsStub { endpoint, retains, server }
    }

    /// Whether a retention policy is on the bucket, under which nothing can be removed.
    pub(crate) fn retain(&self, retains: bool) {
        self.retains.store(retains, Ordering::Relaxed);
    }
}

impl Drop for GcsStub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream, objects: Objects, retains: Arc<AtomicBool>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let is_head = request.method == "HEAD";
        let (status, headers, body) = answer(&request, &objects, retains.load(Ordering::Relaxed));
        let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        if let (true, Some(size)) = (is_head, headers.split("X-Size: ").nth(1)) {
            let size = size.trim();
            head = format!("HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n");
        }
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut parts = line.split_whitespace();
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
    let path = decoded(path.splitn(3, '/').nth(2).unwrap_or(""));
    Some(Request { method, path, query, headers, body })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind.get(..2)) {
            (b'%', Some(digits)) => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
                rest = &behind[2..];
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn answer(request: &Request, objects: &Objects, retains: bool) -> (&'static str, String, Vec<u8>) {
    let mut objects = objects.lock().unwrap();
    let nothing = |status| (status, String::new(), Vec::new());
    match request.method.as_str() {
        "GET" if request.path.is_empty() => {
            ("200 OK", "Content-Type: application/xml\r\n".to_owned(), list(request, &objects))
        }
        "PUT" => {
            let there = objects.get(&request.path).map_or(0, |stored| stored.generation);
            let wanted = request.headers.get("x-goog-if-generation-match");
            if wanted.is_some_and(|wanted| *wanted != there.to_string()) {
                return nothing("412 Precondition Failed");
            }
            let stored = Stored { bytes: request.body.clone(), generation: there + 1, modified: Utc::now() };
            let headers = described(&stored);
            objects.insert(request.path.clone(), stored);
            ("200 OK", headers, Vec::new())
        }
        "GET" | "HEAD" => match objects.get(&request.path) {
            None => nothing("404 Not Found"),
            Some(stored) => read_object(request, stored),
        },
        "DELETE" if retains && objects.contains_key(&request.path) => {
            let error = b"<?xml version='1.0'?><Error><Code>RetentionPolicyNotMet</Code></Error>";
            ("403 Forbidden", "Content-Type: application/xml\r\n".to_owned(), error.to_vec())
        }
        "DELETE" => match objects.remove(&request.path) {
            None => nothing("404 Not Found"),
            Some(_) => nothing("204 No Content"),
        },
        _ => nothing("501 Not Implemented"),
    }
}

fn read_object(request: &Request, stored: &Stored) -> (&'static str, String, Vec<u8>) {
    let mut headers = described(stored);
    let length = stored.bytes.len();
    if request.method == "HEAD" {
        let _ = write!(headers, "X-Size: {length}\r\n");
        return ("200 OK", headers, Vec::new());
    }
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
    let Some((from, to)) = range.and_then(|range| range.split_once('-')) else {
        return ("200 OK", headers, stored.bytes.clone());
    };
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(length, |to: usize| to + 1).min(length);
    if from >= length {
        return ("416 Requested Range Not Satisfiable", String::new(), Vec::new());
    }
    let _ = write!(headers, "Content-Range: bytes {from}-{}/{length}\r\n", to - 1);
    ("206 Partial Content", headers, stored.bytes[from..to].to_vec())
}

fn described(stored: &Stored) -> String {
    let Stored { generation, modified, .. } = stored;
    let modified = modified.format("%a, %d %b %Y %H:%M:%S GMT");
    format!("ETag: \"{generation}\"\r\nx-goog-generation: {generation}\r\nLast-Modified: {modified}\r\n")
}

fn list(request: &Request, objects: &BTreeMap<String, Stored>) -> Vec<u8> {
    let of = |name: &str| request.query.get(name).cloned().unwrap_or_default();
    let (prefix, delimiter) = (of("prefix"), of("delimiter"));
    let mut contents = String::new();
    let mut directories = BTreeSet::new();
    for (path, stored) in objects.iter().filter(|(path, _)| path.starts_with(&prefix)) {
        let behind = &path[prefix.len()..];
        if let Some((directory, _)) = behind.split_once('/').filter(|_| !delimiter.is_empty()) {
            directories.insert(format!("{prefix}{directory}/"));
            continue;
        }
        let (size, modified) = (stored.bytes.len(), stored.modified.to_rfc3339());
        let _ = write!(
            contents,
            "<Contents><Key>{path}</Key><Size>{size}</Size><LastModified>{modified}</LastModified>\
             <ETag>\"{}\"</ETag></Contents>",
            stored.generation
        );
    }
    for directory in directories {
        let _ = write!(contents, "<CommonPrefixes><Prefix>{directory}</Prefix></CommonPrefixes>");
    }
    format!("<?xml version=\"1.0\"?><ListBucketResult>{contents}</ListBucketResult>").into_bytes()
}
