//! Where the rows of the catalogs stand.
//!
//! The session counts what it writes into each catalog: what it did not write stands where it stood, and is
//! not read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::error::CheckError;
use super::question::Question;

/// Where the rows of all catalogs stand, each catalog by its place in the list of `counts.sql`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    /// How often this session wrote each catalog; -1 where it does not count.
    counts: Vec<i64>,
    /// One number for each relation.
    relations: BTreeMap<i64, Arc<BTreeMap<i64, i64>>>,
    /// What is of no relation.
    others: BTreeMap<i64, Other>,
}

/// Where the rows stand, and those of them that this transaction did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Other {
    all: i64,
    old: i64,
}

/// The catalogs that almost every statement writes come first, those that are rarely written behind them.
const OFTEN: i64 = 16;

/// A count that no catalog has.
const NEVER: i64 = -2;

/// Where the places are of what belongs to extensions, and of what only views tell.
const EXTENSIONS: i64 = 14;
const VIEWS: i64 = 47;

const COUNTS: &str = include_str!("catalog/counts.sql");

/// How often each catalog was written.
struct Counts;

impl Question for Counts {
    fn sql() -> &'static str {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "WITH asked AS (SELECT $list::int8[] AS known) \
                 SELECT 0::int8 AS place, counts AS relations, '{{}}'::int8[] AS marks FROM ({COUNTS}) n"
            )
        });
        &SQL
    }
}

/// Where the rows stand of the catalogs that were written since they were as often as these counts say: one
/// number for each relation.
struct Changed;

impl Question for Changed {
    fn sql() -> &'static str {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            marks(
                "SELECT place, array_agg(rel::int8), array_agg(mark) FROM (\
                    SELECT place, rel, bit_xor(hashtidextended(row, place)) AS mark FROM own WHERE rel IS NOT NULL \
                    GROUP BY place, rel) marks GROUP BY place",
            )
        });
        &SQL
    }
}

/// The same with less work: one number for all rows of a catalog that this transaction did not write, and
/// those that it wrote.
struct Written;

impl Question for Written {
    fn sql() -> &'static str {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            marks(
                "SELECT place, coalesce(array_agg(rel::int8) FILTER (WHERE is_new), '{}'), \
                    coalesce(bit_xor(mark) FILTER (WHERE NOT is_new), 0) \
                        || coalesce(array_agg(mark) FILTER (WHERE is_new), '{}') FROM (\
                    SELECT place, rel, hashtidextended(row, place) AS mark, age(written) <= 0 AS is_new FROM own \
                    WHERE rel IS NOT NULL OFFSET 0) marks GROUP BY place",
            )
        });
        &SQL
    }
}

fn marks(relations: &str) -> String {
    let sql = include_str!("catalog/marks.sql").replace("/* counts */", COUNTS);
    sql.replace("/* relations */", relations)
}

/// The same of the rarely written catalogs at these places.
struct Rare;

impl Question for Rare {
    fn sql() -> &'static str {
        include_str!("catalog/other_marks.sql")
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = Array<BigInt>)]
    relations: Vec<i64>,
    #[diesel(sql_type = Array<BigInt>)]
    marks: Vec<i64>,
}

impl Marks {
    /// Reads all of them, in a session that prints plainly.
    pub(crate) async fn read(conn: &AsyncPgConnection) -> Result<Self, CheckError> {
        Self::default().read_written(conn).await
    }

    /// Counts anew from the beginning of a transaction on: the server forgets its counts between two of them.
    pub(crate) async fn counted(&self, mut conn: &AsyncPgConnection) -> Result<Self, CheckError> {
        let asked = [Vec::new()];
        let rows: Vec<Row> = Counts::about(&asked).get_results(&mut conn).await?;
        let counts = rows.into_iter().next().map(|row| row.relations).unwrap_or_default();
        Ok(Marks { counts, ..self.clone() })
    }

