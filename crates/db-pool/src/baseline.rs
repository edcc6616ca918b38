//! The settings that each session starts with: ours, unless the URL or the role chose, and ours were only
//! defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use db_core::DatabaseUrl;
use db_core::settings::Value;

use crate::ConnectConfig;
use crate::identity::MARK;

/// What `ALTER ROLE … SET` and `ALTER DATABASE … SET` say, by name in lower case.
pub(crate) type RoleSettings = BTreeMap<String, String>;

const STATEMENT_TIMEOUT: &str = "statement_timeout";
const TIME_ZONE: &str = "timezone";

/// The longest timeout that the server takes, in milliseconds.
const LONGEST_TIMEOUT: u128 = i32::MAX as u128;

/// The settings of ours.
#[derive(Debug, Clone)]
pub(crate) struct Baseline {
    /// `options` of the URL, as they are.
    own: Option<String>,
    /// What the URL's `options` set.
    named: BTreeMap<String, String>,
    /// In the order in which they are sent.
    settings: Vec<Ours>,
}

#[derive(Debug, Clone)]
struct Ours {
    name: &'static str,
    value: String,
    /// Whether nobody chose it.
    default: bool,
}

impl Baseline {
    pub(crate) fn new(url: &DatabaseUrl, config: &ConnectConfig) -> Self {
        let defaults = &config.defaults;
        let mut settings = vec![Ours { name: TIME_ZONE, value: "UTC".to_owned(), default: true }];
        let timeouts = [
            (STATEMENT_TIMEOUT, config.statement_timeout, defaults.statement_timeout),
            ("lock_timeout", config.lock_timeout, defaults.lock_timeout),
            (
                "idle_in_transaction_session_timeout",
                config.idle_in_transaction_timeout,
                defaults.idle_in_transaction_timeout,
            ),
        ];
        for (name, timeout, default) in timeouts {
            let default = default == Some(timeout);
            // No timeout is the server's own default; where it was chosen, no role's setting may stand
            // against it.
            if timeout.is_some() || !default {
                settings.push(Ours { name, value: milliseconds(timeout), default });
            }
        }
        if config.read_only {
            let name = "default_transaction_read_only";
            settings.push(Ours { name, value: "on".to_owned(), default: false });
        }
        Baseline { own: url.param("options").map(str::to_owned), named: url.session_settings(), settings }
    }

    /// The start-up options: the URL's own, and behind them ours, which win where they were chosen.
    pub(crate) fn options(&self, role: &RoleSettings) -> String {
        let ours = self.settings.iter().filter(|ours| !(ours.default && self.is_chosen(ours.name, role)));
        let ours = ours.map(|Ours { name, value, .. }| format!("-c {name}={value}"));
        let mark = format!("-c {MARK}=on");
        self.own.iter().cloned().chain(ours).chain([mark]).collect::<Vec<_>>().join(" ")
    }

    /// What does not hold where start-up options are ignored on the way.
    pub(crate) fn lost(&self, role: &RoleSettings) -> String {
        self.options(role).replace(&format!(" -c {MARK}=on"), "")
    }

    /// Whether a default of ours would stand against what the role's settings say.
    pub(crate) fn yields_to(&self, role: &RoleSettings) -> bool {
        let mut ours =
            self.settings.iter().filter(|ours| ours.default && !self.named.contains_key(ours.name));
        ours.any(|ours| role.contains_key(ours.name))
    }

    /// Whether sessions have the time zone that we set.
    pub(crate) fn time_zone_is_ours(&self, role: &RoleSettings) -> bool {
        !self.is_chosen(TIME_ZONE, role)
    }

    /// The `statement_timeout` that sessions start with, where it is known.
    pub(crate) fn statement_timeout(&self, role: &RoleSettings) -> Option<Duration> {
        let ours = self.settings.iter().find(|ours| ours.name == STATEMENT_TIMEOUT);
        let value = match ours {
            Some(ours) if !ours.default => Some(&ours.value),
            ours => {
                let chosen = self.named.get(STATEMENT_TIMEOUT).or(role.get(STATEMENT_TIMEOUT));
                chosen.or(ours.map(|ours| &ours.value))
            }
        };
        let timeout = Duration::parse(&value?.trim().replace(' ', "").to_ascii_lowercase());
        timeout.filter(|timeout| !timeout.is_zero())
    }

