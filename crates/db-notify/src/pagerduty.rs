//! PagerDuty, by Events API v2: one incident from its trigger to its resolve.

use serde_json::{Map, Value, json};

use crate::channel::{BoxFuture, Channel, InvalidChannel};
use crate::http::Receiver;
use crate::message::cut;
use crate::{Message, Secret, SendError, Severity};

/// Where events go in the region of the United States.
const EVENTS: &str = "https://events.pagerduty.com/v2/enqueue";
/// What PagerDuty takes of a deduplication key.
const LONGEST_KEY: usize = 255;
/// What PagerDuty takes of a summary.
const LONGEST_SUMMARY: usize = 1_024;

/// Triggers, acknowledges and resolves incidents at PagerDuty.
///
/// The message's key is the incident's deduplication key, so a message that is sent again opens no second
/// incident. One without a key is an incident that nothing resolves.
///
/// ```
/// use db_notify::{PagerDuty, Secret};
///
/// let key = Secret::new("R0UTINGKEYR0UTINGKEYR0UTINGKEY00");
/// let pagerduty = PagerDuty::new(&key)?;
/// let europe = PagerDuty::at("https://events.eu.pagerduty.com/v2/enqueue", &key)?;
/// # Ok::<(), db_notify::InvalidChannel>(())
/// ```
pub struct PagerDuty {
    receiver: Receiver,
    key: Secret,
}

impl PagerDuty {
    /// The service with this routing key (an integration of the kind "Events API V2").
    ///
    /// # Errors
    /// [`InvalidChannel`] if the key is empty or not of letters and digits. It is not quoted.
    pub fn new(routing_key: &Secret) -> Result<Self, InvalidChannel> {
        PagerDuty::at(EVENTS, routing_key)
    }

    /// The same at another address: another region, or a proxy.
    ///
    /// # Errors
    /// As [`PagerDuty::new`]; and if the address is no `https` address.
    pub fn at(url: &str, routing_key: &Secret) -> Result<Self, InvalidChannel> {
        let key = routing_key.reveal().trim();
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric()) {
            let what =
                "the routing key of pagerduty is not one: copy it from an integration \"Events API V2\"";
            return Err(InvalidChannel(what.to_owned()));
        }
        let key = Secret::new(key);
        Ok(PagerDuty { receiver: Receiver::new("pagerduty", url, false)?.hiding(key.clone()), key })
    }
}

impl Channel for PagerDuty {
    fn name(&self) -> &str {
        "pagerduty"
    }

    fn keeps_incidents(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, message: &'a Message, id: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move { self.receiver.post(event(message, id, &self.key).to_string(), &[]).await })
    }
}

fn event(message: &Message, id: &str, key: &Secret) -> Value {
    let action = match (message.is_resolved, message.is_acknowledged) {
        (true, _) => "resolve",
        (_, true) => "acknowledge",
        _ => "trigger",
    };
    let mut event = json!({
        "routing_key": key.reveal(),
        "event_action": action,
        "dedup_key": dedup_key(message.key.as_deref().unwrap_or(id)),
    });
    if action == "trigger" {
        let fact = |name: &str| message.facts.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let mut details: Map<String, Value> = message
            .facts
            .iter()
            .take(50)
            .map(|(name, value)| (cut(name, 100), json!(cut(value, 1_000))))
            .collect();
        if !message.text.trim().is_empty() {
            details.insert("text".to_owned(), json!(cut(&message.body(), 10_000)));
        }
        event["payload"] = json!({
            "summary": cut(&message.title, LONGEST_SUMMARY),
            "source": fact("server").or_else(|| fact("host")).map_or("database", String::as_str),
            "severity": match message.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            },
            "custom_details": details,
        });
        if let Some(link) = message.web_link() {
            event["links"] = json!([{ "href": link, "text": "Read on" }]);
        }
    }
    event
}

/// A key that is too long is cut, and what is cut off goes in as a hash: two incidents stay two.
fn dedup_key(key: &str) -> String {
    if key.len() <= LONGEST_KEY {
        return key.to_owned();
    }
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let end = (0..=LONGEST_KEY - 17).rev().find(|end| key.is_char_boundary(*end)).unwrap_or(0);
    format!("{}#{hash:016x}", &key[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &Message) -> Value {
        event(message, "msg_1", &Secret::new("abc"))
    }

    #[test]
    fn an_incident_is_triggered_acknowledged_and_resolved_under_one_key() {
        let raised = Message::new(Severity::Critical, "Locks wait", "pid 7 waits for pid 9")
            .key("locks#3")
            .fact("server", "db1:5432");
        let trigger = of(&raised);
        assert_eq!(trigger["event_action"], "trigger");
        assert_eq!(trigger["dedup_key"], "locks#3");
        assert_eq!(trigger["payload"]["severity"], "critical");
        assert_eq!(trigger["payload"]["source"], "db1:5432");
        assert_eq!(trigger["payload"]["custom_details"]["text"], "pid 7 waits for pid 9");
        let acknowledge = of(&raised.clone().acknowledged());
        assert_eq!(
            (&acknowledge["event_action"], &acknowledge["dedup_key"]),
            (&json!("acknowledge"), &json!("locks#3"))
        );
        let resolve = of(&raised.resolved());
        assert_eq!((&resolve["event_action"], &resolve["dedup_key"]), (&json!("resolve"), &json!("locks#3")));
        assert!(resolve.get("payload").is_none());
        assert_eq!(of(&Message::new(Severity::Info, "t", ""))["dedup_key"], "msg_1");
    }

    #[test]
    fn what_is_too_long_is_cut_and_keys_stay_apart() {
        let long = "ä".repeat(2_000);
        let summary = of(&Message::new(Severity::Info, long.clone(), ""))["payload"]["summary"].clone();
        assert_eq!(summary.as_str().map(|text| text.chars().count()), Some(1_024));
        let [one, two] = ["1", "2"].map(|end| dedup_key(&format!("{long}{end}")));
        assert!(one.len() <= LONGEST_KEY && one != two, "{one}");
    }

    #[test]
    fn a_routing_key_is_checked_and_never_quoted() {
        for key in ["", "hunter2 hunter2", "https://hunter2"] {
            let error = PagerDuty::new(&Secret::new(key)).err().map(|error| error.to_string()).unwrap();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
