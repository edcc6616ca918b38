//! The settings of insight, read into [`InsightConfig`].

use std::time::Duration;

use db_core::settings::{FromSettings, Group, Reader, Setting};

/// What a service looks at by itself.
///
/// ```
/// use db_insight::InsightConfig;
///
/// assert!(InsightConfig::default().query_analysis);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct InsightConfig {
    /// Whether the plans of the dearest statements are looked at once an hour.
    pub query_analysis: bool,
    /// Whether indexes are advised for them once a week.
    pub performance_insights: bool,
    /// How long after the start the first look comes: a service that has just started has other things to do,
    /// and a server that has just started has counted nothing.
    pub first_look: Duration,
}

impl Default for InsightConfig {
    fn default() -> Self {
        InsightConfig { query_analysis: true, performance_insights: true, first_look: FIRST_LOOK }
    }
}

const FIRST_LOOK: Duration = Duration::from_secs(300);

const QUERY_ANALYSIS: Setting<bool> = Setting {
    name: "DB_QUERY_ANALYSIS",
    aliases: &[],
    meaning: "In a build with the features `insight` and `collector`: once an hour the leader of the collectors asks for \
              the plans of the 50 statements that cost the server most, and warns of one that is run another way and \
              got slower. It runs none of them, and needs pg_stat_statements.",
    default: [true, false, true, true],
    min: false,
    max: true,
    unit_required: &[],
};
const PERFORMANCE_INSIGHTS: Setting<bool> = Setting {
    name: "DB_ENABLE_PERFORMANCE_INSIGHTS",
    aliases: &[],
    meaning: "In a build with the features `insight` and `collector`: once a week the leader of the collectors asks \
              which indexes would help these statements, and which help nobody; `Db::insights` has the answer. It runs \
              none of them, and needs pg_stat_statements.",
    default: [true, false, true, true],
    min: false,
    max: true,
    unit_required: &[],
};

const INSIGHT: Group =
    Group { title: "Insight", settings: &[&QUERY_ANALYSIS, &PERFORMANCE_INSIGHTS], elsewhere: &[] };

impl FromSettings for InsightConfig {
    const GROUPS: &'static [&'static Group] = &[&INSIGHT];

    fn read(from: &mut Reader<'_>) -> Self {
        InsightConfig {
            query_analysis: from.read(&QUERY_ANALYSIS),
            performance_insights: from.read(&PERFORMANCE_INSIGHTS),
            first_look: FIRST_LOOK,
        }
    }
}
