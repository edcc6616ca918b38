//! A session in replication mode: SQL by the simple protocol, BASE_BACKUP and START_REPLICATION.
//!
//! Source: the PostgreSQL manual, "Streaming Replication Protocol". A walsender with a database runs plain
//! SQL too, so a backup needs one login and one role: LOGIN and REPLICATION.

mod dial;
mod error;
mod login;

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use db_core::{DatabaseUrl, Endpoint};
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub use dial::{Dial, Dialling, Link, Plain};
pub use error::SessionError;

/// What one read from the socket takes at most: larger reads cost memory and no longer save calls.
const READ_BYTES: usize = 256 << 10;

/// The tag of CopyBothResponse, which postgres-protocol does not know.
const COPY_BOTH: u8 = b'W';

/// The longest that opening a session takes.
const LOGIN_WITHIN: Duration = Duration::from_secs(30);

/// One session with one server.
pub struct Session {
    link: Box<dyn Link>,
    received: BytesMut,
    to_send: BytesMut,
    endpoint: Endpoint,
    version: u32,
    notices: Vec<String>,
}

/// What a server sends while it copies.
#[derive(Debug)]
pub(crate) enum Copied {
    /// A message's content.
    Data(Bytes),
    /// The server has no more.
    Done,
}

/// The rows of an answer: texts, or `None` for NULL.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

impl Session {
    /// Opens a session with the first server of the URL, through `dial`.
    ///
    /// `statement_timeout`, `idle_session_timeout` and the like are switched off for this session before its
    /// first statement: a role's or a database's setting would otherwise end a long backup in its midst.
    ///
    /// # Errors
    /// [`SessionError::Connect`] where nothing answers within 30 s, [`SessionError::Server`] where the server
    /// refuses, as when the role lacks REPLICATION or pg_hba.conf has no line for it.
    pub async fn open(url: &DatabaseUrl, dial: &dyn Dial) -> Result<Session, SessionError> {
        Self::open_as(url, dial, true).await
    }

    /// Opens a session that runs SQL only, as any client's.
    pub(crate) async fn open_for_sql(url: &DatabaseUrl, dial: &dyn Dial) -> Result<Session, SessionError> {
        Self::open_as(url, dial, false).await
    }

    async fn open_as(url: &DatabaseUrl, dial: &dyn Dial, replication: bool) -> Result<Session, SessionError> {
        let endpoint = url.hosts()[0].clone();
        let login = Self::login(url, &endpoint, dial, replication);
        let opened = tokio::time::timeout(LOGIN_WITHIN, login).await;
        opened.unwrap_or_else(|_| {
            let reason = format!("no answer within {LOGIN_WITHIN:?}");
            Err(SessionError::Connect { endpoint: endpoint.clone(), reason })
        })
    }

    async fn login(
        url: &DatabaseUrl,
        endpoint: &Endpoint,
        dial: &dyn Dial,
        replication: bool,
    ) -> Result<Session, SessionError> {
        let link = dial
            .dial(url, endpoint)
            .await
            .map_err(|reason| SessionError::Connect { endpoint: endpoint.clone(), reason })?;
        let mut session = Session {
            link,
            received: BytesMut::with_capacity(READ_BYTES),
            to_send: BytesMut::new(),
            endpoint: endpoint.clone(),
            version: 0,
            notices: Vec::new(),
        };
        login::login(&mut session, url, replication).await?;
        Ok(session)
    }

