//! What is said of settings: what is wrong, in one error, and what works but may not be what was meant.

use std::fmt;

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting's name, as it was written.
    pub name: String,
    /// What was found, and what is allowed. Never a password.
    pub what: String,
}

/// Something that is not wrong, and may not be what was meant: log it once, as a warning. Never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The name that it is about, as it was written.
    pub name: String,
    /// What is done with it, and what to write.
    pub what: String,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSettings {
    /// What is wrong, in the order in which it was found.
    pub problems: Vec<Problem>,
    /// What may not be what was meant: a misspelt name is most often why another one is missing.
    pub notices: Vec<Notice>,
}

impl std::error::Error for InvalidSettings {}

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "{count} {} wrong:", if count == 1 { "setting is" } else { "settings are" })?;
        for Problem { name, what } in &self.problems {
            write!(f, "\n  {name}: {what}")?;
        }
        for notice in &self.notices {
            write!(f, "\n  also, {notice}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.what)
    }
}
