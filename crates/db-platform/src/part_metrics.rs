//! Reports to OpenTelemetry what the parts measure.

use std::collections::BTreeMap;
use std::sync::Arc;

use db_core::{Measure, MeasureKind};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use crate::parts::Parts;

/// Reports everything that the parts measure to `meter`, under the names that they measure now.
pub(crate) fn observe(parts: &Arc<Parts>, meter: &Meter) {
    let names: BTreeMap<_, _> =
        parts.metrics().into_iter().map(|measure| (measure.name, (measure.kind, measure.unit))).collect();
    for (name, (kind, unit)) in names {
        match kind {
            MeasureKind::Counter => {
                let builder = meter.f64_observable_counter(name).with_unit(unit);
                let _ = builder.with_callback(reports(parts, name)).build();
            }
            MeasureKind::Gauge => {
                let builder = meter.f64_observable_gauge(name).with_unit(unit);
                let _ = builder.with_callback(reports(parts, name)).build();
            }
        }
    }
}

/// What a metric's callback does. It keeps no part alive.
fn reports(
    parts: &Arc<Parts>,
    name: &'static str,
) -> impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + use<> {
    let parts = Arc::downgrade(parts);
    move |instrument| {
        let measures = parts.upgrade().map(|parts| parts.metrics()).unwrap_or_default();
        for Measure { value, attributes, .. } in measures.into_iter().filter(|measure| measure.name == name) {
            let attributes: Vec<_> =
                attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
            instrument.observe(value, &attributes);
        }
    }
}
