//! Why a query is slow and what to do about it.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod condition;
#[cfg(feature = "diesel")]
mod explain;
mod history;
#[cfg(feature = "diesel")]
pub mod indexes;
#[cfg(feature = "diesel")]
mod insights;
#[cfg(feature = "diesel")]
pub mod introspect;
#[cfg(feature = "panels")]
mod panels;
mod plan;
pub mod repeats;
mod settings;
mod tips;

#[cfg(feature = "diesel")]
pub use explain::{
    ExplainConfig, ExplainError, Refused, explain, explain_analyze, explain_text, explain_with_tips,
    read_catalog,
};
pub use history::{EVERY, Flip, PlanHistory, Regression, Seen, StoredPlan, Window};
#[cfg(feature = "diesel")]
pub use insights::{ExplainedStatement, Insights};
pub use plan::{Actual, Estimate, Fields, Node, NotAPlan, Plan, Shape, Times, Trigger, masked};
pub use settings::InsightConfig;
pub use tips::{
    Catalog, ForeignKeyFacts, IndexFacts, Severity, TableFacts, Tip, TipCode, tips, tips_on_text, tips_with,
};
