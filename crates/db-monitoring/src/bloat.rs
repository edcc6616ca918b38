//! How much of a table or B-tree could be given back: an estimate from statistics, without reading the
//! relation.
//!
//! What rows and entries need is counted from the statistics of their columns, alignment padding included,
//! and compared with the relation's size. Room that `fillfactor` leaves is not bloat. After ioguix's
//! estimate, with the padding walked column by column, the widths as they vary, and the deduplication of
//! B-trees since 13. TOAST is apart: its chunks have no statistics. Relations under 100 pages are left out,
//! because nobody gains by compacting them.

mod read;
mod widths;

use serde::{Deserialize, Serialize};

pub(crate) use read::Bloats;
use widths::{Column, aligned, tuple_size};

/// Smaller relations are left out.
pub(crate) const FEWEST_PAGES: f64 = 100.0;
/// A page's own header.
const PAGE_HEADER: f64 = 24.0;
/// A B-tree page's links to its neighbours.
const BTREE_SPECIAL: f64 = 16.0;
/// What points to a tuple on its page.
const LINE_POINTER: f64 = 4.0;
/// One row's address in a list of them.
const ROW_ADDRESS: f64 = 6.0;

/// How much of one relation is bloat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bloat {
    /// The table or index, qualified.
    pub relation: String,
    /// `table` or `index`.
    pub kind: BloatKind,
    /// The size of its main file, without TOAST.
    pub bytes: u64,
    /// How much of it could be given back, from 0 to 100.
    pub bloat_percent: f64,
}

/// Whose bloat it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BloatKind {
    /// A table or materialized view.
    Table,
    /// A B-tree index.
    Index,
}

impl Bloat {
    /// The bytes that could be given back.
    pub fn wasted(&self) -> f64 {
        self.bytes as f64 * self.bloat_percent / 100.0
    }
}

/// What is known of a table.
#[derive(Debug, Clone)]
pub(crate) struct Heap {
    pub(crate) pages: f64,
    pub(crate) page_size: f64,
    pub(crate) rows: f64,
    /// The share of a page that INSERT fills, up to 1.
    pub(crate) fill: f64,
    pub(crate) columns: Vec<Column>,
}

impl Heap {
    /// The share that is bloat, from 0 to 100.
    pub(crate) fn bloat_percent(&self) -> f64 {
        let row = tuple_size(&self.columns, 23, self.columns.len().div_ceil(8));
        let kept_free = self.page_size * (1.0 - self.fill);
        let needed = self.rows * (row + LINE_POINTER);
        let there = self.pages * (self.page_size - PAGE_HEADER - kept_free);
        // A deleted row's line pointer stays, unless it was the last of its page: count half of them as in
        // use.
        let freed = (row + LINE_POINTER / 2.0) / (row + LINE_POINTER);
        percent(1.0 - needed / there) * freed
    }
}

/// What is known of a B-tree.
#[derive(Debug, Clone)]
pub(crate) struct Btree {
    pub(crate) pages: f64,
    pub(crate) page_size: f64,
    pub(crate) entries: f64,
    /// The share of a leaf that is filled, up to 1: 0.9 where nobody says otherwise.
    pub(crate) fill: f64,
    /// The columns in the key, and behind it what the index includes.
    pub(crate) columns: Vec<Column>,
    /// How many of the columns are the key.
    pub(crate) key_columns: usize,
    /// How many different keys there are, where equal ones share an entry.
    pub(crate) distinct: Option<f64>,
}

impl Btree {
    /// The share that is bloat, from 0 to 100.
    pub(crate) fn bloat_percent(&self) -> f64 {
        let leaves = self.leaves().max(1.0);
        let room = self.page_size - PAGE_HEADER - BTREE_SPECIAL;
        let children = (room * 0.7 / self.bound()).max(2.0);
        let above = leaves / (children - 1.0);
        percent(1.0 - (leaves + above + 1.0) / self.pages)
    }

    /// What bounds a page: a key without what is included.
    fn bound(&self) -> f64 {
        tuple_size(self.columns.get(..self.key_columns).unwrap_or(&self.columns), 8, 4) + LINE_POINTER
    }

    /// How many leaves the entries need.
    fn leaves(&self) -> f64 {
        let Some(distinct) = self.distinct.filter(|distinct| *distinct < self.entries) else {
            let entry = tuple_size(&self.columns, 8, 4) + LINE_POINTER;
            return self.pages_of(self.entries * entry, entry);
        };
        match self.columns.as_slice() {
            // NULL is one key with many rows, and the others may have one each: a mean of both is neither.
            [column] if column.null_share > 0.0 && column.null_share < 1.0 => {
                let part = |share: f64, null_share: f64, distinct: f64| Btree {
                    entries: self.entries * share,
                    columns: vec![Column { null_share, ..column.clone() }],
                    distinct: Some(distinct),
                    ..self.clone()
                };
                let nulls = column.null_share;
                part(1.0 - nulls, 0.0, distinct - 1.0).leaves() + part(nulls, 1.0, 1.0).leaves()
            }
            columns => {
                let (bytes, tuple) = self.shared(tuple_size(columns, 8, 4), distinct);
                self.pages_of(bytes, tuple)
            }
        }
    }

