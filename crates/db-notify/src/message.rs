//! What is sent: the same words on every channel.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

/// So many titles are listed in a digest.
const LISTED: usize = 30;

/// How much it matters; later ones matter more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Severity {
    /// Good to know: a backup was taken.
    #[default]
    Info,
    /// Somebody should look today.
    Warning,
    /// Somebody must look now.
    Critical,
}

/// One message to people.
///
/// No channel interprets what is in it: markup in a name is shown as it is, and a line break in a title is a
/// blank.
///
/// ```
/// use db_notify::{Message, Severity};
///
/// let message = Message::new(Severity::Critical, "The backup of shop failed", "no space left on device")
///     .key("backup:shop")
///     .fact("host", "db1")
///     .link("https://runbooks.example/full-disk");
/// assert_eq!(message.subject(), "[critical] The backup of shop failed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// How much it matters.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// What happened, and what to do.
    pub text: String,
    /// What a reader looks for: host, database, duration.
    pub facts: Vec<(String, String)>,
    /// Where to read on.
    pub link: Option<String>,
    /// What it is about. Messages with one key are one incident: repetitions within
    /// [`NotifyConfig::repeat_after`](crate::NotifyConfig::repeat_after) are counted and not sent.
    pub key: Option<String>,
    /// Whether it ends the incident of its key.
    pub is_resolved: bool,
    /// Whether somebody knows of the incident of its key, so that nobody is to be woken any more.
    pub is_acknowledged: bool,
    /// When it happened.
    pub at: SystemTime,
    /// How many repetitions were not sent since the last that was.
    pub repeated: u32,
    /// The messages that this one stands for, where it is a digest.
    pub gathered: Vec<Gathered>,
}

/// One message of a digest: what a machine that reads digests goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gathered {
    /// The id that it would have been sent with alone; none where nobody gave it one.
    pub id: Option<String>,
    /// The key of its incident.
    pub key: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// Its title.
    pub title: String,
    /// Whether it ends the incident.
    pub is_resolved: bool,
    /// Whether somebody knows of the incident.
    pub is_acknowledged: bool,
}

impl Gathered {
    /// What a message with this id is in a digest: itself, or what it stands for.
    fn of((id, message): (Option<String>, Message)) -> Vec<Gathered> {
        if !message.gathered.is_empty() {
            return message.gathered;
        }
        let Message { key, severity, title, is_resolved, is_acknowledged, .. } = message;
        vec![Gathered { id, key, severity, title, is_resolved, is_acknowledged }]
    }

    fn subject(&self) -> String {
        subject(self.severity, &self.title, self.is_resolved, self.is_acknowledged)
    }
}

impl Message {
    /// A message about now.
    pub fn new(severity: Severity, title: impl Into<String>, text: impl Into<String>) -> Self {
        Message {
            severity,
            title: one_line(&title.into()),
            text: text.into(),
            facts: Vec::new(),
            link: None,
            key: None,
            is_resolved: false,
            is_acknowledged: false,
            at: SystemTime::now(),
            repeated: 0,
            gathered: Vec::new(),
        }
    }

    /// Several messages, each with the id that it would have alone, as one: the gravest first. It is as grave
    /// as they.
    ///
    /// ```
    /// use db_notify::{Message, Severity};
    ///
    /// let [late, full] = [(Severity::Warning, "The archive is late"), (Severity::Critical, "The disk is full")]
    ///     .map(|(severity, title)| (None, Message::new(severity, title, "")));
    /// let digest = Message::digest([late, full]);
    /// assert_eq!(digest.subject(), "[critical] 2 messages in one");
    /// assert_eq!(digest.text, "[critical] The disk is full\n[warning] The archive is late");
    /// ```
    pub fn digest(messages: impl IntoIterator<Item = (Option<String>, Message)>) -> Message {
        // One that is a digest itself, because more came than the rate lets through, is taken apart.
        let mut all: Vec<Gathered> = messages.into_iter().flat_map(Gathered::of).collect();
        // A stable sort: within one severity the order is that of time.
        all.sort_by_key(|one| (one.is_resolved, std::cmp::Reverse(one.severity)));
        let severity = all.iter().map(|one| one.severity).max().unwrap_or_default();
        let mut lines: Vec<String> = all.iter().take(LISTED).map(|one| cut(&one.subject(), 200)).collect();
        if all.len() > LISTED {
            lines.push(format!("and {} more", all.len() - LISTED));
        }
        let are_resolved = !all.is_empty() && all.iter().all(|one| one.is_resolved);
        let mut digest = Message::new(severity, format!("{} messages in one", all.len()), lines.join("\n"));
        digest.is_resolved = are_resolved;
        digest.gathered = all;
        digest
    }

