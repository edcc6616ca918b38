//! What reading through an index would cost, by the formulas of PostgreSQL's costsize.c and selfuncs.c.
//!
//! It is the planner's model without the planner: good enough to tell a great gain from none. Mackert and
//! Lohman's formula says how many pages of a table are fetched for so many rows.

use super::catalog::{CostSettings, Table};

/// The bytes of a page that hold entries, at a fill factor of 90.
const PAGE: f64 = 8152.0 * 0.9;

/// An index whose cost is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    /// How many rows the index has.
    pub(crate) entries: f64,
    pub(crate) entry_bytes: f64,
    /// How many entries its conditions leave, each time.
    pub(crate) rows: f64,
    /// How many conditions are checked for each entry, and for each row of the table.
    pub(crate) conditions: f64,
    pub(crate) filters: f64,
    /// How well the table's order follows the index's first key: -1 to 1.
    pub(crate) correlation: f64,
    /// How often it is scanned.
    pub(crate) loops: f64,
    /// Whether the table need not be read for pages that are all visible.
    pub(crate) only: bool,
}

impl Access {
    /// Start and total of a scan in the index's order.
    pub(crate) fn in_order(&self, table: &Table, costs: &CostSettings) -> f64 {
        let pages = table.pages.max(1.0);
        let visible = if self.only { (table.visible_pages / pages).clamp(0.0, 1.0) } else { 0.0 };
        let loops = self.loops.max(1.0);
        let (worst, best) = if loops > 1.0 {
            let all = fetched(self.rows * loops, pages, costs.cache) * (1.0 - visible);
            let few = fetched((self.rows / table.rows.max(1.0) * pages).ceil() * loops, pages, costs.cache);
            (all * costs.random_page / loops, few * (1.0 - visible) * costs.random_page / loops)
        } else {
            let all = fetched(self.rows, pages, costs.cache) * (1.0 - visible);
            let few = (self.rows / table.rows.max(1.0) * pages * (1.0 - visible)).ceil();
            let best = if few > 0.0 { costs.random_page + (few - 1.0) * costs.seq_page } else { 0.0 };
            (all * costs.random_page, best)
        };
        let share = self.correlation * self.correlation;
        let heap = worst + share * (best - worst);
        self.index(costs) + heap + self.rows * (costs.cpu_tuple + self.filters * costs.cpu_operator)
    }

    /// The total of a scan that collects the places of all rows first.
    pub(crate) fn by_bitmap(&self, table: &Table, costs: &CostSettings) -> f64 {
        let pages = table.pages.max(1.0);
        let loops = self.loops.max(1.0);
        let hit = if loops > 1.0 {
            fetched(self.rows * loops, pages, costs.cache) / loops
        } else {
            (2.0 * pages * self.rows / (2.0 * pages + self.rows)).min(pages).ceil()
        };
        let each = if hit >= 2.0 {
            costs.random_page - (costs.random_page - costs.seq_page) * (hit / pages).sqrt()
        } else {
            costs.random_page
        };
        let cpu = costs.cpu_tuple + (self.conditions + self.filters) * costs.cpu_operator;
        self.index(costs) + 0.1 * costs.cpu_operator * self.rows + hit * each + self.rows * cpu
    }

    fn index(&self, costs: &CostSettings) -> f64 {
        let leaves = (self.entries * self.entry_bytes / PAGE).max(1.0).ceil();
        let height = leaves.log(200.0).max(0.0).floor();
        let read = (self.rows / self.entries.max(1.0) * leaves).ceil().max(1.0);
        let loops = self.loops.max(1.0);
        let pages = if loops > 1.0 { fetched(read * loops, leaves, costs.cache) / loops } else { read };
        let descent = (self.entries.max(2.0).log2().ceil() + (height + 1.0) * 50.0) * costs.cpu_operator;
        pages * costs.random_page
            + descent
            + self.rows * (costs.cpu_index_tuple + self.conditions * costs.cpu_operator)
    }
}

/// What an inverted index costs to look up, and the rows that it then reads.
pub(crate) fn inverted(access: &Access, table: &Table, costs: &CostSettings) -> f64 {
    // Some terms, each a descent and a page or two; matches are checked again.
    5.0 * costs.random_page + access.by_bitmap(table, costs) + access.rows * costs.cpu_operator
}

/// A table of so many pages is large enough for a block range index to be judged by the blocks that are read.
const LARGE: f64 = 100_000.0;

/// A block range index: whole ranges are read.
///
/// The planner does not see that they lie together, and so takes it for dearer than it is. Its view counts,
/// because it decides whether the index is used, unless the table is so large that a B-tree's room counts
/// more.
pub(crate) fn ranges(access: &Access, table: &Table, costs: &CostSettings) -> f64 {
    let pages = table.pages.max(1.0);
    if pages < LARGE {
        let whole = 128.0 / pages * table.rows;
        let rows =
            ((access.rows / whole).ceil() * whole / access.correlation.abs().max(0.01)).min(table.rows);
        return Access { rows, entry_bytes: 0.01, ..*access }.by_bitmap(table, costs);
    }
    let range = 128.0_f64.min(pages);
    let scattered = (1.0 - access.correlation.abs()) * pages;
    let read = (access.rows / table.rows.max(1.0) * pages + 2.0 * range + scattered).min(pages);
    let each = costs.random_page - (costs.random_page - costs.seq_page) * (read / pages).sqrt();
    let checked = table.rows * read / pages;
    3.0 * costs.random_page + read * each + checked * (costs.cpu_tuple + costs.cpu_operator)
}

/// How many pages so many rows are on, fetched in any order, with a cache of so many pages (Mackert and
/// Lohman).
fn fetched(rows: f64, pages: f64, cache: f64) -> f64 {
    let (rows, pages, cache) = (rows.max(0.0), pages.max(1.0), cache.max(1.0));
    let once = (2.0 * pages * rows / (2.0 * pages + rows)).min(pages);
    if pages <= cache {
        return once.ceil();
    }
    let limit = 2.0 * pages * cache / (2.0 * pages - cache);
    if rows <= limit { once.ceil() } else { (cache + (rows - limit) * (pages - cache) / pages).ceil() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_fetched_once_where_they_fit_the_cache() {
        assert_eq!(fetched(1.0, 1000.0, 10_000.0), 1.0);
        assert_eq!(fetched(1e9, 1000.0, 10_000.0), 1000.0);
        assert!(fetched(1e6, 1000.0, 100.0) > 1000.0);
        assert_eq!(fetched(-1.0, 0.0, 0.0), 0.0);
    }
}
