//! One figure that a part of the platform reports, in a form that every exporter understands.

/// What kind of figure it is, as OpenTelemetry divides them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeasureKind {
    /// It only grows: how often something happened since the start.
    Counter,
    /// It goes up and down: how much there is now.
    Gauge,
}

/// One figure, as it is now.
///
/// Its name has dots and its unit is apart, as OpenTelemetry's conventions want it.
///
/// ```
/// use db_core::{Measure, MeasureKind};
///
/// let hits = Measure::new("db.cache.hits", MeasureKind::Counter, "{hit}", 7.0).with("tier", "memory");
/// assert_eq!(hits.attributes, [("tier", "memory".to_owned())]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// The name, such as `db.cache.hits`.
    pub name: &'static str,
    /// What kind it is.
    pub kind: MeasureKind,
    /// The unit, as UCUM writes it: `s`, `By`, `{hit}`.
    pub unit: &'static str,
    /// The figure.
    pub value: f64,
    /// What tells it apart from others of the same name. Keep the values few.
    pub attributes: Vec<(&'static str, String)>,
}

impl Measure {
    /// A figure without attributes.
    pub fn new(name: &'static str, kind: MeasureKind, unit: &'static str, value: f64) -> Self {
        Measure { name, kind, unit, value, attributes: Vec::new() }
    }

    /// The same figure with one more attribute.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }
}
