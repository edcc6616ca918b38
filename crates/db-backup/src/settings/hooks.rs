//! What is run before and after the work of `dbctl`: described, and read into [`HookSettings`].

use std::time::Duration;

use db_core::settings::{FromSettings, Group, Reader, Setting, Text};

const BEFORE: Text = Text {
    name: "BACKUP_HOOK_BEFORE",
    aliases: &[],
    meaning: "A command that `/bin/sh -c` runs before each backup, restore, expiry and rehearsal; where it fails these do not \
              begin.",
    default: "none",
};
const AFTER: Text = Text {
    name: "BACKUP_HOOK_AFTER",
    aliases: &[],
    meaning: "The same afterwards, also where the work failed: `DBCTL_STATUS` tells. Where it fails itself, that is reported.",
    default: "none",
};
const TIMEOUT: Setting<Duration> = Setting {
    name: "BACKUP_HOOK_TIMEOUT",
    aliases: &[],
    meaning: "How long either may take; then it is killed with everything that it has started, and has failed.",
    default: [Duration::from_secs(300); 4],
    min: Duration::from_secs(1),
    max: Duration::from_secs(86_400),
    unit_required: &["BACKUP_HOOK_TIMEOUT"],
};

const HOOKS: Group =
    Group { title: "What is run before and after", settings: &[&BEFORE, &AFTER, &TIMEOUT], elsewhere: &[] };

/// Commands around the work.
///
/// ```
/// use db_backup::HookSettings;
/// use db_core::settings::{FromSettings, Reader};
///
/// let set = |name: &str| (name == "BACKUP_HOOK_AFTER").then(|| "logger backup: $DBCTL_STATUS".to_owned());
/// let hooks = HookSettings::read(&mut Reader::of(&set));
/// assert_eq!((hooks.before, hooks.timeout.as_secs()), (None, 300));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSettings {
    /// What runs before.
    pub before: Option<String>,
    /// What runs afterwards.
    pub after: Option<String>,
    /// How long either may take.
    pub timeout: Duration,
}

impl FromSettings for HookSettings {
    const GROUPS: &'static [&'static Group] = &[&HOOKS];

    fn read(from: &mut Reader<'_>) -> Self {
        let text = |found: Option<(&'static str, String)>| found.map(|(_, text)| text);
        HookSettings {
            before: text(from.text(&BEFORE)),
            after: text(from.text(&AFTER)),
            timeout: from.read(&TIMEOUT),
        }
    }
}
