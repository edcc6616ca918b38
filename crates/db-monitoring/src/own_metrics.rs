//! What the service itself counts, through OpenTelemetry, as Prometheus' text: one registry, for all that
//! is reported to it.

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

/// Collects what is reported to a meter of OpenTelemetry's, and writes it as Prometheus' text. Cheap to
/// clone.
///
/// ```
/// use db_monitoring::{Monitor, MonitoringConfig, OwnMetrics};
///
/// let own = OwnMetrics::new()?;
/// // `db.observe_with(&own.meter())` reports pools and routing, too
/// Monitor::new(MonitoringConfig::default()).observe_with(&own.meter(), "shop");
/// own.meter().u64_counter("shop.orders").build().add(3, &[]);
/// assert!(own.text().contains("shop_orders_total 3"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct OwnMetrics {
    provider: SdkMeterProvider,
    registry: Registry,
}

impl OwnMetrics {
    /// A registry of its own.
    ///
    /// # Errors
    /// Where the exporter cannot be built.
    pub fn new() -> Result<Self, opentelemetry_sdk::error::OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()?;
        Ok(OwnMetrics { provider: SdkMeterProvider::builder().with_reader(exporter).build(), registry })
    }

    /// What to report to.
    pub fn meter(&self) -> Meter {
        self.provider.meter("db-platform")
    }

    /// What was reported so far. It asks no server.
    pub fn text(&self) -> String {
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(%error, "what the service itself counts cannot be written for Prometheus");
                String::new()
            }
        }
    }
}
