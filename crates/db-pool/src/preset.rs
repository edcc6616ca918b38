//! Pool sizes and timeouts that fit each environment.

use std::num::NonZeroUsize;
use std::time::Duration;

use db_core::Environment;

use crate::{ConnectConfig, PoolConfig};

impl PoolConfig {
    /// Sizes and timeouts that fit an environment: small on a developer's machine, patient in tests, strict in
    /// production.
    pub fn preset(environment: Environment) -> Self {
        let (min, max, acquire, idle) = match environment {
            Environment::Development => (1, 5, 10, 300),
            Environment::Test => (0, 3, 10, 30),
            Environment::Staging => (5, 20, 5, 600),
            Environment::Production => (10, 50, 5, 600),
        };
        PoolConfig {
            min,
            max: NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN),
            acquire_timeout: Some(Duration::from_secs(acquire)),
            idle_timeout: Some(Duration::from_secs(idle)),
            ..PoolConfig::default()
        }
    }
}

impl ConnectConfig {
    /// Statement timeouts that fit an environment.
    pub fn preset(environment: Environment) -> Self {
        let statement = match environment {
            Environment::Development | Environment::Test => 30,
            Environment::Staging => 15,
            Environment::Production => 10,
        };
        ConnectConfig { statement_timeout: Some(Duration::from_secs(statement)), ..ConnectConfig::default() }
    }
}