    /// The same message, about the incident of this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same message, which ends the incident of its key.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        self.is_resolved = true;
        self
    }

    /// The same message, which says that somebody knows of the incident of its key.
    #[must_use]
    pub fn acknowledged(mut self) -> Self {
        self.is_acknowledged = true;
        self
    }

    /// The same message with one more fact.
    #[must_use]
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }

    /// The same message with an address to read on. Only `http` and `https` become links.
    #[must_use]
    pub fn link(mut self, link: impl Into<String>) -> Self {
        self.link = Some(link.into());
        self
    }

    /// The severity and the title in one line: `[critical] …`, or `[resolved] …`, `[acknowledged] …`.
    pub fn subject(&self) -> String {
        subject(self.severity, &self.title, self.is_resolved, self.is_acknowledged)
    }

    /// The text, and how often it was repeated.
    #[cfg(any(
        feature = "discord",
        feature = "email",
        feature = "pagerduty",
        feature = "slack",
        feature = "teams"
    ))]
    pub(crate) fn body(&self) -> String {
        match self.repeated {
            0 => self.text.clone(),
            1 => format!("{}\n(once more since the last message)", self.text),
            n => format!("{}\n({n} times more since the last message)", self.text),
        }
    }

    /// The link, where it is one that a reader can follow without harm.
    #[cfg(any(
        feature = "discord",
        feature = "email",
        feature = "pagerduty",
        feature = "slack",
        feature = "teams"
    ))]
    pub(crate) fn web_link(&self) -> Option<&str> {
        let is_web = |link: &&str| link.starts_with("https://") || link.starts_with("http://");
        self.link.as_deref().filter(is_web)
    }
}

impl Severity {
    /// `info`, `warning` or `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Severity::Info, Severity::Warning, Severity::Critical];
        let known = all.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(text));
        known.ok_or_else(|| format!("found {text:?}, allowed is info, warning or critical"))
    }
}

fn subject(severity: Severity, title: &str, is_resolved: bool, is_acknowledged: bool) -> String {
    let word = match (is_resolved, is_acknowledged) {
        (true, _) => "resolved",
        (_, true) => "acknowledged",
        _ => severity.as_str(),
    };
    format!("[{word}] {}", one_line(title))
}

/// The text without line breaks and other control characters.
pub(crate) fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most this many characters; a text that is longer ends in `…`.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_one_line_whatever_they_are_made_of() {
        let message = Message::new(Severity::Info, "a\r\nBcc: everybody@example.com\u{0}", "");
        assert_eq!(message.subject(), "[info] a Bcc: everybody@example.com");
        assert_eq!(message.key("k").resolved().subject(), "[resolved] a Bcc: everybody@example.com");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(cut("a", 0), "…");
    }

    #[test]
    fn a_digest_of_digests_names_every_message_by_its_own_id() {
        let one = |id: &str, severity| (Some(id.to_owned()), Message::new(severity, id, ""));
        let inner = Message::digest([one("a", Severity::Warning), one("b", Severity::Critical)]);
        let whole = Message::digest([one("c", Severity::Warning), (Some("a+1".to_owned()), inner)]);
        let ids: Vec<_> = whole.gathered.iter().filter_map(|one| one.id.as_deref()).collect();
        assert_eq!((ids, whole.subject().as_str()), (vec!["b", "c", "a"], "[critical] 3 messages in one"));
        assert_eq!(whole.text, "[critical] b\n[warning] c\n[warning] a");
    }

    #[test]
    fn severities_are_ordered_and_read() {
        assert!(Severity::Critical > Severity::Warning && Severity::Warning > Severity::Info);
        assert_eq!("Warning".parse(), Ok(Severity::Warning));
        assert_eq!(
            "bad".parse::<Severity>().unwrap_err(),
            "found \"bad\", allowed is info, warning or critical"
        );
    }
}
