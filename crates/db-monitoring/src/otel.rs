//! Each statement as OpenTelemetry's semantic conventions for database clients want it.
//!
//! A statement's attributes are made once for each server. No text and no fingerprint is among them: their
//! number would grow without end.

use std::sync::{Arc, PoisonError, RwLock};

use db_core::{Endpoint, QueryEvent, SqlState};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::statement::Statement;

/// In seconds, as the conventions advise.
const BOUNDARIES: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// PostgreSQL's own port, which the conventions leave out.
const DEFAULT_PORT: u16 = 5432;

/// Where statements are recorded.
#[derive(Debug)]
pub(crate) struct Instruments {
    duration: Histogram<f64>,
    namespace: String,
}

/// One statement's attributes, by server.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    by_server: RwLock<Vec<(Endpoint, Arc<[KeyValue]>)>>,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter, namespace: &str) -> Self {
        let duration = meter
            .f64_histogram("db.client.operation.duration")
            .with_unit("s")
            .with_description("Duration of database client operations.")
            .with_boundaries(BOUNDARIES.to_vec())
            .build();
        Instruments { duration, namespace: namespace.to_owned() }
    }

    pub(crate) fn record(&self, statement: &Statement, event: &QueryEvent<'_>) {
        let attributes = self.attributes(statement, event.endpoint);
        let elapsed = event.elapsed.as_secs_f64();
        if !event.failed {
            return self.duration.record(elapsed, &attributes);
        }
        let code = event.sqlstate.as_ref().map(SqlState::as_str);
        let mut attributes = attributes.to_vec();
        attributes.extend(code.map(|code| KeyValue::new("db.response.status_code", code.to_owned())));
        attributes.push(KeyValue::new("error.type", code.unwrap_or("connection_lost").to_owned()));
        self.duration.record(elapsed, &attributes);
    }

    fn attributes(&self, statement: &Statement, endpoint: &Endpoint) -> Arc<[KeyValue]> {
        let known = statement.attributes.by_server.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.iter().find(|(server, _)| server == endpoint) {
            return Arc::clone(found);
        }
        drop(known);
        let made: Arc<[KeyValue]> = self.make(statement, endpoint).into();
        let mut known = statement.attributes.by_server.write().unwrap_or_else(PoisonError::into_inner);
        known.push((endpoint.clone(), Arc::clone(&made)));
        made
    }

    fn make(&self, statement: &Statement, endpoint: &Endpoint) -> Vec<KeyValue> {
        let summary = &statement.summary;
        let mut attributes = vec![
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.namespace", self.namespace.clone()),
            KeyValue::new("server.address", endpoint.host().to_owned()),
        ];
        let port = (endpoint.port() != DEFAULT_PORT).then(|| i64::from(endpoint.port()));
        attributes.extend(port.map(|port| KeyValue::new("server.port", port)));
        let named = [
            ("db.query.summary", Some(summary.as_str()).filter(|text| !text.is_empty())),
            ("db.operation.name", summary.operation()),
            ("db.collection.name", summary.collection()),
        ];
        attributes
            .extend(named.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?.to_owned()))));
        attributes
    }
}
