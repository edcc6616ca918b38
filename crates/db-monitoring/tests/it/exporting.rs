//! What OpenTelemetry gets.

use db_monitoring::{Monitor, MonitoringConfig, OtlpMetrics};
use db_testkit::Exported;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric;
use prost::Message;

use crate::{Ended, tell};

#[test]
fn statements_are_exported_by_their_summary_and_by_their_code_where_they_fail() {
    let (monitor, exported) =
        (Monitor::new(MonitoringConfig::preset(db_core::Environment::Test)), Exported::default());
    monitor.observe_with(&exported.meter(), "shop");
    tell(
        &monitor,
        &[
            Ended::well("SELECT * FROM users WHERE name = 'secret'", 10),
            Ended::well("SELECT id FROM users", 20),
            Ended { code: Some("23505"), ..Ended::well("INSERT INTO a SELECT * FROM b", 5) },
        ],
    );
    let figures = exported.figures();
    let mut seen: Vec<_> = figures
        .iter()
        .map(|figure| {
            assert_eq!((figure.name.as_str(), figure.unit.as_str()), ("db.client.operation.duration", "s"));
            assert!(!format!("{figure:?}").contains("secret"), "{figure:?}");
            let of = |key: &str| figure.attributes.get(key).map(String::as_str);
            for (key, value) in [
                ("db.system.name", "postgresql"),
                ("db.namespace", "shop"),
                ("server.address", "db"),
                ("server.port", "5433"),
            ] {
                assert_eq!(of(key), Some(value), "{key}");
            }
            let codes = (of("db.response.status_code"), of("error.type"));
            (of("db.query.summary"), of("db.operation.name"), of("db.collection.name"), codes, figure.count)
        })
        .collect();
    seen.sort_unstable();
    let unique = Some("23505");
    assert_eq!(
        seen,
        [
            (Some("INSERT a SELECT b"), Some("INSERT"), None, (unique, unique), 1),
            (Some("SELECT users"), Some("SELECT"), Some("users"), (None, None), 2),
        ]
    );
}

/// A collector of OpenTelemetry's: it takes what is posted, and decodes it by the protocol's own messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_statements_by_otlp_and_no_value_of_any() {
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let take = move |body: axum::body::Bytes| {
        let _ = sender.send(body);
        async { axum::http::StatusCode::OK }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/metrics", listener.local_addr().unwrap());
    let collector = axum::Router::new().route("/v1/metrics", axum::routing::post(take));
    let serving = tokio::spawn(async move { axum::serve(listener, collector).await });

    let monitor = Monitor::new(MonitoringConfig::preset(db_core::Environment::Test));
    let metrics = OtlpMetrics::start("till", Some(&endpoint)).unwrap();
    monitor.observe_with(&metrics.meter(), "shop");
    let secret = Ended { code: Some("23505"), ..Ended::well("INSERT INTO users VALUES ('secret')", 10) };
    tell(&monitor, &[Ended::well("SELECT * FROM users WHERE name = 'secret'", 10), secret]);
    let flushing = metrics.clone();
    tokio::task::spawn_blocking(move || flushing.flush()).await.unwrap().unwrap();

    let body = received.recv().await.unwrap();
    assert!(!body.windows(6).any(|part| part == b"secret"));
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let [of_service] = &request.resource_metrics[..] else { panic!("{request:?}") };
    let text = |attributes: &[KeyValue], key: &str| {
        let found = attributes.iter().find(|one| one.key == key)?.value.clone()?.value?;
        match found {
            any_value::Value::StringValue(text) => Some(text),
            other => panic!("{key}: {other:?}"),
        }
    };
    let service = &of_service.resource.as_ref().unwrap().attributes;
    assert_eq!(text(service, "service.name").as_deref(), Some("till"));
    let metric = &of_service.scope_metrics[0].metrics[0];
    assert_eq!((metric.name.as_str(), metric.unit.as_str()), ("db.client.operation.duration", "s"));
    let Some(metric::Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
    let seen = histogram.data_points.iter().map(|point| {
        let of = |key| text(&point.attributes, key).unwrap_or_default();
        (of("db.query.summary"), of("db.response.status_code"), point.count)
    });
    let mut seen: Vec<_> = seen.collect();
    seen.sort_unstable();
    let (insert, select) = ("INSERT users".to_owned(), "SELECT users".to_owned());
    assert_eq!(seen, [(insert, "23505".to_owned(), 1), (select, String::new(), 1)]);
    serving.abort();
}
