//! The pool's settings, read into [`PoolConfig`] and [`ConnectConfig`].

use db_core::Environment;
use db_core::settings::{FromSettings, Group, Reader, Setting, Value};
use std::num::NonZeroUsize;

mod described;

use crate::{ConnectConfig, ConnectDefaults, PoolConfig, Reset};
use described::*;

/// The pool of connections to each standby: its size is `DB_READ_POOL_MIN` to `DB_READ_POOL_MAX`, and the
/// rest is as for [`PoolConfig`].
///
/// ```
/// use db_core::settings::{FromSettings, Reader};
/// use db_pool::{PoolConfig, ReadPoolConfig};
///
/// let set = |name: &str| (name == "DB_READ_POOL_MAX").then(|| "40".to_owned());
/// let mut reader = Reader::of(&set);
/// let (writes, ReadPoolConfig(reads)) = (PoolConfig::read(&mut reader), ReadPoolConfig::read(&mut reader));
/// reader.finish()?;
/// assert_eq!((writes.max.get(), reads.max.get()), (5, 40));
/// # Ok::<(), db_core::settings::InvalidSettings>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPoolConfig(pub PoolConfig);

impl FromSettings for PoolConfig {
    const GROUPS: &'static [&'static Group] = &[&SIZE, &POOL];

    fn read(from: &mut Reader<'_>) -> Self {
        sized(from, &MIN, &MAX)
    }
}

impl FromSettings for ReadPoolConfig {
    const GROUPS: &'static [&'static Group] = &[&READ_SIZE, &POOL];

    fn read(from: &mut Reader<'_>) -> Self {
        ReadPoolConfig(sized(from, &READ_MIN, &READ_MAX))
    }
}

impl FromSettings for ConnectConfig {
    const GROUPS: &'static [&'static Group] = &[&CONNECT];

    fn read(from: &mut Reader<'_>) -> Self {
        let (connect_timeout, of_connect) = chosen(from, &CONNECT_TIMEOUT);
        let (socket_timeout, of_socket) = chosen(from, &SOCKET_TIMEOUT);
        let (statement_timeout, of_statement) = chosen(from, &QUERY_TIMEOUT);
        let (lock_timeout, of_lock) = chosen(from, &LOCK_TIMEOUT);
        let (idle_in_transaction_timeout, of_idle) = chosen(from, &IDLE_IN_TRANSACTION_TIMEOUT);
        ConnectConfig {
            connect_timeout,
            socket_timeout,
            statement_timeout,
            lock_timeout,
            idle_in_transaction_timeout,
            prepared_statements: from.read(&PREPARED_STATEMENTS),
            max_prepared_statements: non_zero(from.read(&MAX_PREPARED_STATEMENTS)),
            wire_tap: from.read(&WIRE_TAP),
            defaults: ConnectDefaults {
                connect_timeout: of_connect,
                socket_timeout: of_socket,
                statement_timeout: of_statement,
                lock_timeout: of_lock,
                idle_in_transaction_timeout: of_idle,
            },
            ..ConnectConfig::default()
        }
    }
}

impl PoolConfig {
    /// Sizes and timeouts that fit an environment: small on a developer's machine, patient in tests, strict
    /// in production.
    pub fn preset(environment: Environment) -> Self {
        PoolConfig {
            min: MIN.default_in(environment) as usize,
            max: non_zero(MAX.default_in(environment)),
            ..behaviour(&mut Reader::new(&|_| None, environment))
        }
    }
}

impl ConnectConfig {
    /// Statement timeouts that fit an environment.
    pub fn preset(environment: Environment) -> Self {
        ConnectConfig::read(&mut Reader::new(&|_| None, environment))
    }
}

/// A setting's value, and its default where nobody chose.
fn chosen<T: Value + Into<U>, U: Copy>(from: &mut Reader<'_>, setting: &Setting<T>) -> (U, Option<U>) {
    let default = setting.default_in(from.environment()).into();
    from.read_optional(setting).map_or((default, Some(default)), |chosen| (chosen.into(), None))
}

fn sized(from: &mut Reader<'_>, min: &Setting<u32>, max: &Setting<u32>) -> PoolConfig {
    let default = max.default_in(from.environment()).min(ceiling_by_cores());
    let most = from.read_optional(max).unwrap_or(default);
    let least = match from.read_optional(min) {
        Some(least) => least,
        // A small maximum that was asked for brings a default minimum down with it.
        None => min.default_in(from.environment()).min(most),
    };
    if least > most {
        from.problem(min.name, format!("found more than {}, allowed is at most that", max.name));
    }
    PoolConfig { min: least as usize, max: non_zero(most), ..behaviour(from) }
}

fn behaviour(from: &mut Reader<'_>) -> PoolConfig {
    PoolConfig {
        acquire_timeout: from.read(&ACQUIRE_TIMEOUT).into(),
        max_waiters: from.read(&MAX_WAITERS) as usize,
        idle_timeout: from.read(&IDLE_TIMEOUT).into(),
        max_lifetime: from.read(&MAX_LIFETIME).into(),
        keepalive: from.read(&KEEPALIVE).into(),
        leak_threshold: from.read(&LEAK_THRESHOLD).into(),
        background: NonZeroUsize::new(from.read(&BACKGROUND) as usize),
        salvage_timeout: from.read(&SALVAGE_TIMEOUT),
        max_buffer: NonZeroUsize::new(from.read(&MAX_BUFFER) as usize),
        reset: if from.read(&RESET_ALWAYS) { Reset::Always } else { Reset::WhenSeen },
        harmless: from.parse(&HARMLESS_FUNCTIONS).unwrap_or_default(),
        ..PoolConfig::default()
    }
}