    fn is_chosen(&self, name: &str, role: &RoleSettings) -> bool {
        self.named.contains_key(name) || role.contains_key(name)
    }
}

/// A timeout as the server takes it: no limit is 0, so that a shorter one than a millisecond must not become
/// that.
fn milliseconds(timeout: Option<Duration>) -> String {
    match timeout.filter(|timeout| !timeout.is_zero()) {
        None => "0".to_owned(),
        Some(timeout) => format!("{}ms", timeout.as_millis().clamp(1, LONGEST_TIMEOUT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConnectDefaults;

    fn baseline(options: &str, config: ConnectConfig) -> Baseline {
        let url =
            format!("postgres://ann@db/app?options={}", options.replace(' ', "%20").replace('=', "%3D"));
        Baseline::new(&url.parse().unwrap(), &config)
    }

    fn role(pairs: &[(&str, &str)]) -> RoleSettings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_whole_baseline_travels_in_the_start_up_options() {
        let config = ConnectConfig {
            lock_timeout: Some(Duration::from_millis(1500)),
            read_only: true,
            ..ConnectConfig::default()
        };
        assert_eq!(
            baseline("-c search_path=shop", config).options(&role(&[])),
            "-c search_path=shop -c timezone=UTC -c statement_timeout=30000ms -c lock_timeout=1500ms \
             -c idle_in_transaction_session_timeout=60000ms -c default_transaction_read_only=on \
             -c db_pool.options=on"
        );
    }

    #[test]
    fn a_default_yields_to_the_url_and_to_the_role() {
        let ours = baseline("--statement-timeout=7s -c TimeZone=Europe/Zurich", ConnectConfig::default());
        let role = role(&[("statement_timeout", "5min"), ("idle_in_transaction_session_timeout", "3s")]);
        assert_eq!(
            ours.options(&role),
            "--statement-timeout=7s -c TimeZone=Europe/Zurich -c db_pool.options=on"
        );
        assert!(ours.yields_to(&role));
        assert!(!ours.time_zone_is_ours(&role));
        assert_eq!(ours.statement_timeout(&role), Some(Duration::from_secs(7)), "the URL wins over the role");
        let silent = baseline("", ConnectConfig::default());
        assert_eq!(silent.statement_timeout(&role), Some(Duration::from_secs(300)));
        assert!(silent.options(&role).contains("timezone=UTC"));
    }

    #[test]
    fn what_was_chosen_wins_over_the_url_and_the_role() {
        let role = role(&[("statement_timeout", "1s")]);
        let check = |config: ConnectConfig, sent: &str, known: Option<Duration>| {
            let ours = baseline("-c statement_timeout=7s", config);
            assert!(ours.options(&role).contains(sent), "{}", ours.options(&role));
            assert_eq!(ours.statement_timeout(&role), known);
        };
        let timeout = |statement_timeout| ConnectConfig { statement_timeout, ..ConnectConfig::default() };
        let ms = Duration::from_millis;
        check(timeout(Some(ms(9))), "-c statement_timeout=9ms", Some(ms(9)));
        check(timeout(None), "-c statement_timeout=0", None);
        check(timeout(Some(Duration::from_nanos(1))), "-c statement_timeout=1ms", Some(ms(1)));
        let longest = ms(i32::MAX as u64);
        check(timeout(Some(Duration::MAX)), "-c statement_timeout=2147483647ms", Some(longest));
        let defaults = ConnectDefaults { statement_timeout: None, ..ConnectDefaults::default() };
        let chosen = ConnectConfig { defaults, ..ConnectConfig::default() };
        check(chosen, "-c statement_timeout=30000ms", Some(ms(30_000)));
    }
}
