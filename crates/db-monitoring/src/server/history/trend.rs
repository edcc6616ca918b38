//! The trend of a figure: a straight line by least squares, and when it reaches a limit.

use std::sync::Arc;

use crate::server::HistoryPoint;

/// A trend stands on at least so many points, and on at least so much time, in seconds.
const FEWEST_POINTS: usize = 8;
const SHORTEST: f64 = 3_600.0;

/// Where a figure goes.
///
/// ```
/// use db_monitoring::server::Trend;
///
/// // 1 GB a day, from 100 GB.
/// let points = (0..24).map(|hour| (f64::from(hour) * 3_600.0, 100e9 + f64::from(hour) * 1e9 / 24.0));
/// let trend = Trend::of(points).unwrap();
/// assert!((trend.per_day - 1e9).abs() < 1.0);
/// let days = trend.days_until(110e9).unwrap();
/// assert!((days - 9.04).abs() < 0.01, "{days}");
/// assert_eq!(trend.days_until(50e9), Some(0.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// By how much it grows a day.
    pub per_day: f64,
    /// Where the line is at the last point.
    pub now: f64,
}

impl Trend {
    /// The trend of points: seconds, and the figure. None where they are too few, or too near together.
    pub fn of(points: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let points: Vec<_> = points.into_iter().collect();
        let (first, last) = (points.first()?.0, points.last()?.0);
        if points.len() < FEWEST_POINTS || last - first < SHORTEST {
            return None;
        }
        let count = f64::from(u32::try_from(points.len()).ok()?);
        let mean_at = points.iter().map(|(at, _)| at - first).sum::<f64>() / count;
        let mean = points.iter().map(|(_, value)| value).sum::<f64>() / count;
        let (mut over, mut under) = (0.0, 0.0);
        for (at, value) in &points {
            let distance = at - first - mean_at;
            over += distance * (value - mean);
            under += distance * distance;
        }
        let slope = if under > 0.0 { over / under } else { return None };
        Some(Trend { per_day: slope * 86_400.0, now: mean + slope * (last - first - mean_at) })
    }

    /// The trend of a figure of history.
    pub fn of_figure(points: &[Arc<HistoryPoint>], figure: &str) -> Option<Self> {
        Trend::of(points.iter().filter_map(|point| Some((point.at, *point.figures.get(figure)?))))
    }

    /// In how many days it reaches `limit`; none where it never does.
    pub fn days_until(&self, limit: f64) -> Option<f64> {
        if self.now >= limit {
            return Some(0.0);
        }
        (self.per_day > 0.0).then(|| (limit - self.now) / self.per_day)
    }
}
