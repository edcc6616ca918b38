//! Discord, by a channel's webhook: an embed in which nobody is pinged and nothing is markup.

use serde_json::{Value, json};

use crate::channel::{BoxFuture, Channel, InvalidChannel};
use crate::http::Receiver;
use crate::message::cut;
use crate::{Message, SendError, Severity};

/// Posts to a Discord channel by its webhook, whose address is a secret.
///
/// ```
/// let discord = db_notify::Discord::new("https://discord.com/api/webhooks/1/secret")?;
/// # Ok::<(), db_notify::InvalidChannel>(())
/// ```
pub struct Discord {
    receiver: Receiver,
}

impl Discord {
    /// The channel of this webhook.
    ///
    /// # Errors
    /// [`InvalidChannel`] where the address is no `https` address.
    pub fn new(url: &str) -> Result<Self, InvalidChannel> {
        Ok(Discord { receiver: Receiver::new("discord", url, false)? })
    }
}

impl Channel for Discord {
    fn name(&self) -> &str {
        "discord"
    }

    fn send<'a>(&'a self, message: &'a Message, _id: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move { self.receiver.post(payload(message).to_string(), &[]).await })
    }
}

fn payload(message: &Message) -> Value {
    let colour = match (message.is_resolved, message.severity) {
        (true, _) => 0x2e_a0_43,
        (_, Severity::Info) => 0x57_60_6a,
        (_, Severity::Warning) => 0xbf_87_00,
        (_, Severity::Critical) => 0xcf_22_2e,
    };
    // Discord counts 6,000 characters over all of an embed.
    let fields: Vec<Value> = message.facts.iter().take(10).map(field).collect();
    let mut embed = json!({
        "title": cut(&escaped(&message.subject()), 256),
        "description": cut(&escaped(&message.body()), 2_500),
        "color": colour,
        "fields": fields,
    });
    if let Some(link) = message.web_link() {
        embed["url"] = json!(link);
    }
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

fn field((name, value): &(String, String)) -> Value {
    let text = |text: &str, most| match text.trim() {
        // Discord refuses an empty one.
        "" => "-".to_owned(),
        text => cut(&escaped(text), most),
    };
    json!({ "name": text(name, 100), "value": text(value, 200), "inline": true })
}

/// The text with a backslash before what Discord's markdown would take.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\*_~`|>#[]()<@-".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_pinged_nothing_is_markup_and_the_whole_fits() {
        let mut message = Message::new(Severity::Critical, "@everyone **a**", "x_y".repeat(4_000));
        for n in 0..60 {
            message = message.fact(format!("{n}"), "");
        }
        let payload = payload(&message);
        let embed = &payload["embeds"][0];
        assert_eq!(embed["title"], "\\[critical\\] \\@everyone \\*\\*a\\*\\*");
        assert_eq!(payload["allowed_mentions"], json!({ "parse": [] }));
        assert_eq!(embed["fields"][0]["value"], "-");
        let length = |value: &Value| value.as_str().unwrap().chars().count();
        let fields = embed["fields"].as_array().unwrap();
        let all: usize = fields.iter().map(|field| length(&field["name"]) + length(&field["value"])).sum();
        assert!(fields.len() <= 25 && all + length(&embed["title"]) + length(&embed["description"]) <= 6_000);
    }
}
