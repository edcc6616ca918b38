//! Asks Patroni's REST API which nodes there are and which one leads.
//!
//! It is a hint, never a verdict: nodes that Patroni names are watched like all others, and a new leader makes the monitors
//! ask at once. Whether a node takes writes is what its own answer says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use db_core::Endpoint;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(2);
/// More than any cluster's description takes.
const LONGEST: u64 = 1 << 20;

/// Where a Patroni's REST API listens: `http://host:8008`.
///
/// One is enough: the others are learned from it. Encrypted APIs are not supported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatroniUrl {
    host: String,
    port: u16,
}

/// A text that is not the URL of a Patroni.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a Patroni: write http://host:8008 (https is not supported)")]
pub struct InvalidPatroniUrl;

impl FromStr for PatroniUrl {
    type Err = InvalidPatroniUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPatroniUrl> {
        let rest = text.trim().strip_prefix("http://").ok_or(InvalidPatroniUrl)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => {
                (host, port.parse().map_err(|_| InvalidPatroniUrl)?)
            }
            _ => (authority, 8008),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let plain = !host.is_empty() && !host.contains(['@', ' ', '\r', '\n']);
        plain.then(|| PatroniUrl { host: host.to_owned(), port }).ok_or(InvalidPatroniUrl)
    }
}

impl fmt::Display for PatroniUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// What Patroni says of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Description {
    members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Member {
    role: String,
    /// None while a member is about to come or to go.
    host: Option<String>,
    port: Option<u16>,
    api_url: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, Value>,
}

impl Member {
    fn endpoint(&self) -> Option<Endpoint> {
        Some(Endpoint::new(self.host.as_deref()?, self.port?))
    }

    /// Whether it may answer reads.
    fn reads(&self) -> bool {
        let tag = self.tags.get("noloadbalance");
        !tag.is_some_and(|tag| {
            tag == true || tag.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true"))
        })
    }
}

impl Description {
    /// Each node, and whether it may answer reads.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (Endpoint, bool)> {
        self.members.iter().filter_map(|member| Some((member.endpoint()?, member.reads())))
    }

    pub(crate) fn leader(&self) -> Option<Endpoint> {
        // Before version 4 it was "leader" here and "master" elsewhere; "primary" is newer.
        let leads = |member: &&Member| matches!(&*member.role, "leader" | "primary" | "master");
        self.members.iter().find(leads).and_then(Member::endpoint)
    }

    fn apis(&self) -> impl Iterator<Item = PatroniUrl> {
        self.members.iter().filter_map(|member| member.api_url.as_ref()?.parse().ok())
    }
}

/// The Patronis that are known: each of them can answer.
#[derive(Debug)]
pub(crate) struct Patroni {
    /// The one that answered last comes first, and then those that it named.
    learned: Vec<PatroniUrl>,
    configured: BTreeSet<PatroniUrl>,
}

impl Patroni {
    pub(crate) fn new(known: impl IntoIterator<Item = PatroniUrl>) -> Self {
        Patroni { learned: Vec::new(), configured: known.into_iter().collect() }
    }

    /// Tells `see` what Patroni says, again and again.
    pub(crate) async fn watch(mut self, mut see: impl FnMut(&Description)) {
        let mut silent = false;
        loop {
            match self.ask().await {
                Some((answered, description)) => {
                    silent = false;
                    let others = description.apis().filter(|api| *api != answered).collect::<Vec<_>>();
                    self.learned = [vec![answered], others].concat();
                    see(&description);
                }
                None if !silent => {
                    silent = true;
                    tracing::warn!("no Patroni answers: the nodes that are known are watched as before");
                }
                None => {}
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn ask(&self) -> Option<(PatroniUrl, Description)> {
        let configured = self.configured.iter().filter(|url| !self.learned.contains(url));
        for url in self.learned.iter().chain(configured) {
            match tokio::time::timeout(DEADLINE, describe(url)).await {
                Ok(Ok(description)) => return Some((url.clone(), description)),
                Ok(Err(error)) => tracing::debug!(%url, %error, "Patroni does not answer"),
                Err(_) => tracing::debug!(%url, "Patroni does not answer in time"),
            }
        }
        None
    }
}

/// `GET /cluster`, in version 1.0 of HTTP: the answer comes in one piece and ends with the connection.
async fn describe(url: &PatroniUrl) -> std::io::Result<Description> {
    let mut stream = TcpStream::connect((&*url.host, url.port)).await?;
    let request = format!("GET /cluster HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\n\r\n", url.host);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    parse(&answer)
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "no cluster description"))
}

fn parse(answer: &[u8]) -> Option<Description> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = answer.split_at(end + 4);
    let status = std::str::from_utf8(head).ok()?.split_whitespace().nth(1)?;
    // Any node answers, also one that does not run; the body says how things are.
    (status == "200").then(|| serde_json::from_slice(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Patroni 3.0.2 gave it.
    const ANSWER: &str = concat!(
        "HTTP/1.0 200 OK\r\nServer: BaseHTTP/0.6 Python/3.11.2\r\nContent-Type: application/json\r\n\r\n",
        r#"{"members": [{"name": "n1", "role": "leader", "state": "running", "api_url": "http://127.0.0.1:8011/patroni", "#,
        r#""host": "127.0.0.1", "port": 6011, "timeline": 1}, {"name": "n2", "role": "replica", "state": "streaming", "#,
        r#""api_url": "http://127.0.0.1:8012/patroni", "host": "127.0.0.1", "port": 6012, "timeline": 1, "lag": 0, "#,
        r#""tags": {"noloadbalance": true, "clonefrom": false}}, "#,
        r#"{"name": "n3", "role": "replica", "state": "stopped"}], "#,
        r#""scope": "test"}"#,
    );

    #[test]
    fn nodes_leader_and_the_other_patronis_are_read() {
        let description = parse(ANSWER.as_bytes()).unwrap();
        assert_eq!(description.leader(), Some(Endpoint::new("127.0.0.1", 6011)));
        let nodes: Vec<_> = description.nodes().map(|(node, reads)| (node.port(), reads)).collect();
        assert_eq!(nodes, [(6011, true), (6012, false)]);
        let apis: Vec<_> = description.apis().map(|api| api.to_string()).collect();
        assert_eq!(apis, ["http://127.0.0.1:8011", "http://127.0.0.1:8012"]);
    }

    #[test]
    fn what_is_no_description_is_refused() {
        for answer in ["", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 503 x\r\n\r\n{\"members\": []}", "\r\n\r\n{}"]
        {
            assert_eq!(parse(answer.as_bytes()), None, "{answer:?}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let check = |text: &str, shown: &str| {
            let url: Result<PatroniUrl, _> = text.parse();
            assert_eq!(url.map_or_else(|_| "refused".to_owned(), |url| url.to_string()), shown, "{text}");
        };
        check("http://db1:8008", "http://db1:8008");
        check("http://db1/", "http://db1:8008");
        check("http://127.0.0.1:8011/patroni", "http://127.0.0.1:8011");
        check("https://db1:8008", "refused");
        check("http://user@db1", "refused");
        check("http://:8008", "refused");
        check("db1:8008", "refused");
    }
}
