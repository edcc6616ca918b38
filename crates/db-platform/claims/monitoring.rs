//! Claims on monitoring: that timing is true, what it costs, that the server's log leads to the caller, how
//! soon people are told, what a health endpoint takes, and what nobody may read.

pub(crate) mod alerting;
pub(crate) mod health;
pub(crate) mod overhead;
pub(crate) mod secrets;
pub(crate) mod timing;
pub(crate) mod trace_link;