/// More connections than the machine can keep busy only queue inside the server instead of here.
fn ceiling_by_cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(cores).unwrap_or(u32::MAX).saturating_mul(8).max(16)
}

fn non_zero(number: u32) -> NonZeroUsize {
    NonZeroUsize::new(number as usize).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use db_core::settings::InvalidSettings;

    fn read<T: FromSettings>(pairs: &[(&str, &str)]) -> Result<T, InvalidSettings> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        let mut reader = Reader::of(&lookup);
        let read = T::read(&mut reader);
        reader.finish().map(|_| read)
    }

    #[test]
    fn each_environment_has_its_sizes_below_the_ceiling_of_this_machine() {
        for (environment, min, max) in
            [("development", 1, 5), ("test", 0, 3), ("staging", 5, 20), ("production", 10, 50)]
        {
            let pool: PoolConfig = read(&[("APP_ENV", environment)]).unwrap();
            let max = max.min(ceiling_by_cores() as usize);
            assert_eq!((pool.min, pool.max.get()), (min, max), "{environment}");
        }
        let set: PoolConfig = read(&[("APP_ENV", "production"), ("DB_POOL_MAX", "200")]).unwrap();
        assert_eq!(set.max.get(), 200, "what is asked for is not capped");
        let small: PoolConfig = read(&[("APP_ENV", "production"), ("DB_CONNECTION_LIMIT", "4")]).unwrap();
        assert_eq!((small.min, small.max.get()), (4, 4));
    }

    #[test]
    fn a_preset_is_what_is_read_where_nothing_is_set() {
        for environment in Environment::ALL {
            let preset = PoolConfig::preset(environment);
            let max = preset.max.min(non_zero(ceiling_by_cores()));
            let read: PoolConfig = read(&[("APP_ENV", environment.as_str())]).unwrap();
            assert_eq!(read, PoolConfig { max, min: preset.min.min(max.get()), ..preset }, "{environment}");
        }
        let strict = ConnectConfig::preset(Environment::Production);
        assert_eq!(strict.statement_timeout, Some(Duration::from_secs(10)));
        assert_eq!(ConnectConfig::preset(Environment::Test), ConnectConfig::default());
    }

    #[test]
    fn both_pools_share_all_but_their_size() {
        let pairs = [
            ("DB_POOL_MAX", "30"),
            ("DB_READ_POOL_MAX", "40"),
            ("DB_POOL_BACKGROUND", "3"),
            ("DB_POOL_SALVAGE_TIMEOUT", "2s"),
            ("DB_POOL_RESET_ALWAYS", "yes"),
            ("DB_POOL_HARMLESS_FUNCTIONS", "total_of,st_*"),
            ("DB_POOL_CONNECTION_TIMEOUT", "10000"),
        ];
        let (writes, reads): (PoolConfig, ReadPoolConfig) = (read(&pairs).unwrap(), read(&pairs).unwrap());
        assert_eq!((writes.max.get(), reads.0.max.get()), (30, 40));
        assert_eq!(PoolConfig { max: writes.max, ..reads.0 }, writes);
        assert_eq!(writes.background, NonZeroUsize::new(3));
        assert_eq!((writes.salvage_timeout, writes.reset), (Duration::from_secs(2), Reset::Always));
        assert_eq!(writes.harmless, "total_of, st_*".parse().unwrap());
        assert_eq!(writes.acquire_timeout, Some(Duration::from_secs(10)));
    }

    #[test]
    fn zero_and_never_turn_off_what_can_be_turned_off() {
        for off in ["0", "never"] {
            let names = ["DB_QUERY_TIMEOUT", "DB_POOL_KEEPALIVE", "DB_POOL_LEAK_THRESHOLD"];
            let pairs = names.map(|name| (name, off));
            let (pool, connect): (PoolConfig, ConnectConfig) = (read(&pairs).unwrap(), read(&pairs).unwrap());
            assert_eq!((pool.keepalive, pool.leak_threshold, connect.statement_timeout), (None, None, None));
        }
        let never: ConnectConfig = read(&[("DB_SOCKET_TIMEOUT", "never")]).unwrap();
        assert_eq!(never.socket_timeout, None);
    }

    #[test]
    fn a_function_that_is_none_is_an_error() {
        let error = read::<PoolConfig>(&[("DB_POOL_HARMLESS_FUNCTIONS", "total_of()")]).unwrap_err();
        assert!(error.to_string().contains("`total_of()` is no function's name"), "{error}");
    }

    #[test]
    fn a_minimum_above_the_maximum_is_an_error() {
        let error =
            read::<ReadPoolConfig>(&[("DB_READ_POOL_MIN", "9"), ("DB_READ_POOL_MAX", "8")]).unwrap_err();
        assert_eq!(error.problems[0].what, "found more than DB_READ_POOL_MAX, allowed is at most that");
    }
}