    /// Where they stand after these, in the same transaction, at whose beginning they stood as `before` says.
    pub(crate) async fn later(
        &self,
        before: &Marks,
        mut conn: &AsyncPgConnection,
    ) -> Result<Self, CheckError> {
        let known = [self.counts.clone()];
        let rows: Vec<Row> = Written::about(&known).get_results(&mut conn).await?;
        let mut is = self.clone();
        let written = is.begin(&rows);
        let (relations, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.place > 0);
        is.note(others);
        let mut lost = is.counts.clone();
        let mut has_lost = false;
        for place in written.iter().copied().filter(|place| *place < OFTEN) {
            let was = before.relations.get(&place).cloned().unwrap_or_default();
            let row = relations.iter().find(|row| row.place == place);
            let (old, new) = row.and_then(|row| row.marks.split_first()).unwrap_or((&0, &[]));
            if *old != was.values().fold(0, |all, mark| all ^ mark) {
                // A row is gone or was written anew: which one it was, only all of them tell.
                if let Some(count) = usize::try_from(place - 1).ok().and_then(|place| lost.get_mut(place)) {
                    (*count, has_lost) = (NEVER, true);
                }
                continue;
            }
            let mut marks = was;
            if let Some(row) = row.filter(|_| !new.is_empty()) {
                let marks = Arc::make_mut(&mut marks);
                for (relation, mark) in row.relations.iter().zip(new) {
                    *marks.entry(*relation).or_default() ^= mark;
                }
            }
            is.relations.insert(place, marks);
        }
        is.note_rare(&written, conn).await?;
        if has_lost {
            is.counts = lost;
            is = is.read_written(conn).await?;
        }
        Ok(is)
    }

    /// Reads what was written since these, whatever the transaction wrote of it.
    pub(crate) async fn read_written(&self, mut conn: &AsyncPgConnection) -> Result<Self, CheckError> {
        let known = [self.counts.clone()];
        let rows: Vec<Row> = Changed::about(&known).get_results(&mut conn).await?;
        let mut is = self.clone();
        let written = is.begin(&rows);
        is.note(rows);
        is.note_rare(&written, conn).await?;
        Ok(is)
    }

    /// The same, where the counts are not to be trusted: everything is read.
    pub(crate) async fn read_all(&self, conn: &AsyncPgConnection) -> Result<Self, CheckError> {
        Marks { counts: Vec::new(), ..self.clone() }.read_written(conn).await
    }

    /// Takes the counts, and forgets what was known of the catalogs that were written; returns their places.
    fn begin(&mut self, rows: &[Row]) -> Vec<i64> {
        let known = std::mem::take(&mut self.counts);
        if let Some(row) = rows.iter().find(|row| row.place == 0) {
            self.counts.clone_from(&row.relations);
        }
        let is_written = |(place, count): &(i64, &i64)| {
            let known = usize::try_from(place - 1).ok().and_then(|place| known.get(place));
            **count < 0 || known != Some(*count)
        };
        let written: Vec<i64> = (1..).zip(&self.counts).filter(is_written).map(|(place, _)| place).collect();
        for place in &written {
            self.relations.insert(*place, Arc::default());
            self.others.insert(*place, Other::default());
        }
        written
    }

    async fn note_rare(&mut self, written: &[i64], mut conn: &AsyncPgConnection) -> Result<(), CheckError> {
        let rare: Vec<i64> = written.iter().copied().filter(|place| *place > OFTEN).collect();
        if !rare.is_empty() {
            self.note(Rare::about(&[rare]).get_results(&mut conn).await?);
        }
        Ok(())
    }

    fn note(&mut self, rows: Vec<Row>) {
        for Row { place, relations, marks } in rows {
            if place > 0 {
                let marks = relations.into_iter().zip(marks).collect();
                self.relations.insert(place, Arc::new(marks));
            } else if let [all, old] = *marks {
                self.others.insert(-place, Other { all, old });
            }
        }
    }

    /// The relations of which a row stands elsewhere than at the beginning of the transaction.
    pub(crate) fn changed_relations(&self, before: &Marks) -> BTreeSet<i64> {
        let mut changed = BTreeSet::new();
        for (place, is) in &self.relations {
            let was = before.relations.get(place).cloned().unwrap_or_default();
            if Arc::ptr_eq(is, &was) {
                continue;
            }
            let all = is.keys().chain(was.keys()).copied();
            changed.extend(all.filter(|relation| is.get(relation) != was.get(relation)));
        }
        changed
    }

    /// What became of everything that is of no relation since the beginning of the transaction.
    pub(crate) fn rest(&self, before: &Marks) -> Rest {
        let mut rest = Rest::Same;
        for (place, is) in &self.others {
            let was = before.others.get(place).copied().unwrap_or_default();
            if is.all == was.all {
                continue;
            }
            let may_be_named = *place == EXTENSIONS || *place >= VIEWS || is.old != was.all;
            rest = rest.max(if may_be_named { Rest::Changed } else { Rest::Grew });
        }
        rest
    }
}

/// What became of everything that is of no relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rest {
    /// It is as it was.
    Same,
    /// More came, and what was there stayed.
    Grew,
    /// Something that others may name has changed.
    Changed,
}
