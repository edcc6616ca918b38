//! A web server that answers what it is told to, and remembers what it was sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What it answers: a status line with headers, and a body. `hang` answers nothing.
type Answers = Arc<Mutex<VecDeque<(&'static str, &'static str)>>>;

pub(crate) struct Listener {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    answers: Answers,
    _tasks: JoinSet<()>,
}

impl Listener {
    pub(crate) async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let (seen, answers) = (Arc::<Mutex<Vec<Request>>>::default(), Answers::default());
        let mut tasks = JoinSet::new();
        let (kept, told) = (Arc::clone(&seen), Arc::clone(&answers));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = socket.accept().await {
                connections.spawn(serve(stream, Arc::clone(&kept), Arc::clone(&told)));
            }
        });
        Listener { port, seen, answers, _tasks: tasks }
    }

    /// The next answers, before `200 OK` again.
    pub(crate) fn answer(&self, answers: &[(&'static str, &'static str)]) {
        self.answers.lock().unwrap().extend(answers);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Vec<Request>>>, answers: Answers) {
    let mut stream = BufStream::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.unwrap();
            let Some((name, value)) = header.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        seen.lock().unwrap().push(Request { line: line.trim().to_owned(), headers, body });
        let (status, body) = answers.lock().unwrap().pop_front().unwrap_or(("200 OK", "ok"));
        if status == "hang" {
            std::future::pending::<()>().await;
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}
