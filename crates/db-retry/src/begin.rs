//! How a transaction begins: its isolation, what it may do, and how a lost answer to its COMMIT is dealt
//! with.

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

/// How it is found out what became of a transaction when the answer to its COMMIT was lost.
///
/// | | same server | the server crashed | another server took over |
/// |---|---|---|---|
/// | `ByTransactionId` | found out | found out, unless it seems to have committed | unknown |
/// | `ByMarker` | found out | found out | found out |
///
/// After a crash or with another server it must be known that both are of one cluster: where the role may not
/// call `pg_control_system()`, or another cluster answers, only a marker that is there proves anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Resolve {
    /// Not at all: such a COMMIT is [`CommitUnknown`](db_core::Error::CommitUnknown).
    ///
    /// For a transaction whose first statement must come before its snapshot is taken, such as `LOCK TABLE`
    /// under [`Isolation::RepeatableRead`], or `SET TRANSACTION`: the other two ask the server something
    /// along with BEGIN. And for a server that refuses `pg_walfile_name`.
    Never,
    /// By the transaction's id, which is asked for in the same round trip as BEGIN.
    #[default]
    ByTransactionId,
    /// By that, and by a row in [`marker::TABLE`](crate::marker::TABLE) that is written in the same
    /// transaction and the same round trip as COMMIT. A server that took over has it or has not.
    ByMarker,
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
    /// How a lost answer to COMMIT is dealt with; without effect where `read_only`, which has nothing to
    /// lose.
    pub resolve: Resolve,
    /// Whether the work may be applied twice: where it cannot be found out what became of its COMMIT, it runs
    /// again.
    pub idempotent: bool,
    /// Of so many statements it consists, all of which are sent without waiting for an answer; none where
    /// that is not so.
    ///
    /// Where the source of connections can do it, and all of them are prepared, they go out as one request,
    /// which is a transaction without BEGIN and COMMIT. Then nothing identifies it, and of
    /// [`AroundCommit`](db_core::AroundCommit) only `alongside`, behind the answer, and `after` run: it is
    /// for transactions that have no marker and nothing else to do before COMMIT.
    pub batch: Option<usize>,
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

    /// The statements that may go out as one request: what the server is told with BEGIN it would not hear.
    pub(crate) fn batched(&self) -> Option<usize> {
        let is_plain = self.isolation.is_none() && !self.read_only && !self.deferrable && !self.is_marked();
        self.batch.filter(|_| is_plain)
    }

    pub(crate) fn is_identified(&self) -> bool {
        !self.read_only && self.resolve != Resolve::Never
    }

    pub(crate) fn is_marked(&self) -> bool {
        !self.read_only && self.resolve == Resolve::ByMarker
    }
}
