//! Who is told, and how: the channels that the settings name, for backups, monitoring and services.

use crate::{Secret, Severity};

/// Who is told, and how. Nothing of it shows that must not.
///
/// ```
/// use db_notify::NotificationConfig;
///
/// let config = NotificationConfig { email: vec!["ops@shop.example".to_owned()], ..Default::default() };
/// assert_eq!(config.smtp_url.reveal(), "smtp://localhost");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationConfig {
    /// The addresses that get e-mail.
    pub email: Vec<String>,
    /// The sender; none is the first of them.
    pub email_from: Option<String>,
    /// The mail server.
    pub smtp_url: Secret,
    /// The addresses that messages are posted to; `slack+`, `discord+` or `teams+` in front says what reads
    /// there.
    pub webhooks: Vec<Secret>,
    /// What messages to webhooks are signed with.
    pub webhook_secret: Option<Secret>,
    /// The routing key of a PagerDuty integration, which gets what is critical.
    pub pagerduty_key: Option<Secret>,
    /// Where events for PagerDuty go; none is PagerDuty's own address.
    pub pagerduty_url: Option<Secret>,
    /// What is called once a minute as long as alerts are looked at.
    pub heartbeat: Option<Secret>,
    /// The least severity that is told.
    pub severity: Severity,
}

impl Default for NotificationConfig {
    fn default() -> Self {
        NotificationConfig {
            email: Vec::new(),
            email_from: None,
            smtp_url: Secret::new("smtp://localhost"),
            webhooks: Vec::new(),
            webhook_secret: None,
            pagerduty_key: None,
            pagerduty_url: None,
            heartbeat: None,
            severity: Severity::Info,
        }
    }
}

#[cfg(feature = "all")]
mod channels {
    use std::sync::Arc;

    use crate::{
        Channel, Discord, Email, Heartbeat, InvalidChannel, Notifier, NotifyConfig, PagerDuty, Severity,
        Slack, Teams, Webhook,
    };

    use super::NotificationConfig;

    type Made = Result<Arc<dyn Channel>, InvalidChannel>;
    /// A channel, and the least severity that it is for.
    type Routed = (Arc<dyn Channel>, Severity);

    /// What reads at an address.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Reader {
        Slack,
        Discord,
        Teams,
        Any,
    }

    impl NotificationConfig {
        /// Starts a task for each channel on the current runtime.
        ///
        /// # Errors
        /// [`InvalidChannel`] where an address is not understood; it quotes no secret.
        ///
        /// # Panics
        /// Outside a tokio runtime, if there is a channel.
        pub fn notifier(&self, config: NotifyConfig) -> Result<Notifier, InvalidChannel> {
            Ok(Notifier::start(config, self.channels()?))
        }

        /// The channels, each with the least severity that it is for: PagerDuty wakes people, so it gets what
        /// is critical.
        ///
        /// # Errors
        /// As [`NotificationConfig::notifier`].
        pub fn channels(&self) -> Result<Vec<Routed>, InvalidChannel> {
            let least = |name| if name == "pagerduty" { Severity::Critical } else { self.severity };
            self.try_channels().into_iter().map(|(name, made)| Ok((made?, least(name)))).collect()
        }

        /// What is called as long as all is well, if anything.
        ///
        /// # Errors
        /// [`InvalidChannel`] where the address is none; it is not quoted.
        pub fn heartbeat(&self) -> Result<Option<Heartbeat>, InvalidChannel> {
            self.heartbeat.as_ref().map(|url| Heartbeat::new(url.reveal())).transpose()
        }

        /// Each channel, with the name of its kind.
        pub(crate) fn try_channels(&self) -> Vec<(&'static str, Made)> {
            let mut all = Vec::new();
            if let Some(first) = self.email.first() {
                let from = self.email_from.as_ref().unwrap_or(first);
                let made = Email::new(self.smtp_url.reveal(), from, self.email.iter().map(String::as_str));
                all.push(("email", made.map(|email| Arc::new(email) as Arc<dyn Channel>)));
            }
            let hooks = self.webhooks.iter().map(|url| ("webhook", self.hook(url.reveal())));
            all.extend(hooks);
            if let Some(key) = &self.pagerduty_key {
                let made = match &self.pagerduty_url {
                    Some(url) => PagerDuty::at(url.reveal(), key),
                    None => PagerDuty::new(key),
                };
                all.push(("pagerduty", made.map(|pagerduty| Arc::new(pagerduty) as Arc<dyn Channel>)));
            }
            all
        }

        fn hook(&self, url: &str) -> Made {
            let (reader, url) = reader(url);
            Ok(match reader {
                Reader::Slack => Arc::new(Slack::new(url)?),
                Reader::Discord => Arc::new(Discord::new(url)?),
                Reader::Teams => Arc::new(Teams::new(url)?),
                Reader::Any => Arc::new(Webhook::new(url, self.webhook_secret.as_ref())?),
            })
        }
    }

    /// What reads at an address, and the address.
    fn reader(url: &str) -> (Reader, &str) {
        let marks = [("slack+", Reader::Slack), ("discord+", Reader::Discord), ("teams+", Reader::Teams)];
        if let Some((mark, reader)) = marks.into_iter().find(|(mark, _)| url.starts_with(mark)) {
            return (reader, &url[mark.len()..]);
        }
        let host = url.split_once("://").map_or("", |(_, rest)| rest);
        let host = host.split(['/', ':', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let within = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
        let reader = match () {
            () if host == "hooks.slack.com" || host == "hooks.slack-gov.com" => Reader::Slack,
            () if within("discord.com") || within("discordapp.com") => Reader::Discord,
            () if within("webhook.office.com")
                || within("logic.azure.com")
                || within("powerplatform.com") =>
            {
                Reader::Teams
            }
            () => Reader::Any,
        };
        (reader, url)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_address_says_what_reads_there() {
            for (url, expected) in [
                ("https://hooks.slack.com/services/T/B/x", Reader::Slack),
                ("https://discord.com/api/webhooks/1/x", Reader::Discord),
                ("https://prod-1.westeurope.logic.azure.com:443/workflows/x", Reader::Teams),
                ("https://alerts.example/discord.com", Reader::Any),
                ("https://notdiscord.com/api", Reader::Any),
                ("teams+https://proxy.example/x", Reader::Teams),
            ] {
                assert_eq!(reader(url).0, expected, "{url}");
            }
            assert_eq!(reader("slack+https://proxy.example/x").1, "https://proxy.example/x");
        }
    }
}
