//! The pages of plans, regressions, repeated statements and advice, as the dashboard asks for them.

use db_insight::Insights;
use db_monitoring::panel::Panel;

/// What is known of plans, regressions, repeated statements and advice, for pages and reports. It asks no
/// server.
///
/// [`Db::dashboard`](crate::Db::dashboard) and [`Db::report`](crate::Db::report) have it; this is for
/// pages of a program that has no [`Db`](crate::Db).
///
/// ```
/// use db_platform::InsightPages;
/// use db_platform::insight::Insights;
///
/// let insights = Insights::default(); // and `insights.look_at_plans(&mut conn)` once an hour
/// let panels = InsightPages::of(&insights).panels();
/// assert_eq!(panels[0].title, "Slower than last week");
/// ```
#[derive(Debug, Clone)]
pub struct InsightPages {
    insights: Insights,
}

impl InsightPages {
    /// The pages of these insights, as they are when somebody looks.
    pub fn of(insights: &Insights) -> Self {
        InsightPages { insights: insights.clone() }
    }

    /// What is known of the database as a whole: regressions, tips, repeated statements, advice.
    pub fn panels(&self) -> Vec<Panel> {
        self.insights.panels()
    }
}

#[cfg(feature = "dashboard")]
impl db_monitoring::dashboard::Insight for InsightPages {
    fn of_statement(&self, fingerprint: db_statement::Fingerprint) -> Answer<'_> {
        Box::pin(async move { self.insights.panels_of(fingerprint) })
    }

    fn of_database(&self) -> Answer<'_> {
        Box::pin(async move { self.panels() })
    }
}

#[cfg(feature = "dashboard")]
type Answer<'a> = futures_util::future::BoxFuture<'a, Vec<Panel>>;
