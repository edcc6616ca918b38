//! How a transaction begins: its isolation and what it may do.

/// The isolation level of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Each statement sees what was committed before it began. PostgreSQL's default.
    ReadCommitted,
    /// All statements see what was committed before the first.
    RepeatableRead,
    /// As if transactions had run one after another; some fail with 40001 and are run again.
    Serializable,
}

/// How a transaction begins. The default is the server's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Begin {
    /// The isolation level, where it is not the server's default.
    pub isolation: Option<Isolation>,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether a serializable, read-only transaction waits until it can run without any risk of failing.
    pub deferrable: bool,
}

impl Begin {
    /// The statement that begins such a transaction.
    pub fn sql(&self) -> String {
        let mut sql = "BEGIN".to_owned();
        let isolation = match self.isolation {
            None => "",
            Some(Isolation::ReadCommitted) => " ISOLATION LEVEL READ COMMITTED",
            Some(Isolation::RepeatableRead) => " ISOLATION LEVEL REPEATABLE READ",
            Some(Isolation::Serializable) => " ISOLATION LEVEL SERIALIZABLE",
        };
        sql.push_str(isolation);
        if self.read_only {
            sql.push_str(" READ ONLY");
        }
        if self.deferrable {
            sql.push_str(" DEFERRABLE");
        }
        sql
    }
}
