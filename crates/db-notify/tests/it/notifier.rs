//! The notifier: once, to everybody, again after failures, and not silent about a dead channel.

use std::sync::Arc;
use std::time::Duration;

use db_notify::{
    BoxFuture, Channel, Delivery, Email, Message, Notifier, NotifyConfig, PagerDuty, Secret, SendError,
    Severity, Slack, Webhook,
};

use crate::listener::Listener;
use crate::smtp::MailServer;
use crate::until;

/// Everything in milliseconds.
fn fast() -> NotifyConfig {
    NotifyConfig {
        attempt_timeout: Duration::from_millis(500),
        deadline: Duration::from_secs(2),
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(50),
        ..NotifyConfig::default()
    }
}

async fn webhook() -> (Listener, Arc<dyn Channel>) {
    let listener = Listener::start().await;
    let channel = Webhook::new(&listener.url("/hook"), None).unwrap();
    (listener, Arc::new(channel))
}

fn titles(listener: &Listener) -> Vec<String> {
    listener.seen().iter().map(|request| request.json()["title"].as_str().unwrap().to_owned()).collect()
}

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_message_goes_to_every_channel_that_it_is_grave_enough_for() {
    let (all, first) = webhook().await;
    let (grave, second) = webhook().await;
    let mail = MailServer::start().await;
    let email = Email::new(&format!("smtp://127.0.0.1:{}", mail.port), "db@a.example", ["ops@a.example"]);
    let channels: [(Arc<dyn Channel>, Severity); 3] = [
        (first, Severity::Info),
        (second, Severity::Critical),
        (Arc::new(email.unwrap()), Severity::Warning),
    ];
    let notifier = Notifier::start(fast(), channels);
    notifier.notify(Message::new(Severity::Info, "one", ""));
    notifier.notify(Message::new(Severity::Critical, "two", ""));
    assert!(notifier.shutdown(GRACE).await);
    // The gravest goes first.
    let mut seen = titles(&all);
    seen.sort();
    assert_eq!(seen, ["one", "two"]);
    assert_eq!(titles(&grave), ["two"]);
    assert_eq!(mail.letters().len(), 1);
    let delivered: Vec<u64> = notifier.status().iter().map(|status| status.delivered).collect();
    assert_eq!(delivered, [2, 1, 1]);
}

