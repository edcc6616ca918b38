//! Sends what the service itself counts to a collector of OpenTelemetry's, by OTLP over HTTP.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use rustls::{ClientConfig, RootCertStore};

/// How long a collector may take to accept what is sent, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const ACCEPTED: Duration = Duration::from_secs(10);

/// Why nothing can be sent: an address that is none, mostly.
pub type OtlpError = Box<dyn std::error::Error + Send + Sync>;

/// Sends what is reported to its meter, once a minute and at the end. Cheap to clone.
///
/// OpenTelemetry's own variables hold: `OTEL_EXPORTER_OTLP_ENDPOINT`, `…_HEADERS` for a token,
/// `OTEL_METRIC_EXPORT_INTERVAL` in milliseconds, `OTEL_RESOURCE_ATTRIBUTES`. It sends from a thread of its
/// own, so a collector that is away or slow delays nobody; what it misses is in the next sums.
///
/// ```
/// use db_monitoring::{Monitor, MonitoringConfig, OtlpMetrics};
///
/// let metrics = OtlpMetrics::start("shop", Some("http://127.0.0.1:4318/v1/metrics"))?;
/// // `db.observe_with(&metrics.meter())` reports pools and routing, too
/// Monitor::new(MonitoringConfig::default()).observe_with(&metrics.meter(), "shop");
/// # Ok::<(), db_monitoring::OtlpError>(())
/// ```
#[derive(Debug, Clone)]
pub struct OtlpMetrics {
    provider: SdkMeterProvider,
}

impl OtlpMetrics {
    /// Begins to send, on behalf of the service of this name; without an `endpoint` to where the variables
    /// say, which is this machine's port 4318 if they say nothing.
    ///
    /// # Errors
    /// If the endpoint is no URL, or the machine's certificates cannot be used.
    pub fn start(service: &str, endpoint: Option<&str>) -> Result<Self, OtlpError> {
        let mut exporter = MetricExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client()?);
        if let Some(endpoint) = endpoint {
            exporter = exporter.with_endpoint(endpoint);
        }
        let reader = PeriodicReader::builder(exporter.build()?).build();
        let resource = Resource::builder().with_service_name(service.to_owned()).build();
        Ok(OtlpMetrics {
            provider: SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build(),
        })
    }

    /// What to report to.
    pub fn meter(&self) -> Meter {
        self.provider.meter("db-platform")
    }

    /// Sends what is not sent yet, and waits for the collector; at a shutdown, say. Call it where a thread
    /// may block.
    ///
    /// # Errors
    /// If the collector does not take it.
    pub fn flush(&self) -> Result<(), OtlpError> {
        Ok(self.provider.force_flush()?)
    }
}

/// It is made on a thread of its own, because it waits for one that it starts, and a runtime's must not.
fn client() -> Result<reqwest::blocking::Client, OtlpError> {
    let make = || -> Result<_, OtlpError> {
        let client = reqwest::blocking::Client::builder().timeout(ACCEPTED);
        Ok(client.tls_backend_preconfigured(tls()?).build()?)
    };
    std::thread::scope(|scope| scope.spawn(make).join())
        .unwrap_or_else(|_| Err("the thread that sends metrics could not be made".into()))
}

/// The system's roots. The provider is named, so that another one in the process is no ambiguity.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let (_, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
