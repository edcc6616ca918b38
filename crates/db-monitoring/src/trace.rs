//! Which span the server's log is to name: OpenTelemetry's, with the feature `traces`, else the one of
//! tracing.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use db_core::{Caller, TraceLink};

/// The caller's span, if its trace is among the `percent` that are named.
///
/// All transactions of a trace are named, or none.
pub(crate) fn link(caller: &Caller, percent: u32) -> Option<TraceLink> {
    of(caller).filter(|link| is_among(link.trace, percent))
}

#[cfg(feature = "traces")]
fn of(caller: &Caller) -> Option<TraceLink> {
    use opentelemetry::trace::TraceContextExt;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    let named = |context: &opentelemetry::Context| {
        let span = context.span().span_context().clone();
        span.is_valid().then_some(span)
    };
    // A span of tracing that a layer exports, else one that was made by OpenTelemetry's own API.
    let span = named(&caller.span.context()).or_else(|| named(&opentelemetry::Context::current()));
    let Some(span) = span else { return of_tracing(caller) };
    // One that is not sampled is exported to nobody, and its name would lead nowhere.
    span.is_sampled().then(|| TraceLink {
        trace: u128::from_be_bytes(span.trace_id().to_bytes()),
        span: u64::from_be_bytes(span.span_id().to_bytes()),
    })
}

#[cfg(not(feature = "traces"))]
fn of(caller: &Caller) -> Option<TraceLink> {
    of_tracing(caller)
}

/// The span's number in this process, behind a number of the process: the log of slow statements says it too.
fn of_tracing(caller: &Caller) -> Option<TraceLink> {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    let process = *PROCESS.get_or_init(|| RandomState::new().build_hasher().finish());
    let span = caller.span.id()?.into_u64();
    Some(TraceLink { trace: (u128::from(process) << 64) | u128::from(span), span })
}

/// Whether a trace is among so many of a hundred; Fibonacci hashing, because the ids of some makers are no
/// random numbers.
fn is_among(trace: u128, percent: u32) -> bool {
    let [low, high] = [trace as u64, (trace >> 64) as u64];
    let hash = (low ^ high.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (hash * 100) >> 32 < u64::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_traces_are_named_as_the_percentage_says() {
        for percent in [0, 1, 30, 100] {
            let named = (0..100_000_u128).filter(|trace| is_among(trace << 3, percent)).count();
            let wanted = percent as usize * 1_000;
            assert!(named.abs_diff(wanted) <= 500, "{percent} %: {named}");
        }
    }
}
