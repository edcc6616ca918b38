//! Asks Patroni's REST API which nodes there are and which one leads.
//!
//! It is a hint, never a verdict: nodes that Patroni names are watched like all others, and a new leader
//! makes the monitors ask at once. Whether a node takes writes is what its own answer says.

mod transport;
mod url;

pub use url::{InvalidPatroniUrl, PatroniUrl};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use db_core::Endpoint;
use serde::Deserialize;
use serde_json::Value;

use transport::Transport;

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(2);

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

    /// The other Patronis, which are asked as the one that named them.
    fn apis<'a>(&'a self, named_by: &'a PatroniUrl) -> impl Iterator<Item = PatroniUrl> {
        let asked = |member: &'a Member| {
            let api: PatroniUrl = member.api_url.as_ref()?.parse().ok()?;
            Some(api.asked_as(named_by))
        };
        self.members.iter().filter_map(asked)
    }
}

/// The Patronis that are known: each of them can answer.
pub(crate) struct Patroni {
    /// The one that answered last comes first, and then those that it named.
    learned: Vec<PatroniUrl>,
    configured: BTreeSet<PatroniUrl>,
    transport: Transport,
}

impl Patroni {
    pub(crate) fn new(known: impl IntoIterator<Item = PatroniUrl>) -> Self {
        Patroni {
            learned: Vec::new(),
            configured: known.into_iter().collect(),
            transport: Transport::default(),
        }
    }

    /// Tells `see` what Patroni says, again and again.
    pub(crate) async fn watch(mut self, mut see: impl FnMut(&Description)) {
        let mut silent = false;
        loop {
            match self.ask().await {
                Some((answered, description)) => {
                    silent = false;
                    let others =
                        description.apis(&answered).filter(|api| *api != answered).collect::<Vec<_>>();
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

    async fn ask(&mut self) -> Option<(PatroniUrl, Description)> {
        let configured = self.configured.iter().filter(|url| !self.learned.contains(url));
        for url in self.learned.iter().chain(configured) {
            match tokio::time::timeout(DEADLINE, describe(&mut self.transport, url)).await {
                Ok(Ok(description)) => return Some((url.clone(), description)),
                Ok(Err(error)) => tracing::debug!(%url, %error, "Patroni does not answer"),
                Err(_) => tracing::debug!(%url, "Patroni does not answer in time"),
            }
        }
        None
    }
}

async fn describe(transport: &mut Transport, url: &PatroniUrl) -> std::io::Result<Description> {
    let answer = transport.get(url, "/cluster").await?;
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
        let asked: PatroniUrl = "http://127.0.0.1:8011".parse().unwrap();
        let apis: Vec<_> = description.apis(&asked).map(|api| api.to_string()).collect();
        assert_eq!(apis, ["http://127.0.0.1:8011", "http://127.0.0.1:8012"]);
    }

    #[test]
    fn what_is_no_description_is_refused() {
        for answer in ["", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 503 x\r\n\r\n{\"members\": []}", "\r\n\r\n{}"]
        {
            assert_eq!(parse(answer.as_bytes()), None, "{answer:?}");
        }
    }
}
