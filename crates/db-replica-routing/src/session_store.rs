//! Carries what sessions have written from one request to the next in Redis, for callers that keep nothing
//! themselves.

use std::io;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use redis::aio::ConnectionLike;
use redis::{AsyncCommands, RedisResult, Script};

use crate::session::Session;
use crate::written::Written;

/// Keeps the greater of two positions in one log and the later of two moments. A position and a moment do not
/// compare: both were before now. What the session went on from (`ARGV[4]`) is behind whatever it has
/// written.
///
/// The numbers are hexadecimal, of any length and without leading zeros: Lua's own have 53 bits.
static KEEP_THE_GREATER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local function parts(text)
            local found = {}
            for part in string.gmatch(text, '[^.]+') do found[#found + 1] = part end
            return found
        end
        local function is_less(a, b)
            if #a ~= #b then return #a < #b end
            return a < b
        end
        local kept, new, lifetime, now, brought = redis.call('GET', KEYS[1]), ARGV[1], ARGV[2], ARGV[3], ARGV[4]
        if kept and kept ~= brought then
            local old, given = parts(kept), parts(new)
            if (old[2] == 'at') ~= (given[2] == 'at') then
                new = now
            elseif #old == #given and old[1] == given[1] and old[2] == given[2] then
                for i = 3, #given do
                    if is_less(given[i], old[i]) then
                        new = kept
                        break
                    elseif old[i] ~= given[i] then
                        break
                    end
                end
            end
        end
        redis.call('SET', KEYS[1], new, 'PX', lifetime)
        ",
    )
});

/// What sessions have written, in Redis, by a name of whoever writes: a user's id, say.
///
/// For callers that carry no header and no cookie, and for those that must see on one device what they wrote
/// on another. Processes that save for one name at once lose nothing: the greater position stays, and the
/// later moment.
///
/// ```
/// # use db_replica_routing::SessionStore;
/// # async fn answer() {}
/// # async fn use_it(redis: redis::aio::MultiplexedConnection, user: &str) -> redis::RedisResult<()> {
/// let sessions = SessionStore::new(redis);
/// let session = sessions.resume(user).await?;
/// session.clone().scope(answer()).await;
/// sessions.save(user, &session).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SessionStore<C> {
    redis: C,
    prefix: String,
    lifetime: Duration,
    timeout: Duration,
}

impl<C> SessionStore<C> {
    /// A store that keeps what it is told for a minute, under keys that begin with `db:session:`. With a
    /// [`max_lag`](crate::RouterConfig::max_lag) of nearly a minute or more, set a longer
    /// [lifetime](SessionStore::with_lifetime).
    ///
    /// `redis` is any connection that is cheap to clone. A call takes at most half a second, whatever the
    /// connection's own timeouts and retries are.
    pub fn new(redis: C) -> Self {
        SessionStore {
            redis,
            prefix: "db:session:".to_owned(),
            lifetime: Duration::from_secs(60),
            timeout: Duration::from_millis(500),
        }
    }

    /// The same under keys that begin with `prefix`.
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        SessionStore { prefix: prefix.into(), ..self }
    }

    /// The same, where a call takes at most this time.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        SessionStore { timeout, ..self }
    }

    /// The same, where what was told is forgotten after this time.
    ///
    /// It must be longer than [`max_lag`](crate::RouterConfig::max_lag): no standby that is further behind
    /// answers, so a few seconds more are enough, and less loses writes.
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        SessionStore { lifetime, ..self }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync> SessionStore<C> {
    /// The session that goes on from what was saved under this name; a new one where nothing was.
    ///
    /// # Errors
    /// Redis's. What the caller has written is not known then: a session that was told to
    /// [`forget`](Session::forget) reads from the primary, a new one does not see it.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn resume(&self, name: &str) -> RedisResult<Session> {
        let (mut redis, key) = (self.redis.clone(), self.key(name));
        let text: Option<String> = self.in_time(redis.get(key)).await?;
        Ok(text.map_or_else(Session::new, |text| Session::parse(&text)))
    }

    /// Saves what the session has written since it was resumed, for the next one of this name. Asks Redis
    /// nothing where that is nothing.
    ///
    /// # Errors
    /// Redis's.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it saved or not.
    pub async fn save(&self, name: &str, session: &Session) -> RedisResult<()> {
        let Some(news) = session.news() else { return Ok(()) };
        let lifetime = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut script = KEEP_THE_GREATER.key(self.key(name));
        let brought = session.brought().map_or_else(String::new, |written| written.to_string());
        let now = Written::Before(SystemTime::now());
        script.arg(news.to_string()).arg(lifetime).arg(now.to_string()).arg(brought);
        self.in_time(script.invoke_async(&mut self.redis.clone())).await
    }

    async fn in_time<T>(&self, asking: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        tokio::time::timeout(self.timeout, asking).await.unwrap_or_else(|_| {
            let waited = format!("redis did not answer within {:?}", self.timeout);
            Err(io::Error::new(io::ErrorKind::TimedOut, waited).into())
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
