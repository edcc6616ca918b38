//! The settings that the server reports by itself (ParameterStatus), and which of them a session has changed.

use std::collections::HashMap;

use db_core::Role;

/// More settings than any server reports.
const MOST: usize = 500;

#[derive(Default)]
pub(super) struct Parameters {
    baseline: HashMap<Box<str>, Box<str>>,
    /// Those that differ from the baseline.
    changed: Vec<Box<str>>,
    role: Option<Role>,
    new_role: Option<Role>,
}

impl Parameters {
    /// The server has reported one, before the session had its baseline or after; false where it reports too
    /// many.
    pub(super) fn reported(&mut self, name: &str, value: &str, ready: bool) -> bool {
        if name == "in_hot_standby" {
            let role = if value == "on" { Role::Standby } else { Role::Primary };
            if self.role.replace(role).is_some_and(|before| before != role) {
                self.new_role = Some(role);
            }
            return true;
        }
        if self.baseline.len() + self.changed.len() > MOST {
            return false;
        }
        if !ready {
            self.baseline.insert(name.into(), value.into());
        } else if self.baseline.get(name).is_some_and(|baseline| **baseline == *value) {
            self.changed.retain(|changed| **changed != *name);
        } else if !self.changed.iter().any(|changed| **changed == *name) {
            self.changed.push(name.into());
        }
        true
    }

    /// What a setting was when the session began, if the server reports it.
    pub(super) fn at_start(&self, name: &str) -> Option<&str> {
        self.baseline.get(name).map(|value| &**value)
    }

    pub(super) fn differ(&self) -> bool {
        !self.changed.is_empty()
    }

    pub(super) fn role(&self) -> Option<Role> {
        self.role
    }

    /// The server's role, where it is another than before; once.
    pub(super) fn take_new_role(&mut self) -> Option<Role> {
        self.new_role.take()
    }
}
