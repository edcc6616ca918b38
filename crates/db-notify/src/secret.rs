//! A text that nobody may see: a webhook's address, a password, a signing key.

use std::fmt;

/// A text that shows in no `Debug` and has no `Display`.
///
/// ```
/// let secret = db_notify::Secret::new("hunter2");
/// assert_eq!(format!("{secret:?}"), "***");
/// assert_eq!(secret.reveal(), "hunter2");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a receiver or a library said, in one short line in which none of these secrets is left.
#[cfg(any(feature = "_http", feature = "email"))]
pub(crate) fn scrubbed(text: &str, secrets: &[&str]) -> String {
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // The longest first: a part of a secret must not keep the whole from being found.
    let mut secrets: Vec<&&str> = secrets.iter().filter(|secret| secret.len() > 3).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        text = text.replace(*secret, "***");
    }
    crate::message::cut(text.trim(), 200)
}

#[cfg(all(test, feature = "_http"))]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_kept_short_and_without_secrets() {
        let said = format!("no such hook\n/T1/B2/abc {}", "x".repeat(500));
        let line = scrubbed(&said, &["/T1/B2", "/T1/B2/abc", ""]);
        assert!(line.starts_with("no such hook *** xxx"), "{line}");
        assert_eq!(line.chars().count(), 200);
    }
}
