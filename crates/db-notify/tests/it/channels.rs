//! Each channel against a listener: what arrives, what an error says, and what no error says.

use std::time::{Duration, SystemTime};

use db_notify::{Channel, Discord, Email, Message, Secret, Severity, Slack, Teams, Webhook, webhook};

use crate::listener::Listener;
use crate::smtp::MailServer;

fn message() -> Message {
    Message::new(Severity::Critical, "The backup of shöp failed", "no space left on <device>")
        .key("backup:shop")
        .fact("host", "db1")
        .link("https://runbooks.example/full-disk")
}

#[tokio::test]
async fn a_letter_arrives_whole_with_its_subject_and_for_everybody() {
    let server = MailServer::start().await;
    let url = format!("smtp://ann:hunter2@127.0.0.1:{}", server.port);
    let to = ["ops@example.com", "Ann <ann@example.com>"];
    let email = Email::new(&url, "Database <db@example.com>", to).unwrap();
    email.send(&message(), "msg_1").await.unwrap();
    let letters = server.letters();
    assert_eq!(letters.len(), 1);
    let Letters { to, text, login } = Letters::of(&letters[0]);
    assert_eq!(to, ["RCPT TO:<ops@example.com>", "RCPT TO:<ann@example.com>"]);
    assert!(login.starts_with("AUTH PLAIN"), "{login}");
    for part in
        ["Auto-Submitted: auto-generated", "Message-ID: ", "From: ", "db1", "https://runbooks.example"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The subject is not ASCII, so it is encoded, on one line or folded.
    assert!(
        text.contains("Subject: =?utf-8?b?") || text.contains("Subject: [critical] The backup of"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

struct Letters {
    to: Vec<String>,
    text: String,
    login: String,
}

impl Letters {
    fn of(letter: &crate::smtp::Letter) -> Self {
        let only_address = |line: &String| line.split_once('>').unwrap().0.to_owned() + ">";
        Letters {
            to: letter.to.iter().map(only_address).collect(),
            text: letter.text.clone(),
            login: letter.login.clone().unwrap_or_default(),
        }
    }
}

#[tokio::test]
async fn a_refusal_for_now_is_told_from_one_for_ever() {
    let server = MailServer::start().await;
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let email = Email::new(&url, "db@example.com", ["ops@example.com"]).unwrap();
    server.refuse(&["451 try later", "554 no such user"]);
    let error = email.send(&message(), "msg_1").await.unwrap_err();
    assert!(!error.is_permanent && error.what.contains("try later"), "{error:?}");
    let error = email.send(&message(), "msg_1").await.unwrap_err();
    assert!(error.is_permanent && error.what.contains("no such user"), "{error:?}");
    email.send(&message(), "msg_1").await.unwrap();
    let nobody = Email::new("smtp://127.0.0.1:1", "db@example.com", ["ops@example.com"]).unwrap();
    let error = nobody.send(&message(), "msg_1").await.unwrap_err();
    assert!(!error.is_permanent && error.what.contains("refused"), "{error:?}");
}

#[tokio::test]
async fn a_webhook_is_signed_in_each_attempt_and_its_receiver_can_check_it() {
    let listener = Listener::start().await;
    let key = Secret::new("a key of sixteen bytes or more");
    let channel = Webhook::new(&listener.url("/db?token=hunter2"), Some(&key)).unwrap();
    listener.answer(&[("503 Busy\r\nretry-after: 7", "")]);
    let error = channel.send(&message(), "msg_1").await.unwrap_err();
    assert_eq!((error.is_permanent, error.retry_after), (false, Some(Duration::from_secs(7))));
    channel.send(&message(), "msg_1").await.unwrap();
    let seen = listener.seen();
    assert_eq!(seen.len(), 2);
    for request in &seen {
        assert_eq!(request.line, "POST /db?token=hunter2 HTTP/1.1");
        let header = |name: &str| request.headers[name].clone();
        let (id, timestamp, signature) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
        assert_eq!(id, "msg_1");
        let body = request.body.as_bytes();
        let now = SystemTime::now();
        assert_eq!(webhook::verify(&key, &id, &timestamp, body, &signature, now), Ok(()));
        let later = now + webhook::REPLAY_WINDOW + Duration::from_secs(5);
        let replayed = webhook::verify(&key, &id, &timestamp, body, &signature, later);
        assert_eq!(replayed, Err(webhook::Refused::Replayed));
    }
    let json = seen[1].json();
    assert_eq!(
        (json["severity"].as_str(), json["incident"].as_str(), json["facts"]["host"].as_str()),
        (Some("critical"), Some("backup:shop"), Some("db1"))
    );
    assert_eq!(json["title"], "The backup of shöp failed");
    let unsigned = Webhook::new(&listener.url("/"), None).unwrap();
    unsigned.send(&message(), "msg_2").await.unwrap();
    assert!(!listener.seen()[2].headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn every_web_channel_posts_what_its_receiver_reads() {
    let listener = Listener::start().await;
    let url = listener.url("/services/T0/B0/hunter2");
    let channels: [Box<dyn Channel>; 3] = [
        Box::new(Slack::new(&url).unwrap()),
        Box::new(Teams::new(&url).unwrap()),
        Box::new(Discord::new(&url).unwrap()),
    ];
    for channel in &channels {
        channel.send(&message(), "msg_1").await.unwrap();
    }
    let bodies: Vec<_> = listener.seen().iter().map(super::listener::Request::json).collect();
    assert_eq!(bodies[0]["blocks"][1]["text"]["text"], "no space left on <device>");
    assert_eq!(bodies[1]["attachments"][0]["content"]["type"], "AdaptiveCard");
    assert_eq!(bodies[2]["embeds"][0]["title"], "\\[critical\\] The backup of shöp failed");
    assert!(listener.seen().iter().all(|request| request.headers["content-type"] == "application/json"));
}

#[tokio::test]
async fn no_error_shows_an_address_whatever_the_receiver_says() {
    let listener = Listener::start().await;
    let path = "/services/T0AAAAAA/B0AAAAAA/hunter2secret";
    let url = listener.url(path);
    let channel = Slack::new(&url).unwrap();
    listener.answer(&[
        ("404 Not Found", "no_service at /services/T0AAAAAA/B0AAAAAA/hunter2secret"),
        ("403 Forbidden", "token hunter2secret is revoked"),
        ("302 Found\r\nlocation: http://127.0.0.1:1/hunter2secret", ""),
        ("500 Oops", "try again"),
    ]);
    for (is_permanent, says) in [
        (true, "the receiver answered 404 Not Found: no_service at ***"),
        (true, "the receiver answered 403 Forbidden: token *** is revoked"),
        (true, "the receiver answered 302 Found:"),
        (false, "the receiver answered 500"),
    ] {
        let error = channel.send(&message(), "msg_1").await.unwrap_err();
        assert_eq!(error.is_permanent, is_permanent, "{error:?}");
        assert!(error.what.starts_with(says), "{error:?}");
    }
    assert_eq!(listener.seen().len(), 4, "a redirect is not followed");
    let dead = Slack::new(&format!("http://127.0.0.1:1{path}")).unwrap();
    let error = dead.send(&message(), "msg_1").await.unwrap_err();
    assert!(!error.is_permanent && !error.what.contains("hunter2"), "{error:?}");
    assert!(error.what.contains("onnect"), "{error:?}");
}
