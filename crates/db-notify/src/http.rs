//! One POST to a receiver: TLS by rustls with ring, no redirect followed, nothing of the address in an error.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use crate::channel::InvalidChannel;
use crate::secret::scrubbed;
use crate::{Secret, SendError};

/// A receiver that asks for more is not waited for.
const LONGEST_WISH: Duration = Duration::from_secs(3600);

/// Where a channel posts to.
pub(crate) struct Receiver {
    client: Client,
    url: Secret,
    secrets: Vec<Secret>,
}

impl Receiver {
    /// Reads an address. `name` is the channel's, for errors, which quote nothing. Without encryption only
    /// what is on this machine is written to, unless `plain` says otherwise.
    pub(crate) fn new(name: &str, url: &str, plain: bool) -> Result<Self, InvalidChannel> {
        let wrong = |what: &str| InvalidChannel(format!("the address of {name} {what}"));
        let parsed = Url::parse(url.trim()).map_err(|_| wrong("is no URL: write https://host/path"))?;
        match parsed.scheme() {
            "https" => {}
            "http" if plain || is_local(&parsed) => {}
            "http" => return Err(wrong("is not encrypted: write https://")),
            _ => return Err(wrong("is no web address: write https://host/path")),
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls().map_err(|why| wrong(&format!("cannot be used: {why}")))?)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("db-notify/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| wrong(&format!("cannot be used: {}", error.without_url())))?;
        Ok(Receiver { client, secrets: secrets(&parsed), url: Secret::new(parsed) })
    }

    /// The same, which repeats this secret in no error either: one that is sent in the body.
    #[cfg(feature = "pagerduty")]
    pub(crate) fn hiding(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Posts JSON with these headers.
    pub(crate) async fn post(
        &self,
        body: String,
        headers: &[(&'static str, String)],
    ) -> Result<(), SendError> {
        let mut all = HeaderMap::new();
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_| SendError::permanent(format!("{name} cannot be a header")))?;
            all.insert(HeaderName::from_static(name), value);
        }
        let sent = self.client.post(self.url.reveal()).headers(all).body(body).send().await;
        let response =
            sent.map_err(|error| SendError::transient(self.scrub(&chain(&error.without_url()))))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let wish = response.headers().get(RETRY_AFTER).and_then(|wish| wish.to_str().ok());
        let wish = wish.and_then(|wish| wish_to_wait(wish, SystemTime::now()));
        let said = response.text().await.unwrap_or_default();
        let what = self.scrub(&format!("the receiver answered {status}: {said}"));
        Err(if may_help(status) {
            SendError::transient(what).retry_after(wish)
        } else {
            SendError::permanent(what)
        })
    }

    fn scrub(&self, text: &str) -> String {
        scrubbed(text, &self.secrets.iter().map(Secret::reveal).collect::<Vec<_>>())
    }
}

/// Whether another attempt may help after this status.
fn may_help(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status)
}

/// What `Retry-After` says: seconds, whole or as a fraction, or a date, from which this is `now`.
fn wish_to_wait(wish: &str, now: SystemTime) -> Option<Duration> {
    let wish = wish.trim();
    let wait = match wish.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => httpdate::parse_http_date(wish).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WISH))
}

/// Everything of an address that lets its reader write there.
fn secrets(url: &Url) -> Vec<Secret> {
    let parts = [Some(url.as_str()), Some(url.path()), url.query(), url.password(), Some(url.username())];
    let segments = url.path_segments().into_iter().flatten().filter(|segment| segment.len() > 7);
    parts.into_iter().flatten().chain(segments).filter(|part| part.len() > 3).map(Secret::new).collect()
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The system's roots. The provider is named, so that another one in the process is no ambiguity.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let (_, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_never_quoted() {
        for (url, says) in [
            ("hooks.example/T1/B2/hunter2", "the address of slack is no URL: write https://host/path"),
            ("http://hooks.example/T1/B2/hunter2", "the address of slack is not encrypted: write https://"),
            (
                "ftp://hooks.example/hunter2",
                "the address of slack is no web address: write https://host/path",
            ),
        ] {
            let error = Receiver::new("slack", url, false).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some(says));
        }
        assert!(Receiver::new("slack", "http://127.0.0.1:1/x", false).is_ok());
        assert!(Receiver::new("webhook", "http://alerts.internal/x", true).is_ok());
    }

    #[test]
    fn wishes_to_wait_are_read_and_bounded() {
        // Wed, 21 Oct 2026 07:27:00 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_792_567_620);
        let wish = |text| wish_to_wait(text, now);
        assert_eq!(wish("30"), Some(Duration::from_secs(30)));
        assert_eq!(wish(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(wish("99999999"), Some(LONGEST_WISH));
        assert_eq!(wish("-1"), None);
        assert_eq!(wish("soon"), None);
        assert_eq!(wish("Wed, 21 Oct 2026 07:28:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wish("Wed, 21 Oct 2026 07:26:00 GMT"), Some(Duration::ZERO));
    }
}
