//! Reports to OpenTelemetry what the parts measure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use db_core::{Measure, MeasureKind};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use crate::parts::Parts;

/// Reports everything that the parts measure to `meter`, under the names that they measure now.
pub(crate) fn observe(parts: &Arc<Parts>, meter: &Meter) {
    let names: BTreeMap<_, _> =
        parts.metrics().into_iter().map(|measure| (measure.name, (measure.kind, measure.unit))).collect();
    let answers = Arc::new(Answers { parts: Arc::downgrade(parts), last: Mutex::default() });
    for (name, (kind, unit)) in names {
        match kind {
            MeasureKind::Counter => {
                let builder = meter.f64_observable_counter(name).with_unit(unit);
                let _ = builder.with_callback(reports(&answers, name)).build();
            }
            MeasureKind::Gauge => {
                let builder = meter.f64_observable_gauge(name).with_unit(unit);
                let _ = builder.with_callback(reports(&answers, name)).build();
            }
        }
    }
}

/// What a metric's callback does.
fn reports(
    answers: &Arc<Answers>,
    name: &'static str,
) -> impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + use<> {
    let answers = Arc::clone(answers);
    move |instrument| {
        for (value, attributes) in answers.of(name) {
            instrument.observe(value, &attributes);
        }
    }
}

/// What the parts answered last. It keeps no part alive.
struct Answers {
    parts: Weak<Parts>,
    last: Mutex<Last>,
}

/// Values by name, and the names that took theirs: a name that asks again begins another collection, because
/// OpenTelemetry calls back once for each name in one.
#[derive(Default)]
struct Last {
    values: BTreeMap<&'static str, Vec<(f64, Vec<KeyValue>)>>,
    taken: BTreeSet<&'static str>,
    asked: bool,
}

impl Answers {
    /// The values of one name. The parts are asked once in a collection, however many names they have.
    fn of(&self, name: &'static str) -> Vec<(f64, Vec<KeyValue>)> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.asked || !last.taken.insert(name) {
            let measures = self.parts.upgrade().map(|parts| parts.metrics()).unwrap_or_default();
            *last = Last { asked: true, taken: BTreeSet::from([name]), ..Last::default() };
            for Measure { name, value, attributes, .. } in measures {
                let attributes = attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
                last.values.entry(name).or_default().push((value, attributes.collect()));
            }
        }
        last.values.remove(name).unwrap_or_default()
    }
}
