//! The pool's settings: described, and read into [`PoolConfig`] and [`ConnectConfig`].

use std::num::NonZeroUsize;
use std::time::Duration;

use db_core::Environment;
use db_core::settings::{Foreign, FromSettings, Group, Limit, Reader, Setting, Value};

use crate::{ConnectConfig, ConnectDefaults, PoolConfig, Reset};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

const MIN: Setting<u32> = Setting {
    name: "DB_POOL_MIN",
    aliases: &[],
    meaning: "Connections to the primary that are kept open even when nobody needs them.",
    default: [1, 0, 5, 10],
    min: 0,
    max: 10_000,
    unit_required: &[],
};
const MAX: Setting<u32> = Setting {
    name: "DB_POOL_MAX",
    aliases: &["DB_CONNECTION_LIMIT"],
    meaning: "The most connections to the primary. The default is at most eight for each core of this \
              machine, and never below 16. More is seldom faster.",
    default: [5, 3, 20, 50],
    min: 1,
    max: 10_000,
    unit_required: &[],
};
const READ_MIN: Setting<u32> = Setting {
    name: "DB_READ_POOL_MIN",
    aliases: &[],
    meaning: "As `DB_POOL_MIN`, for each standby. Where nobody says which server is the primary \
              (`DATABASE_NODES`, or a URL with several hosts), each keeps the larger of the two.",
    default: [1, 0, 2, 5],
    min: 0,
    max: 10_000,
    unit_required: &[],
};
const READ_MAX: Setting<u32> = Setting {
    name: "DB_READ_POOL_MAX",
    aliases: &[],
    meaning: "As `DB_POOL_MAX`, for each standby, and for the reads that the primary answers when no standby \
              may. Where nobody says which server is the primary, each may have the larger of the two.",
    default: [5, 3, 20, 50],
    min: 1,
    max: 10_000,
    unit_required: &[],
};
const ACQUIRE_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_POOL_CONNECTION_TIMEOUT",
    aliases: &["DB_POOL_TIMEOUT"],
    meaning: "The longest a caller waits for a connection. Keep it below the request timeout.",
    default: seconds([10, 10, 5, 5]),
    min: Duration::from_millis(10),
    max: Duration::from_secs(600),
    unit_required: &["DB_POOL_TIMEOUT"],
};
const IDLE_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_POOL_IDLE_TIMEOUT",
    aliases: &[],
    meaning: "A connection idle for longer is closed, as long as `DB_POOL_MIN` remain.",
    default: seconds([300, 30, 600, 600]),
    min: SECOND,
    max: DAY,
    unit_required: &[],
};
const MAX_LIFETIME: Setting<Duration> = Setting {
    name: "DB_POOL_MAX_LIFETIME",
    aliases: &[],
    meaning: "A connection older than this is replaced when it is next idle. Keep it below the limit of \
              everything that closes connections on the way (load balancers, firewalls).",
    default: seconds([1_800; 4]),
    min: SECOND,
    max: DAY,
    unit_required: &[],
};
const KEEPALIVE: Setting<Limit> = Setting {
    name: "DB_POOL_KEEPALIVE",
    aliases: &[],
    meaning: "A connection idle for longer is asked for a sign of life, so that no firewall forgets it; \
              `never` or 0 turns it off.",
    default: limits([120; 4]),
    min: Limit::after(Duration::from_millis(1)),
    max: Limit::NEVER,
    unit_required: &[],
};
const LEAK_THRESHOLD: Setting<Limit> = Setting {
    name: "DB_POOL_LEAK_THRESHOLD",
    aliases: &[],
    meaning: "A connection held for longer is logged once as a warning, with where it was taken and the \
              shape of its last statement, and again when it comes back; `never` or 0 turns it off.",
    default: limits([60; 4]),
    min: Limit::after(Duration::from_millis(1)),
    max: Limit::NEVER,
    unit_required: &[],
};
const BACKGROUND: Setting<u32> = Setting {
    name: "DB_POOL_BACKGROUND",
    aliases: &[],
    meaning: "The most connections of a pool that background work may hold at once, so that the rest is \
              there for those who wait; 0 is half of the pool.",
    default: [0; 4],
    min: 0,
    max: 10_000,
    unit_required: &[],
};
const SALVAGE_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_POOL_SALVAGE_TIMEOUT",
    aliases: &[],
    meaning: "The longest that cleaning a connection may take which came back in the middle of something; \
              then it is closed.",
    default: seconds([1; 4]),
    min: Duration::from_millis(10),
    max: Duration::from_secs(60),
    unit_required: &[],
};
const RESET_ALWAYS: Setting<bool> = Setting {
    name: "DB_POOL_RESET_ALWAYS",
    aliases: &[],
    meaning: "Reset a session after every use, and not only where a statement was seen that leaves something \
              behind. For services whose SQL functions change settings or take advisory locks.",
    default: [false; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const CONNECT_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_CONNECT_TIMEOUT",
    aliases: &[],
    meaning: "The longest that opening one connection may take: name lookup, TCP and login together.",
    default: seconds([5; 4]),
    min: Duration::from_millis(10),
    max: Duration::from_secs(300),
    unit_required: &["DB_CONNECT_TIMEOUT"],
};
const SOCKET_TIMEOUT: Setting<Limit> = Setting {
    name: "DB_SOCKET_TIMEOUT",
    aliases: &[],
    meaning: "How long sent data may stay unacknowledged before the connection is given up \
              (`tcp_user_timeout`); with `never` the kernel decides.",
    default: limits([30; 4]),
    min: Limit::after(SECOND),
    max: Limit::NEVER,
    unit_required: &["DB_SOCKET_TIMEOUT"],
};
const QUERY_TIMEOUT: Setting<Limit> = Setting {
    name: "DB_QUERY_TIMEOUT",
    aliases: &[],
    meaning: "The longest that one statement may run on the server (`statement_timeout`); `never` or 0 is no \
              limit.",
    default: limits([30, 30, 15, 10]),
    min: Limit::after(Duration::from_millis(1)),
    max: Limit::NEVER,
    unit_required: &[],
};
const PREPARED_STATEMENTS: Setting<bool> = Setting {
    name: "DB_PREPARED_STATEMENTS",
    aliases: &[],
    meaning: "Keep prepared statements. Turn it off behind a pooler that does not track them.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const MAX_PREPARED_STATEMENTS: Setting<u32> = Setting {
    name: "DB_MAX_PREPARED_STATEMENTS",
    aliases: &[],
    meaning: "How many prepared statements one connection keeps; with more, all are dropped when it is \
              returned.",
    default: [256; 4],
    min: 1,
    max: 100_000,
    unit_required: &[],
};
const WIRE_TAP: Setting<bool> = Setting {
    name: "DB_WIRE_TAP",
    aliases: &[],
    meaning: "Read the bytes of every connection as they go by. Without it SQLSTATEs are guessed from \
              English messages, and a connection left in the middle of something is closed instead of \
              cleaned.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};

const SIZE: Group =
    Group { title: "How many connections to the primary", settings: &[&MIN, &MAX], elsewhere: &[] };

const READ_SIZE: Group = Group {
    title: "How many connections to each standby",
    settings: &[&READ_MIN, &READ_MAX],
    elsewhere: &[],
};

const POOL: Group = Group {
    title: "How pools behave",
    settings: &[
        &ACQUIRE_TIMEOUT,
        &IDLE_TIMEOUT,
        &MAX_LIFETIME,
        &KEEPALIVE,
        &LEAK_THRESHOLD,
        &BACKGROUND,
        &SALVAGE_TIMEOUT,
        &RESET_ALWAYS,
    ],
    elsewhere: &[
        Foreign::new(
            "acquireTimeoutMillis",
            "`DB_POOL_CONNECTION_TIMEOUT`, or `PoolConfig::acquire_timeout`",
        ),
        Foreign::new("createTimeoutMillis", "`DB_CONNECT_TIMEOUT`, or `ConnectConfig::connect_timeout`"),
        Foreign::new(
            "destroyTimeoutMillis",
            "nobody waits for a connection to close; `DB_POOL_SALVAGE_TIMEOUT` bounds cleaning one",
        ),
        Foreign::new("idleTimeoutMillis", "`DB_POOL_IDLE_TIMEOUT`, or `PoolConfig::idle_timeout`"),
        Foreign::new(
            "reapIntervalMillis",
            "the upkeep task wakes when the next connection is due, not at intervals",
        ),
        Foreign::new(
            "createRetryIntervalMillis",
            "the pause between two attempts to connect grows by itself, and shrinks when one succeeds",
        ),
        Foreign::new(
            "propagateCreateError",
            "a caller that waited in vain is told why no connection could be opened",
        ),
        Foreign::new("maxLifetime", "`DB_POOL_MAX_LIFETIME`, or `PoolConfig::max_lifetime`"),
        Foreign::new("leakDetectionThreshold", "`DB_POOL_LEAK_THRESHOLD`, or `PoolConfig::leak_threshold`"),
        Foreign::new("keepaliveTime", "`DB_POOL_KEEPALIVE`, or `PoolConfig::keepalive`"),
    ],
};

const CONNECT: Group = Group {
    title: "How connections are opened",
    settings: &[
        &CONNECT_TIMEOUT,
        &SOCKET_TIMEOUT,
        &QUERY_TIMEOUT,
        &PREPARED_STATEMENTS,
        &MAX_PREPARED_STATEMENTS,
        &WIRE_TAP,
    ],
    elsewhere: &[Foreign::new(
        "DB_QUERY_CACHE_SIZE",
        "`DB_MAX_PREPARED_STATEMENTS` for statements; results are what db-cache is for",
    )],
};

/// The pool of connections to each standby: its size is `DB_READ_POOL_MIN` to `DB_READ_POOL_MAX`, and the
/// rest is as for
/// [`PoolConfig`].
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
        ConnectConfig {
            connect_timeout,
            socket_timeout,
            statement_timeout,
            prepared_statements: from.read(&PREPARED_STATEMENTS),
            max_prepared_statements: non_zero(from.read(&MAX_PREPARED_STATEMENTS)),
            wire_tap: from.read(&WIRE_TAP),
            defaults: ConnectDefaults {
                connect_timeout: of_connect,
                socket_timeout: of_socket,
                statement_timeout: of_statement,
                ..ConnectDefaults::default()
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
        acquire_timeout: from.read(&ACQUIRE_TIMEOUT),
        idle_timeout: from.read(&IDLE_TIMEOUT),
        max_lifetime: from.read(&MAX_LIFETIME),
        keepalive: from.read(&KEEPALIVE).into(),
        leak_threshold: from.read(&LEAK_THRESHOLD).into(),
        background: NonZeroUsize::new(from.read(&BACKGROUND) as usize),
        salvage_timeout: from.read(&SALVAGE_TIMEOUT),
        reset: if from.read(&RESET_ALWAYS) { Reset::Always } else { Reset::WhenSeen },
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

const fn seconds(each: [u64; 4]) -> [Duration; 4] {
    let [development, test, staging, production] = each;
    [
        Duration::from_secs(development),
        Duration::from_secs(test),
        Duration::from_secs(staging),
        Duration::from_secs(production),
    ]
}

const fn limits(each: [u64; 4]) -> [Limit; 4] {
    let [development, test, staging, production] = seconds(each);
    [Limit::after(development), Limit::after(test), Limit::after(staging), Limit::after(production)]
}

#[cfg(test)]
mod tests {
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
            ("DB_POOL_CONNECTION_TIMEOUT", "10000"),
        ];
        let (writes, reads): (PoolConfig, ReadPoolConfig) = (read(&pairs).unwrap(), read(&pairs).unwrap());
        assert_eq!((writes.max.get(), reads.0.max.get()), (30, 40));
        assert_eq!(PoolConfig { max: writes.max, ..reads.0 }, writes);
        assert_eq!(writes.background, NonZeroUsize::new(3));
        assert_eq!((writes.salvage_timeout, writes.reset), (Duration::from_secs(2), Reset::Always));
        assert_eq!(writes.acquire_timeout, Duration::from_secs(10));
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
    fn a_minimum_above_the_maximum_is_an_error() {
        let error =
            read::<ReadPoolConfig>(&[("DB_READ_POOL_MIN", "9"), ("DB_READ_POOL_MAX", "8")]).unwrap_err();
        assert_eq!(error.problems[0].what, "found more than DB_READ_POOL_MAX, allowed is at most that");
    }
}
