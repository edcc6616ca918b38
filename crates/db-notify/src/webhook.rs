//! A webhook of the caller's own: JSON, signed as the Standard Webhooks specification has it.
//!
//! Three headers go with each POST. `webhook-id` is the same for all attempts at one message, so that a
//! receiver can tell that it has it already. `webhook-timestamp` is the attempt's time in seconds since 1970.
//! `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`. A receiver that
//! refuses timestamps outside of [`REPLAY_WINDOW`] and ids that it has seen within it cannot be fooled by a
//! message that is sent again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::json;

use crate::channel::{BoxFuture, Channel, InvalidChannel};
use crate::http::Receiver;
use crate::message::Gathered;
use crate::{Message, Secret, SendError};

/// A receiver refuses what is older or younger than this by its own clock.
pub const REPLAY_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Keys are at least this long: a shorter one can be guessed from one message.
const SHORTEST_KEY: usize = 16;

/// Posts messages as JSON to an address of the caller's own, signed where there is a key.
///
/// The body has `id`, `severity`, `title`, `text`, `resolved`, `acknowledged`, `incident` (the message's key,
/// or null), `repeated`, `link` (or null), `at` (seconds since 1970), `facts` (an object) and `messages`:
/// those that a digest stands for, each with `id`, `severity`, `title`, `resolved`, `acknowledged` and
/// `incident`.
///
/// ```
/// use db_notify::{Secret, Webhook};
///
/// let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
/// let webhook = Webhook::new("https://alerts.example/db", Some(&key))?;
/// assert!(Webhook::new("alerts.example", None).is_err());
/// # Ok::<(), db_notify::InvalidChannel>(())
/// ```
pub struct Webhook {
    receiver: Receiver,
    key: Option<hmac::Key>,
}

/// Why a receiver refuses a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The timestamp is no number.
    #[error("the timestamp is no number of seconds")]
    NoTimestamp,
    /// It was sent again later, or a clock is wrong.
    #[error("the message was signed outside of the replay window: compare the clocks of both hosts")]
    Replayed,
    /// Another key, or another text.
    #[error("the signature is not the message's: compare the key")]
    WrongSignature,
    /// The key is unusable.
    #[error("the key is too short: take at least 16 bytes")]
    WeakKey,
}

impl Webhook {
    /// A webhook at this address. The key is a text of at least 16 bytes, or `whsec_` and base64; without one
    /// nothing is signed.
    ///
    /// # Errors
    /// [`InvalidChannel`] where the address is no web address, or the key too short or no base64.
    pub fn new(url: &str, key: Option<&Secret>) -> Result<Self, InvalidChannel> {
        let key = key.map(signing_key).transpose()?;
        Ok(Webhook { receiver: Receiver::new("webhook", url, true)?, key })
    }
}

impl Channel for Webhook {
    fn name(&self) -> &str {
        "webhook"
    }

    fn send<'a>(&'a self, message: &'a Message, id: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let body = body(message, id);
            let seconds = unix(SystemTime::now()).to_string();
            let mut headers = vec![("webhook-id", id.to_owned()), ("webhook-timestamp", seconds.clone())];
            if let Some(key) = &self.key {
                headers.push(("webhook-signature", signature(key, id, &seconds, body.as_bytes())));
            }
            self.receiver.post(body, &headers).await
        })
    }
}

/// Checks a message as a receiver does: signature first, then age. Remember the ids of the last
/// [`REPLAY_WINDOW`] besides, and answer 200 to one that you have.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use db_notify::{Secret, webhook};
///
/// let key = Secret::new("a key of sixteen bytes or more");
/// let (id, timestamp, body) = ("msg_1", "1700000000", br#"{"title":"x"}"#);
/// let signature = webhook::sign(&key, id, timestamp, body)?;
/// let now = UNIX_EPOCH + Duration::from_secs(1_700_000_010);
/// assert_eq!(webhook::verify(&key, id, timestamp, body, &signature, now), Ok(()));
/// assert!(webhook::verify(&key, id, timestamp, b"{}", &signature, now).is_err());
/// # Ok::<(), webhook::Refused>(())
/// ```
///
/// # Errors
/// [`Refused`].
pub fn verify(
    key: &Secret,
    id: &str,
    timestamp: &str,
    body: &[u8],
    signature: &str,
    now: SystemTime,
) -> Result<(), Refused> {
    let key = signing_key(key).map_err(|_| Refused::WeakKey)?;
    let content = content(id, timestamp, body);
    // There may be several signatures, while a key is replaced.
    let is_signed = signature
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1,"))
        .any(|one| STANDARD.decode(one).is_ok_and(|tag| hmac::verify(&key, &content, &tag).is_ok()));
    if !is_signed {
        return Err(Refused::WrongSignature);
    }
    let sent: u64 = timestamp.parse().map_err(|_| Refused::NoTimestamp)?;
    if sent.abs_diff(unix(now)) > REPLAY_WINDOW.as_secs() {
        return Err(Refused::Replayed);
    }
    Ok(())
}

