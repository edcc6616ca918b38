//! Where the program runs: it decides defaults, and what is refused.

use std::fmt;
use std::str::FromStr;

/// Where the program runs (`APP_ENV`).
///
/// There is no default: some environments allow what destroys data, and nobody said that this is one of them.
///
/// ```
/// use db_core::Environment;
///
/// assert_eq!("prod".parse(), Ok(Environment::Production));
/// assert!("prd".parse::<Environment>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Environment {
    /// A developer's machine.
    Development,
    /// Automated tests.
    Test,
    /// A rehearsal of production.
    Staging,
    /// The real thing: destructive commands are refused.
    Production,
}

/// A value of `APP_ENV` that names no environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown environment {0:?} (development, test, staging or production)")]
pub struct UnknownEnvironment(String);

impl Environment {
    /// All environments, from the least to the most careful.
    pub const ALL: [Environment; 4] =
        [Environment::Development, Environment::Test, Environment::Staging, Environment::Production];

    /// The name, as `APP_ENV` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Development => "development",
            Environment::Test => "test",
            Environment::Staging => "staging",
            Environment::Production => "production",
        }
    }
}

impl FromStr for Environment {
    type Err = UnknownEnvironment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "development" | "dev" | "local" => Ok(Environment::Development),
            "test" | "testing" => Ok(Environment::Test),
            "staging" | "stage" => Ok(Environment::Staging),
            "production" | "prod" => Ok(Environment::Production),
            _ => Err(UnknownEnvironment(text.to_owned())),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
