//! What the connections of a node's source are for.

/// What the connections of a source are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Whatever the node's role allows: reads while it is a standby, writes once it is the primary. Sessions
    /// open plain: those of a standby become the writer's when it is promoted, without a new login.
    Plain,
    /// Reads on the primary, where no standby may answer: sessions must refuse writes, as a standby's do.
    ReadOnly,
}
