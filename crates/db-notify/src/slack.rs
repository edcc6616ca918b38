//! Slack, by an incoming webhook: blocks, within Slack's limits, with nothing interpreted.

use serde_json::{Value, json};

use crate::channel::{BoxFuture, Channel, InvalidChannel};
use crate::http::Receiver;
use crate::message::cut;
use crate::{Message, SendError, Severity};

/// Posts to a Slack channel by an incoming webhook, whose address is a secret.
///
/// ```
/// let slack = db_notify::Slack::new("https://hooks.slack.com/services/T0/B0/secret")?;
/// # Ok::<(), db_notify::InvalidChannel>(())
/// ```
pub struct Slack {
    receiver: Receiver,
}

impl Slack {
    /// The channel of this webhook.
    ///
    /// # Errors
    /// [`InvalidChannel`] where the address is no `https` address.
    pub fn new(url: &str) -> Result<Self, InvalidChannel> {
        Ok(Slack { receiver: Receiver::new("slack", url, false)? })
    }
}

impl Channel for Slack {
    fn name(&self) -> &str {
        "slack"
    }

    fn send<'a>(&'a self, message: &'a Message, _id: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move { self.receiver.post(payload(message).to_string(), &[]).await })
    }
}

fn payload(message: &Message) -> Value {
    let sign = match (message.is_resolved, message.severity) {
        (true, _) => "\u{2705}",
        (_, Severity::Info) => "\u{2139}\u{fe0f}",
        (_, Severity::Warning) => "\u{26a0}\u{fe0f}",
        (_, Severity::Critical) => "\u{1f534}",
    };
    let plain = |text: &str, most| json!({ "type": "plain_text", "text": cut(text, most), "emoji": false });
    let mut blocks =
        vec![json!({ "type": "header", "text": plain(&format!("{sign} {}", message.title), 150) })];
    let body = message.body();
    if !body.trim().is_empty() {
        blocks.push(json!({ "type": "section", "text": plain(&body, 3_000) }));
    }
    // A section holds ten fields.
    for ten in message.facts.chunks(10).take(4) {
        let fields: Vec<Value> =
            ten.iter().map(|(name, value)| plain(&format!("{name}: {value}"), 2_000)).collect();
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    if let Some(link) = message.web_link() {
        blocks.push(json!({ "type": "section", "text": plain(link, 3_000) }));
    }
    // The text is what a notification on a telephone shows; there `&`, `<` and `>` are markup.
    let text = escaped(&message.subject());
    json!({ "text": cut(&text, 3_000), "blocks": blocks, "unfurl_links": false })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_interpreted_and_nothing_is_too_long() {
        let mut message =
            Message::new(Severity::Critical, "<!channel> *a* & b ".repeat(50), "x".repeat(5_000));
        for n in 0..60 {
            message = message.fact(format!("name {n}"), "<@U1>");
        }
        let payload = payload(&message);
        let text = payload["text"].as_str().unwrap();
        assert!(text.starts_with("[critical] &lt;!channel&gt; *a* &amp; b"), "{text}");
        let blocks = payload["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        assert_eq!(blocks[0]["text"]["text"].as_str().unwrap().chars().count(), 150);
        assert_eq!(blocks[1]["text"]["text"].as_str().unwrap().chars().count(), 3_000);
        let all = payload.to_string();
        assert!(!all.contains("mrkdwn"), "{all}");
        assert_eq!(blocks[2]["fields"].as_array().unwrap().len(), 10);
    }
}
