//! Retries what may be retried, and never what may not.
#![doc = include_str!("../README.md")]

mod as_one;
mod attempt;
mod attempts;
mod backoff;
mod begin;
mod breaker;
mod budget;
mod call_limit;
mod commit_hooks;
mod condition;
mod config;
mod counts;
mod deadline;
mod diesel_state;
mod ended;
pub mod marker;
mod plan;
mod read_in_path;
mod receipt;
mod resolve;
mod retry;
mod said;
mod search_path;
mod settings;
mod statement;
mod transaction;

pub use backoff::{Backoff, Jitter};
pub use begin::{Begin, Isolation, Resolve};
pub use breaker::{
    BreakerChange, BreakerConfig, BreakerState, BreakerStatus, Guarded, GuardedConnection, Through,
};
pub use budget::{BudgetConfig, BudgetStatus};
pub use call_limit::{Committing, within, within_until_commit};
pub use commit_hooks::CommitHooks;
pub use condition::{ByClass, Condition, If};
pub use config::RetryConfig;
pub use counts::{CommitCounts, RetryCounts};
pub use deadline::time_left;
pub use retry::Retry;
pub use search_path::SearchPath;
pub use settings::CircuitBreaker;
pub use statement::Statement;