    /// Where the session leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The server's version as PostgreSQL counts it: 150008 for 15.8.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.version / 10_000
    }

    /// The system identifier of the server's cluster: whose backups are whose.
    ///
    /// # Errors
    /// Where the server does not answer as one in replication mode does.
    pub async fn system_identifier(&mut self) -> Result<u64, SessionError> {
        let text = self.value("IDENTIFY_SYSTEM").await?;
        text.parse().map_err(|_| self.protocol("a system identifier"))
    }

    /// The warnings that the server has sent since the last call.
    pub(crate) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Runs statements and returns the rows of the last one that has any.
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Rows, SessionError> {
        self.send_query(sql).await?;
        let mut rows = Rows::new();
        let mut failed = None;
        loop {
            match self.message().await? {
                Message::RowDescription(_) => rows.clear(),
                Message::DataRow(row) => rows.push(texts(&row).map_err(|_| self.protocol("a row"))?),
                Message::ErrorResponse(body) => failed = Some(SessionError::from_server(&body)),
                Message::ReadyForQuery(_) => return failed.map_or(Ok(rows), Err),
                Message::CommandComplete(_) | Message::EmptyQueryResponse => {}
                _ => return Err(self.protocol("an answer to a statement")),
            }
        }
    }

    /// Runs a statement whose answer is one row with one column that is not NULL.
    pub(crate) async fn value(&mut self, sql: &str) -> Result<String, SessionError> {
        let rows = self.rows(sql).await?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        value.ok_or_else(|| self.protocol("a value"))
    }

    /// Sends a command and does not wait for its answer.
    pub(crate) async fn send_query(&mut self, sql: &str) -> Result<(), SessionError> {
        frontend::query(sql, &mut self.to_send).map_err(|source| self.lost(&source))?;
        self.flush().await
    }

    /// The result sets that a command answers before it copies, up to its CopyOut, CopyIn or CopyBoth.
    pub(crate) async fn until_copy(&mut self) -> Result<Vec<Rows>, SessionError> {
        let mut sets: Vec<Rows> = Vec::new();
        loop {
            if self.peek().await? == COPY_BOTH {
                self.skip_message().await?;
                return Ok(sets);
            }
            match self.message().await? {
                Message::RowDescription(_) => sets.push(Rows::new()),
                Message::DataRow(row) => {
                    let row = texts(&row).map_err(|_| self.protocol("a row"))?;
                    sets.last_mut().ok_or_else(|| self.protocol("a row"))?.push(row);
                }
                Message::CommandComplete(_) => {}
                Message::CopyOutResponse(_) | Message::CopyInResponse(_) => return Ok(sets),
                Message::ErrorResponse(body) => return Err(self.failed(&body).await),
                _ => return Err(self.protocol("the beginning of a copy")),
            }
        }
    }

    /// The next piece of a copy. Dropping the future loses nothing: what was received stays.
    pub(crate) async fn copied(&mut self) -> Result<Copied, SessionError> {
        match self.message().await? {
            Message::CopyData(body) => Ok(Copied::Data(body.into_bytes())),
            Message::CopyDone => Ok(Copied::Done),
            Message::ErrorResponse(body) => Err(self.failed(&body).await),
            _ => Err(self.protocol("a piece of a copy")),
        }
    }

    /// Sends a piece of a copy to the server.
    pub(crate) async fn copy(&mut self, data: &[u8]) -> Result<(), SessionError> {
        let message = frontend::CopyData::new(data).map_err(|source| self.lost(&source))?;
        message.write(&mut self.to_send);
        self.flush().await
    }

    /// Ends a copy to the server.
    pub(crate) async fn copy_done(&mut self) -> Result<(), SessionError> {
        frontend::copy_done(&mut self.to_send);
        self.flush().await
    }

    /// What a command says behind its copy, up to the point where the next one may be sent.
    pub(crate) async fn finish(&mut self) -> Result<Vec<Rows>, SessionError> {
        let mut sets: Vec<Rows> = Vec::new();
        let mut failed = None;
        loop {
            match self.message().await? {
                Message::RowDescription(_) => sets.push(Rows::new()),
                Message::DataRow(row) => {
                    let row = texts(&row).map_err(|_| self.protocol("a row"))?;
                    sets.last_mut().ok_or_else(|| self.protocol("a row"))?.push(row);
                }
                Message::ErrorResponse(body) => failed = Some(SessionError::from_server(&body)),
                Message::ReadyForQuery(_) => return failed.map_or(Ok(sets), Err),
                Message::CommandComplete(_) | Message::CopyDone | Message::CopyData(_) => {}
                _ => return Err(self.protocol("the end of a command")),
            }
        }
    }

    /// Says good-bye.
    pub(crate) async fn close(mut self) {
        frontend::terminate(&mut self.to_send);
        // The server learns of the end from the socket in any case.
        let _ = self.flush().await;
    }

    /// The next message; warnings and changed parameters are taken note of on the way.
    async fn message(&mut self) -> Result<Message, SessionError> {
        loop {
            let parsed = Message::parse(&mut self.received).map_err(|source| self.lost(&source))?;
            match parsed {
                Some(Message::NoticeResponse(body)) => {
                    self.notices.push(SessionError::fields(body.fields()).to_string());
                }
                Some(Message::ParameterStatus(_) | Message::NotificationResponse(_)) => {}
                Some(message) => return Ok(message),
                None => self.receive().await?,
            }
        }
    }

    async fn peek(&mut self) -> Result<u8, SessionError> {
        while self.received.is_empty() {
            self.receive().await?;
        }
        Ok(self.received[0])
    }

    async fn skip_message(&mut self) -> Result<(), SessionError> {
        while self.received.len() < 5 {
            self.receive().await?;
        }
        let length =
            u32::from_be_bytes([self.received[1], self.received[2], self.received[3], self.received[4]]);
        let length = length as usize + 1;
        while self.received.len() < length {
            self.receive().await?;
        }
        self.received.advance(length);
        Ok(())
    }

    async fn receive(&mut self) -> Result<(), SessionError> {
        self.received.reserve(READ_BYTES);
        match self.link.read_buf(&mut self.received).await {
            Ok(0) => Err(self.lost(&std::io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(source) => Err(self.lost(&source)),
        }
    }

    async fn flush(&mut self) -> Result<(), SessionError> {
        let sent = async {
            self.link.write_all_buf(&mut self.to_send).await?;
            self.link.flush().await
        };
        sent.await.map_err(|source| self.lost(&source))
    }

    /// The server's error, once it is ready for the next command.
    async fn failed(
        &mut self,
        body: &postgres_protocol::message::backend::ErrorResponseBody,
    ) -> SessionError {
        let error = SessionError::from_server(body);
        loop {
            match self.message().await {
                Ok(Message::ReadyForQuery(_)) | Err(_) => return error,
                Ok(_) => {}
            }
        }
    }

    fn lost(&self, source: &std::io::Error) -> SessionError {
        SessionError::Lost { endpoint: self.endpoint.clone(), reason: source.to_string() }
    }

    fn protocol(&self, expected: &'static str) -> SessionError {
        SessionError::Protocol { endpoint: self.endpoint.clone(), expected }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("endpoint", &self.endpoint).field("version", &self.version).finish()
    }
}

fn texts(row: &DataRowBody) -> std::io::Result<Vec<Option<String>>> {
    use fallible_iterator::FallibleIterator;
    let buffer = row.buffer();
    row.ranges()
        .map(|range| Ok(range.map(|range| String::from_utf8_lossy(&buffer[range]).into_owned())))
        .collect()
}
