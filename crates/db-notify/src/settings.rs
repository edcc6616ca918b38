//! Where people are told: described, and read into [`NotificationConfig`].

use db_core::settings::{Foreign, FromSettings, Group, Reader, Setting, Text};

use crate::{NotificationConfig, Secret, Severity};

const ENABLED: Setting<bool> = Setting {
    name: "NOTIFICATION_ENABLED",
    aliases: &[],
    meaning: "Whether people are told of what fails, is late, and was done. Without a channel nobody is.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const EMAIL: Text = Text {
    name: "NOTIFICATION_EMAIL",
    aliases: &[],
    meaning: "The addresses that get e-mail, separated by commas.",
    default: "none: no e-mail is sent",
};
const EMAIL_FROM: Text = Text {
    name: "NOTIFICATION_EMAIL_FROM",
    aliases: &[],
    meaning: "The sender of e-mail, as in `Database <db@shop.example>`.",
    default: "the first of `NOTIFICATION_EMAIL`",
};
const SMTP_URL: Text = Text {
    name: "NOTIFICATION_SMTP_URL",
    aliases: &["SMTP_URL"],
    meaning: "The mail server: `smtps://user:password@host`, or `smtp://` for STARTTLS, without which nothing leaves \
              the machine.",
    default: "`smtp://localhost`",
};
const WEBHOOK: Text = Text {
    name: "NOTIFICATION_WEBHOOK",
    aliases: &[],
    meaning: "Web addresses that messages go to, separated by blanks. Those of Slack, Discord and Teams are known by \
              their host, or by `slack+`, `discord+`, `teams+` in front; all others get signed JSON.",
    default: "none",
};
const WEBHOOK_SECRET: Text = Text {
    name: "NOTIFICATION_WEBHOOK_SECRET",
    aliases: &[],
    meaning: "What messages to webhooks are signed with (HMAC-SHA256, as Standard Webhooks has it): at least 16 bytes, or \
              `whsec_` and base64.",
    default: "none: they are not signed",
};
const PAGERDUTY_KEY: Text = Text {
    name: "NOTIFICATION_PAGERDUTY_KEY",
    aliases: &[],
    meaning: "The routing key of a PagerDuty integration \"Events API V2\", which gets what is critical.",
    default: "none",
};
const PAGERDUTY_URL: Text = Text {
    name: "NOTIFICATION_PAGERDUTY_URL",
    aliases: &[],
    meaning: "Where events for PagerDuty go: another region, or a proxy.",
    default: "`https://events.pagerduty.com/v2/enqueue`",
};
const HEARTBEAT: Text = Text {
    name: "NOTIFICATION_HEARTBEAT",
    aliases: &[],
    meaning: "A web address that is called once a minute as long as alerts are looked at: a dead man's switch, which \
              tells people when nobody does.",
    default: "none",
};
const SEVERITY: Text = Text {
    name: "NOTIFICATION_SEVERITY",
    aliases: &[],
    meaning: "The least severity that is told: `info` (also successes), `warning` or `critical`.",
    default: "`info`",
};

const NOTIFICATIONS: Group = Group {
    title: "Where people are told",
    settings: &[
        &ENABLED,
        &EMAIL,
        &EMAIL_FROM,
        &SMTP_URL,
        &WEBHOOK,
        &WEBHOOK_SECRET,
        &PAGERDUTY_KEY,
        &PAGERDUTY_URL,
        &HEARTBEAT,
        &SEVERITY,
    ],
    elsewhere: &[
        Foreign::new("SLACK_WEBHOOK_URL", "write it into `NOTIFICATION_WEBHOOK`")
            .unless("NOTIFICATION_WEBHOOK"),
        Foreign::new("DISCORD_WEBHOOK_URL", "write it into `NOTIFICATION_WEBHOOK`")
            .unless("NOTIFICATION_WEBHOOK"),
    ],
};

impl FromSettings for NotificationConfig {
    const GROUPS: &'static [&'static Group] = &[&NOTIFICATIONS];

    fn read(from: &mut Reader<'_>) -> Self {
        let enabled = from.read(&ENABLED);
        let texts = |found: Option<(&'static str, String)>| found.map(|(_, text)| text);
        let email = texts(from.text(&EMAIL)).unwrap_or_default();
        let email = email.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
        let webhooks = texts(from.text(&WEBHOOK)).unwrap_or_default();
        let config = NotificationConfig {
            email,
            email_from: texts(from.text(&EMAIL_FROM)),
            smtp_url: Secret::new(
                texts(from.text(&SMTP_URL)).unwrap_or_else(|| "smtp://localhost".to_owned()),
            ),
            webhooks: webhooks.split_whitespace().map(Secret::new).collect(),
            webhook_secret: texts(from.text(&WEBHOOK_SECRET)).map(Secret::new),
            pagerduty_key: texts(from.text(&PAGERDUTY_KEY)).map(Secret::new),
            pagerduty_url: texts(from.text(&PAGERDUTY_URL)).map(Secret::new),
            heartbeat: texts(from.text(&HEARTBEAT)).map(Secret::new),
            severity: from.parse(&SEVERITY).unwrap_or(Severity::Info),
        };
        for (name, what) in config.problems() {
            from.problem(name, what);
        }
        if enabled {
            config
        } else {
            NotificationConfig { severity: config.severity, ..NotificationConfig::default() }
        }
    }
}

impl NotificationConfig {
    /// What is wrong, by the setting's name.
    fn problems(&self) -> Vec<(&'static str, String)> {
        #[cfg(feature = "all")]
        {
            let named = |channel: &str| match channel {
                "email" => EMAIL.name,
                "pagerduty" => PAGERDUTY_KEY.name,
                _ => WEBHOOK.name,
            };
            let heartbeat = self.heartbeat().err().map(|error| (HEARTBEAT.name, error.to_string()));
            self.try_channels()
                .into_iter()
                .filter_map(|(channel, made)| made.err().map(|error| (named(channel), error.to_string())))
                .chain(heartbeat)
                .collect()
        }
        #[cfg(not(feature = "all"))]
        Vec::new()
    }
}
