//! What a long piece of work tells of itself while it runs.

/// Where a piece of work is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A new part of it begins, in words such as `waiting for the checkpoint`.
    Stage(&'static str),
    /// So many bytes are done, of as many as were estimated.
    Bytes {
        /// Bytes that are done.
        done: u64,
        /// Bytes in all, where that is known.
        total: Option<u64>,
    },
    /// Something that works, but perhaps not as it was meant.
    Warning(String),
}

/// Is told of progress; it must not block.
///
/// ```
/// use db_backup::{Observer, Progress};
///
/// let print = |progress: Progress| {
///     if let Progress::Stage(stage) = progress {
///         eprintln!("{stage}");
///     }
/// };
/// let observer: &Observer = &print;
/// observer(Progress::Stage("waiting for the checkpoint"));
/// ```
pub type Observer = dyn Fn(Progress) + Send + Sync;
