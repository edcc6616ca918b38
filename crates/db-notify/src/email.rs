//! E-mail, by SMTP: TLS by rustls, plain text, one message to all recipients.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use url::{Host, Url};

use crate::channel::{BoxFuture, Channel, InvalidChannel};
use crate::secret::scrubbed;
use crate::{Message, Secret, SendError};

/// One command and its answer may take this long; the attempt as a whole has the notifier's limit.
const COMMAND: Duration = Duration::from_secs(10);

/// Sends e-mail by an SMTP server.
///
/// `smtps://user:password@host` is encrypted from the first byte (port 465), `smtp://user:password@host` by
/// STARTTLS (port 587), without which nothing is sent. A server on this machine is spoken to in the clear
/// (port 25), and another one only where the URL ends in `?tls=none`, and then without a password.
///
/// ```
/// let email = db_notify::Email::new(
///     "smtps://alerts:secret@mail.example",
///     "Database <db@shop.example>",
///     ["ops@shop.example", "ann@shop.example"],
/// )?;
/// # Ok::<(), db_notify::InvalidChannel>(())
/// ```
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    secrets: Vec<Secret>,
}

impl Email {
    /// A channel to these recipients.
    ///
    /// # Errors
    /// [`InvalidChannel`] where the URL or an address is not understood, there is no recipient, or a password
    /// would go in the clear.
    pub fn new<'a>(
        url: &str,
        from: &str,
        to: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidChannel> {
        let mailbox = |address: &str| -> Result<Mailbox, InvalidChannel> {
            // An address is no secret, and the one that is wrong must be found.
            address
                .trim()
                .parse()
                .map_err(|_| InvalidChannel(format!("{:?} is no e-mail address", address.trim())))
        };
        let to = to.into_iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(InvalidChannel("there is no e-mail address to write to".to_owned()));
        }
        let server = Server::parse(url)?;
        let secrets = server.password.iter().cloned().collect();
        Ok(Email { transport: server.transport()?, from: mailbox(from)?, to, secrets })
    }

    fn letter(&self, message: &Message) -> Result<lettre::Message, lettre::error::Error> {
        let mut letter = lettre::Message::builder()
            .from(self.from.clone())
            .subject(message.subject())
            // Nobody's absence note answers it.
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .message_id(None)
            .date(message.at);
        for to in &self.to {
            letter = letter.to(to.clone());
        }
        letter.body(text(message))
    }
}

impl Channel for Email {
    fn name(&self) -> &str {
        "email"
    }

    fn send<'a>(&'a self, message: &'a Message, _id: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let letter = self
                .letter(message)
                .map_err(|error| SendError::permanent(format!("the letter cannot be written: {error}")))?;
            self.transport.send(letter).await.map(drop).map_err(|error| {
                let secrets: Vec<&str> = self.secrets.iter().map(Secret::reveal).collect();
                let what = scrubbed(&chain(&error), &secrets);
                if error.is_permanent() { SendError::permanent(what) } else { SendError::transient(what) }
            })
        })
    }
}

/// A mail server, as its URL names it.
struct Server {
    host: String,
    port: u16,
    encryption: Encryption,
    user: String,
    password: Option<Secret>,
}

#[derive(Clone, Copy, PartialEq)]
enum Encryption {
    FirstByte,
    StartTls,
    None,
}

impl Server {
    fn parse(url: &str) -> Result<Self, InvalidChannel> {
        let wrong = |what: &str| InvalidChannel(format!("the URL of the mail server {what}"));
        let url = Url::parse(url.trim()).map_err(|_| wrong("is no URL: write smtps://user:password@host"))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        // The scheme is no special one to the URL's grammar, so an address in it is a text.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_local = matches!(Host::parse(host), Ok(Host::Domain(name)) if name == "localhost")
            || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let option = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
        let (encryption, port) = match (url.scheme(), option.as_deref()) {
            ("smtps", None) => (Encryption::FirstByte, 465),
            ("smtp", Some("required")) => (Encryption::StartTls, 587),
            ("smtp", Some("none")) => (Encryption::None, 25),
            ("smtp", None) if is_local => (Encryption::None, 25),
            ("smtp", None) => (Encryption::StartTls, 587),
            _ => {
                return Err(wrong(
                    "is none: write smtps://, smtp://, or smtp:// with ?tls=required or ?tls=none",
                ));
            }
        };
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = url.password().map(|password| Secret::new(decode(password)));
        if encryption == Encryption::None && password.is_some() && !is_local {
            return Err(wrong("would send the password in the clear: write smtps://"));
        }
        let (host, user) = (bare.to_owned(), decode(url.username()));
        Ok(Server { host, port: url.port().unwrap_or(port), encryption, user, password })
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, InvalidChannel> {
        let tls = || {
            TlsParameters::new(self.host.clone()).map_err(|_| {
                InvalidChannel("the host of the mail server is no name for a certificate".to_owned())
            })
        };
        let tls = match self.encryption {
            Encryption::FirstByte => Tls::Wrapper(tls()?),
            Encryption::StartTls => Tls::Required(tls()?),
            Encryption::None => Tls::None,
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .hello_name(ClientId::Domain("localhost".to_owned()))
            .timeout(Some(COMMAND))
            .tls(tls);
        Ok(match &self.password {
            Some(password) => {
                builder.credentials(Credentials::new(self.user.clone(), password.reveal().to_owned())).build()
            }
            None => builder.build(),
        })
    }
}

/// `Auto-Submitted: auto-generated`, of RFC 3834.
#[derive(Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn text(message: &Message) -> String {
    let mut lines = vec![message.body()];
    if !message.facts.is_empty() {
        lines.push(String::new());
    }
    lines.extend(message.facts.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.extend(message.web_link().map(|link| format!("\n{link}")));
    lines.join("\n") + "\n"
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: &str) {
        let said = match Server::parse(url) {
            Ok(server) => {
                let word = match server.encryption {
                    Encryption::FirstByte => "tls",
                    Encryption::StartTls => "starttls",
                    Encryption::None => "plain",
                };
                format!("{word} {}:{} as {:?}", server.host, server.port, server.user)
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected, "{url}");
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn nothing_leaves_the_machine_in_the_clear_unless_that_is_asked_for() {
        check("smtps://ann%40x:hunter2@mail.example", "tls mail.example:465 as \"ann@x\"");
        check("smtp://ann:hunter2@mail.example:2525", "starttls mail.example:2525 as \"ann\"");
        check("smtp://mail.example", "starttls mail.example:587 as \"\"");
        check("smtp://localhost", "plain localhost:25 as \"\"");
        check("smtp://127.0.0.1:2500", "plain 127.0.0.1:2500 as \"\"");
        check("smtp://localhost?tls=required", "starttls localhost:587 as \"\"");
        check("smtp://mail.example?tls=none", "plain mail.example:25 as \"\"");
        check(
            "smtp://ann:hunter2@mail.example?tls=none",
            "the URL of the mail server would send the password in the clear: write smtps://",
        );
        check("mail.example", "the URL of the mail server is no URL: write smtps://user:password@host");
        check(
            "https://ann:hunter2@mail.example",
            "the URL of the mail server is none: write smtps://, smtp://, or smtp:// with ?tls=required or ?tls=none",
        );
    }

    #[test]
    fn addresses_are_checked_by_name() {
        let error = |to: &[&str]| {
            Email::new("smtp://localhost", "db@example.com", to.iter().copied()).err().unwrap().to_string()
        };
        assert_eq!(error(&["ops@example.com", "nobody"]), "\"nobody\" is no e-mail address");
        assert_eq!(error(&[]), "there is no e-mail address to write to");
    }
}