#[tokio::test]
async fn a_receiver_that_fails_for_a_while_gets_the_message_once() {
    let (listener, channel) = webhook().await;
    listener.answer(&[("503 Busy", ""), ("hang", ""), ("429 Slow\r\nretry-after: 0.02", "")]);
    let notifier = Notifier::start(fast(), [(channel, Severity::Info)]);
    notifier.notify(Message::new(Severity::Warning, "late", "").key("k"));
    notifier.notify(Message::new(Severity::Warning, "late", "").key("k"));
    assert!(notifier.shutdown(GRACE).await);
    let status = &notifier.status()[0];
    assert_eq!((status.delivered, status.retries, status.suppressed), (1, 3, 1), "{status:?}");
    let ids: Vec<_> = listener.seen().iter().map(|request| request.headers["webhook-id"].clone()).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_dead_channel_is_told_on_the_others_and_so_is_its_return() {
    let (alive, first) = webhook().await;
    let dead = Listener::start().await;
    let slack: Arc<dyn Channel> = Arc::new(Slack::new(&dead.url("/services/hunter2secret")).unwrap());
    dead.answer(&[("404 Not Found", "no_service"); 2]);
    let notifier = Notifier::start(fast(), [(first, Severity::Critical), (slack, Severity::Info)]);
    notifier.notify(Message::new(Severity::Warning, "disk", "").key("disk"));
    until("the death is told", || titles(&alive) == ["Nothing comes through on slack"]).await;
    let told = alive.seen()[0].json();
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("404 Not Found: no_service") && text.contains("[warning] disk"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(notifier.status()[1].dead_since.is_some());
    // What did not come through is not counted as told; the second failure is no second death.
    notifier.notify(Message::new(Severity::Warning, "disk", "").key("disk"));
    until("it is tried again", || notifier.status()[1].failed == 2).await;
    notifier.notify(Message::new(Severity::Warning, "disk", "").key("disk"));
    until("it is back", || notifier.status()[1].delivered == 1).await;
    assert!(notifier.shutdown(GRACE).await);
    assert_eq!(titles(&alive), ["Nothing comes through on slack", "Messages come through on slack again"]);
    assert_eq!(alive.seen()[1].json()["incident"], alive.seen()[0].json()["incident"]);
    assert_eq!(notifier.status()[1].dead_since, None);
}

#[tokio::test]
async fn a_flood_becomes_few_messages_and_loses_nothing() {
    let (listener, channel) = webhook().await;
    let config = NotifyConfig { burst: 3, ..fast() };
    let notifier = Notifier::start(config, [(channel, Severity::Info)]);
    for n in 0..25 {
        notifier.notify(Message::new(Severity::Warning, format!("check {n}"), "").key(format!("check {n}")));
    }
    assert!(notifier.shutdown(GRACE).await);
    let seen = listener.seen();
    assert!(seen.len() <= 4, "{:?}", titles(&listener));
    let all: String = seen.iter().map(|request| request.body.clone()).collect();
    for n in 0..25 {
        assert!(all.contains(&format!("check {n}")), "{n}: {all}");
    }
}

#[tokio::test]
async fn a_test_message_says_of_each_channel_whether_it_works() {
    let (listener, works) = webhook().await;
    let broken: Arc<dyn Channel> = Arc::new(Slack::new("http://127.0.0.1:1/hunter2secret").unwrap());
    let notifier = Notifier::start(fast(), [(broken, Severity::Info), (works, Severity::Critical)]);
    let results = notifier.test().await;
    assert_eq!(results.len(), 2);
    assert!(results[0].0 == "slack" && results[0].1.is_err(), "{results:?}");
    assert!(!format!("{results:?}").contains("hunter2"), "{results:?}");
    assert_eq!(results[1], ("webhook".to_owned(), Ok(())));
    assert_eq!(titles(&listener), ["A test message"]);
}

#[tokio::test]
async fn a_channel_that_panics_is_dead_and_hurts_no_other() {
    struct Broken;
    impl Channel for Broken {
        fn name(&self) -> &str {
            "broken"
        }
        fn send<'a>(&'a self, _: &'a Message, _: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
            panic!("no channel")
        }
    }
    let (listener, works) = webhook().await;
    let notifier =
        Notifier::start(fast(), [(Arc::new(Broken) as _, Severity::Info), (works, Severity::Info)]);
    notifier.notify(Message::new(Severity::Info, "hello", ""));
    until("both are told", || listener.seen().len() == 2).await;
    let mut seen = titles(&listener);
    seen.sort();
    assert_eq!(seen, ["Nothing comes through on broken", "hello"]);
    assert!(notifier.shutdown(GRACE).await);
}

#[tokio::test]
async fn no_debug_shows_an_address() {
    let (_listener, channel) = webhook().await;
    let slack: Arc<dyn Channel> = Arc::new(Slack::new("https://hooks.slack.com/services/hunter2").unwrap());
    let notifier = Notifier::start(fast(), [(channel, Severity::Info), (slack, Severity::Info)]);
    let shown = format!("{notifier:?} {:?}", notifier.status());
    assert!(!shown.contains("hunter2") && !shown.contains("/hook"), "{shown}");
}

#[tokio::test]
async fn a_delivery_answers_what_became_of_it_under_the_id_that_was_given() {
    let (listener, channel) = webhook().await;
    listener.answer(&[("503 Busy", ""), ("200 OK", ""), ("400 Bad", "no"), ("200 OK", "")]);
    let notifier = Notifier::start(fast(), [(channel, Severity::Critical)]);
    let message = |title: &str| Message::new(Severity::Info, title, "").key("locks#1");
    let first = notifier.deliver(0, "locks#1:raised", message("raised")).await;
    assert_eq!(first, Delivery::Sent { attempts: 2 });
    let Delivery::GivenUp(error) = notifier.deliver(0, "locks#1:graver", message("graver")).await else {
        panic!("400 is permanent")
    };
    assert!(error.is_permanent, "{error}");
    // The same key and the same id: it is for whoever gives ids to know.
    assert_eq!(
        notifier.deliver(0, "locks#1:graver", message("graver")).await,
        Delivery::Sent { attempts: 1 }
    );
    assert_eq!(notifier.deliver(1, "x", message("nobody")).await, Delivery::Dropped);
    let ids: Vec<_> = listener.seen().iter().map(|request| request.headers["webhook-id"].clone()).collect();
    assert_eq!(ids, ["locks#1:raised", "locks#1:raised", "locks#1:graver", "locks#1:graver"]);
}

#[tokio::test]
async fn a_test_opens_an_incident_at_pagerduty_and_closes_it() {
    let listener = Listener::start().await;
    listener.answer(&[("503 Busy", ""), ("202 Accepted", ""), ("202 Accepted", "")]);
    let key = Secret::new("R0UT1NGKEY");
    let channel = PagerDuty::at(&listener.url("/v2/enqueue"), &key).unwrap();
    let notifier = Notifier::start(fast(), [(Arc::new(channel) as Arc<dyn Channel>, Severity::Info)]);
    let failed = notifier.test().await;
    assert!(failed[0].1.as_ref().is_err_and(|error| !error.is_permanent), "{failed:?}");
    let passed = notifier.test().await;
    assert_eq!(passed, [("pagerduty".to_owned(), Ok(()))]);
    let events: Vec<_> = listener.seen().iter().map(|request| request.json()).collect();
    let actions: Vec<_> = events.iter().map(|event| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "trigger", "resolve"]);
    assert_eq!(events[1]["dedup_key"], events[2]["dedup_key"]);
    listener.answer(&[("400 Bad Request", "{\"errors\":[\"R0UT1NGKEY is no key\"]}")]);
    let refused = notifier.test().await;
    let error = refused[0].1.as_ref().unwrap_err();
    assert!(error.is_permanent && !error.what.contains("R0UT1NGKEY"), "{error}");
}