/// The signature of a message, as it stands in the header `webhook-signature`.
///
/// # Errors
/// [`Refused::WeakKey`].
pub fn sign(key: &Secret, id: &str, timestamp: &str, body: &[u8]) -> Result<String, Refused> {
    let key = signing_key(key).map_err(|_| Refused::WeakKey)?;
    Ok(signature(&key, id, timestamp, body))
}

fn signing_key(key: &Secret) -> Result<hmac::Key, InvalidChannel> {
    let bytes = match key.reveal().strip_prefix("whsec_") {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| InvalidChannel("the webhook's key is no base64 after whsec_".to_owned()))?,
        None => key.reveal().as_bytes().to_vec(),
    };
    if bytes.len() < SHORTEST_KEY {
        return Err(InvalidChannel(format!(
            "the webhook's key is too short: take at least {SHORTEST_KEY} bytes"
        )));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn signature(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> String {
    format!("v1,{}", STANDARD.encode(hmac::sign(key, &content(id, timestamp, body))))
}

fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

fn body(message: &Message, id: &str) -> String {
    let facts: serde_json::Map<_, _> =
        message.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let gathered: Vec<_> = message.gathered.iter().map(part).collect();
    json!({
        "id": id,
        "severity": message.severity.as_str(),
        "title": message.title,
        "text": message.text,
        "resolved": message.is_resolved,
        "incident": message.key,
        "acknowledged": message.is_acknowledged,
        "repeated": message.repeated,
        "messages": gathered,
        "link": message.link,
        "at": unix(message.at),
        "facts": facts,
    })
    .to_string()
}

/// One message of a digest. Its id is the one that it has alone.
fn part(message: &Gathered) -> serde_json::Value {
    json!({
        "id": message.id,
        "severity": message.severity.as_str(),
        "title": message.title,
        "resolved": message.is_resolved,
        "acknowledged": message.is_acknowledged,
        "incident": message.key,
    })
}

fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// The example of the specification: https://github.com/standard-webhooks/standard-webhooks, its
    /// libraries' tests.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature =
            sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_changed_or_sent_again_later_is_refused() {
        let key = Secret::new("a key of sixteen bytes or more");
        let signature = sign(&key, "msg_1", "1000", b"{}").unwrap();
        let check = |id, timestamp, body: &[u8], signature: &str, now| {
            verify(&key, id, timestamp, body, signature, at(now))
        };
        assert_eq!(check("msg_1", "1000", b"{}", &signature, 1_300), Ok(()));
        assert_eq!(check("msg_1", "1000", b"{}", &format!("v1,AAAA {signature}"), 700), Ok(()));
        assert_eq!(check("msg_1", "1000", b"{}", &signature, 1_301), Err(Refused::Replayed));
        assert_eq!(check("msg_1", "1000", b"{}", &signature, 699), Err(Refused::Replayed));
        for (id, timestamp, body) in
            [("msg_2", "1000", &b"{}"[..]), ("msg_1", "1001", b"{}"), ("msg_1", "1000", b"{ }")]
        {
            assert_eq!(check(id, timestamp, body, &signature, 1_000), Err(Refused::WrongSignature));
        }
        for signature in ["", "v1,", "v2,abc", "v1,not base64"] {
            assert_eq!(check("msg_1", "1000", b"{}", signature, 1_000), Err(Refused::WrongSignature));
        }
        let other = Secret::new("another key of enough bytes");
        assert_eq!(
            verify(&other, "msg_1", "1000", b"{}", &signature, at(1_000)),
            Err(Refused::WrongSignature)
        );
        assert_eq!(sign(&Secret::new("short"), "", "", b""), Err(Refused::WeakKey));
    }
}