    /// The leaves that so many bytes of tuples of this mean size fill. A leaf is closed when the next tuple
    /// does not fit, or when less is free than `fillfactor` keeps; what bounds it is its first.
    fn pages_of(&self, bytes: f64, tuple: f64) -> f64 {
        let room = self.page_size - PAGE_HEADER - BTREE_SPECIAL - self.bound();
        let kept_free = self.page_size * (1.0 - self.fill);
        let tuples = ((room - kept_free.max(tuple)) / tuple).floor() + 1.0;
        bytes / (tuples.max(1.0) * tuple)
    }

    /// What entries take that share a key: one tuple with a list of addresses, cut where it grows past a
    /// tenth of a page. With it, the mean size of a tuple.
    fn shared(&self, entry: f64, distinct: f64) -> (f64, f64) {
        let longest = self.page_size / 10.0 - LINE_POINTER;
        let in_one = ((longest - entry) / ROW_ADDRESS).floor().max(2.0);
        let each = self.entries / distinct.max(1.0);
        let lists = (each / in_one).ceil().max(1.0);
        let in_list = each / lists;
        let size = if in_list <= 1.0 {
            entry
        } else if in_list < 2.0 {
            // Some keys have one row and some have two.
            entry + (in_list - 1.0) * aligned((2.0 * ROW_ADDRESS) as usize, 8) as f64
        } else {
            entry + aligned((in_list * ROW_ADDRESS).round() as usize, 8) as f64
        };
        (distinct.max(1.0) * lists * (size + LINE_POINTER), size + LINE_POINTER)
    }
}

fn percent(share: f64) -> f64 {
    if share.is_finite() { (share * 100.0).clamp(0.0, 100.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bigint() -> Column {
        Column { fixed: Some(8), align: 8, packs: false, null_share: 0.0, widths: vec![], mean_width: 8.0 }
    }

    fn heap(rows: f64, fill: f64) -> f64 {
        let columns = vec![bigint(), bigint()];
        Heap { pages: 1_000.0, page_size: 8_192.0, rows, fill, columns }.bloat_percent()
    }

    #[test]
    fn a_full_table_has_no_bloat_and_an_empty_one_is_bloat() {
        // 24 bytes of header, 16 of data and a line pointer: 185 rows on a page.
        assert!(heap(185_000.0, 1.0) < 1.0, "{}", heap(185_000.0, 1.0));
        assert!(heap(0.0, 1.0) > 95.0);
        assert!((heap(92_500.0, 1.0) - 50.0).abs() < 4.0);
    }

    #[test]
    fn what_the_fill_factor_leaves_is_not_bloat() {
        assert!(heap(185_000.0 * 0.7, 0.7) < 1.0);
        assert!(heap(185_000.0 * 0.7, 1.0) > 25.0);
    }

    #[test]
    fn equal_keys_share_their_entry() {
        let tree = |distinct| Btree {
            pages: 1_000.0,
            page_size: 8_192.0,
            entries: 1_000_000.0,
            fill: 0.9,
            columns: vec![bigint()],
            key_columns: 1,
            distinct,
        };
        let (each, shared) = (tree(None).bloat_percent(), tree(Some(100.0)).bloat_percent());
        assert!(shared > 10.0 && each == 0.0, "{each} {shared}");
    }

    #[test]
    fn null_is_one_key_beside_those_that_have_a_row_each() {
        let wide = Column { fixed: Some(32), null_share: 2.0 / 3.0, mean_width: 32.0, ..bigint() };
        let tree = Btree {
            pages: 1_000.0,
            page_size: 8_192.0,
            entries: 60_000.0,
            fill: 0.9,
            columns: vec![wide],
            key_columns: 1,
            distinct: Some(20_001.0),
        };
        // 20,000 tuples of 44 bytes at 167 a page, and 40,000 addresses of 6 in 304 lists at 9 a page.
        assert!((152.0..155.0).contains(&tree.leaves()), "{}", tree.leaves());
    }

    #[test]
    fn nonsense_is_no_bloat_rather_than_no_number() {
        let heap = Heap { pages: 0.0, page_size: 0.0, rows: -1.0, fill: 0.0, columns: vec![] };
        assert!((0.0..=100.0).contains(&heap.bloat_percent()));
    }
}
