//! Microsoft Teams, by a workflow's webhook: an adaptive card of plain text runs.

use serde_json::{Value, json};

use crate::channel::{BoxFuture, Channel, InvalidChannel};
use crate::http::Receiver;
use crate::message::cut;
use crate::{Message, SendError, Severity};

/// Posts to a Teams channel by the webhook of a workflow, whose address is a secret.
///
/// The workflow is "Post to a channel when a webhook request is received". The older connectors are gone.
///
/// ```
/// let teams = db_notify::Teams::new("https://prod.westeurope.logic.azure.com/workflows/secret")?;
/// # Ok::<(), db_notify::InvalidChannel>(())
/// ```
pub struct Teams {
    receiver: Receiver,
}

impl Teams {
    /// The channel of this workflow.
    ///
    /// # Errors
    /// [`InvalidChannel`] where the address is no `https` address.
    pub fn new(url: &str) -> Result<Self, InvalidChannel> {
        Ok(Teams { receiver: Receiver::new("teams", url, false)? })
    }
}

impl Channel for Teams {
    fn name(&self) -> &str {
        "teams"
    }

    fn send<'a>(&'a self, message: &'a Message, _id: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move { self.receiver.post(payload(message).to_string(), &[]).await })
    }
}

fn payload(message: &Message) -> Value {
    let colour = match (message.is_resolved, message.severity) {
        (true, _) => "Good",
        (_, Severity::Info) => "Default",
        (_, Severity::Warning) => "Warning",
        (_, Severity::Critical) => "Attention",
    };
    // Text runs are not markdown, unlike text blocks. A card has at most 28 KB.
    let title = json!({
        "type": "RichTextBlock",
        "inlines": [{ "type": "TextRun", "weight": "Bolder", "color": colour, "text": cut(&message.subject(), 300) }],
    });
    let mut body = vec![title];
    let mut block = |text: &str, most| {
        if !text.trim().is_empty() {
            let run = json!({ "type": "TextRun", "text": cut(text, most) });
            body.push(json!({ "type": "RichTextBlock", "inlines": [run] }));
        }
    };
    block(&message.body(), 4_000);
    for (name, value) in message.facts.iter().take(20) {
        block(&format!("{name}: {value}"), 200);
    }
    let link =
        message.web_link().map(|link| json!({ "type": "Action.OpenUrl", "title": "Read on", "url": link }));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
                "actions": link.into_iter().collect::<Vec<_>>(),
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_plain_text_below_28_kilobytes() {
        let mut message = Message::new(Severity::Warning, "**a** [b](http://c)", "ß".repeat(20_000));
        for n in 0..100 {
            message = message.fact(format!("name {n}"), "v".repeat(500));
        }
        let payload = payload(&message.link("javascript:alert(1)"));
        let all = payload.to_string();
        assert!(all.len() < 28_000, "{}", all.len());
        assert!(!all.contains("TextBlock\"") || all.contains("RichTextBlock"), "{all}");
        assert!(!all.contains("javascript"), "only web addresses are links");
        let card = &payload["attachments"][0]["content"];
        assert_eq!(card["body"][0]["inlines"][0]["text"], "[warning] **a** [b](http://c)");
        assert_eq!(card["actions"], json!([]));
    }
}
