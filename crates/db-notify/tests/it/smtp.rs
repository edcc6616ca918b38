//! A mail server of RFC 5321's smallest kind: it takes letters, and refuses whom it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// One letter as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letter {
    pub(crate) to: Vec<String>,
    pub(crate) login: Option<String>,
    pub(crate) text: String,
}

#[derive(Default)]
struct Shared {
    letters: Mutex<Vec<Letter>>,
    refusals: Mutex<VecDeque<&'static str>>,
}

pub(crate) struct MailServer {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let mut tasks = JoinSet::new();
        let kept = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = socket.accept().await {
                sessions.spawn(session(stream, Arc::clone(&kept)));
            }
        });
        MailServer { port, shared, _tasks: tasks }
    }

    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.shared.letters.lock().unwrap().clone()
    }

    /// The next letters are refused with these answers.
    pub(crate) fn refuse(&self, answers: &[&'static str]) {
        self.shared.refusals.lock().unwrap().extend(answers);
    }
}

async fn session(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufStream::new(stream);
    let mut letter = Letter::default();
    say(&mut stream, "220 test ESMTP").await;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match &*verb {
            "EHLO" => say(&mut stream, "250-test\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN").await,
            "AUTH" => {
                letter.login = Some(line.to_owned());
                say(&mut stream, "235 welcome").await;
            }
            "RCPT" => {
                letter.to.push(line.to_owned());
                say(&mut stream, "250 ok").await;
            }
            "DATA" => {
                say(&mut stream, "354 go on").await;
                letter.text = data(&mut stream).await;
                let refusal = shared.refusals.lock().unwrap().pop_front();
                if refusal.is_none() {
                    shared.letters.lock().unwrap().push(letter.clone());
                }
                say(&mut stream, refusal.unwrap_or("250 taken")).await;
                letter = Letter { login: letter.login, ..Letter::default() };
            }
            "QUIT" => return say(&mut stream, "221 bye").await,
            _ => say(&mut stream, "250 ok").await,
        }
    }
}

async fn data(stream: &mut BufStream<TcpStream>) -> String {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if line == ".\r\n" {
            return text;
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

async fn say(stream: &mut BufStream<TcpStream>, line: &str) {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}
