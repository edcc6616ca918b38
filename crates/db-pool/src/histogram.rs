//! Durations that the pool counts, and that OpenTelemetry hears of as they happen.

use std::time::Duration;

pub use db_core::Timings;

/// Durations of one kind.
#[derive(Default)]
pub(crate) struct Histogram {
    durations: db_core::Histogram,
    /// Where else each of them is recorded.
    #[cfg(feature = "otel")]
    pub(crate) instrument: std::sync::OnceLock<crate::metrics::Instrument>,
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        self.durations.record(duration);
        #[cfg(feature = "otel")]
        if let Some(instrument) = self.instrument.get() {
            instrument.record(duration);
        }
    }

    pub(crate) fn read(&self) -> Timings {
        self.durations.read()
    }
}
