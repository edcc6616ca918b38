//! Claims on monitoring: that timing is true, and what it costs.

pub(crate) mod overhead;
pub(crate) mod timing;
