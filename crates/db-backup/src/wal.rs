//! The archive of the write-ahead log: into it, out of it, and whether it is whole.

mod control;
mod error;
mod fetch;
mod history;
mod marks;
mod page;
mod push;
mod status;

pub use error::WalError;
pub use fetch::{FATAL_EXIT, FetchConfig, Fetched, fetch};
pub use history::{Ancestor, History};
pub use page::{SegmentHeader, check_segment};
pub use push::{PushConfig, Pushed, pushed_before, push};
pub use status::{ArchiveStatus, Finding, ServerSide, TimelineStatus, status};

pub(crate) use control::system_of;
