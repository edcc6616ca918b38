//! Takes a part of a database out of it, closed under its references, with the values of people masked.
//!
//! From the rows of the roots the rows that refer to them are followed down (unless that is not wanted), and
//! from all of these the rows that they refer to are followed up, until nothing is added. All is read in one
//! snapshot.

mod allowed;
mod copies;
mod mask;
mod masks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tokio_postgres::{Client, IsolationLevel, Transaction};

use self::allowed::Allowed;
use self::copies::Copies;
pub use self::masks::Masks;
use self::masks::place;
use crate::error::{Error, Result};
use crate::generate::catalog::is_named;
use crate::generate::catalog::{Catalog, Reference};
use crate::generate::dump::{Dumped, Writer};
use crate::generate::order::Order;
use crate::generate::path::{own_path, restore_path};
use crate::ledger::quoted;

/// Which part is taken, and how it is masked.
///
/// ```
/// use db_seeds::{Masks, Subset};
///
/// # fn read() -> db_seeds::Result<()> {
/// let masks = Masks::parse("masks.toml".as_ref(), "[users]\nid = \"keep\"\nemail = \"email\"\n", b"a long secret")?;
/// let subset = Subset { roots: vec!["users WHERE id = 7".to_owned()], masks, children: true };
/// # _ = subset;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Subset {
    /// Tables, each with a condition in SQL: `orders WHERE created_at > now() - interval '1 day'`. SQL of the
    /// operator's own, as in psql: whoever may name it may read the database.
    pub roots: Vec<String>,
    /// What becomes of the columns.
    pub masks: Masks,
    /// Whether the rows that refer to the roots' are taken too, and those that refer to them.
    pub children: bool,
}

impl Subset {
    /// Writes the part into a directory, which must be empty or not there yet, as a set that
    /// [`Seeds`](crate::Seeds) loads.
    ///
    /// The masked values' copies in other columns, also within documents and texts, are replaced as well.
    /// Nothing is written before every row is masked: an error leaves an empty directory.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] for a root that is not there, [`Error::Mask`] where the masks do not know a
    /// column or cannot be applied to it, [`Error::Unreadable`] for the directory, and [`Error::Database`].
    pub async fn write(&self, client: &mut Client, dir: &Path) -> Result<Dumped> {
        let unwritable = |source| Error::unreadable(dir, source);
        fs::create_dir_all(dir).map_err(unwritable)?;
        let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let transaction = builder.start().await.map_err(Error::database("opening a transaction"))?;
        let path = own_path(&transaction).await?;
        let catalog = Catalog::read(&transaction).await?;
        let kept = Kept::new(&transaction, &catalog).await?;
        let mut reached = BTreeSet::new();
        for root in &self.roots {
            restore_path(&transaction, &path).await?;
            reached.insert(kept.add_root(root).await?);
            own_path(&transaction).await?;
        }
        if self.children {
            kept.follow_down(&mut reached).await?;
        }
        kept.follow_up(&mut reached).await?;
        let mut rows = BTreeMap::new();
        for at in &reached {
            rows.insert(*at, kept.rows(*at).await?);
        }
        self.mask(&catalog, &mut rows)?;
        restore_path(&transaction, &path).await?;
        let mut writer = Writer::new(&transaction, &catalog, dir)?;
        for at in Order::of(&catalog).groups.iter().flatten() {
            if let Some(rows) = rows.get(at) {
                writer.write_rows(*at, rows).await?;
            }
        }
        writer.finish("a masked part of a database").await
    }

    fn mask(&self, catalog: &Catalog, rows: &mut BTreeMap<usize, Vec<Cells>>) -> Result<()> {
        let reached: BTreeSet<usize> =
            rows.iter().filter(|(_, rows)| !rows.is_empty()).map(|(at, _)| *at).collect();
        let plan = self.masks.plan(catalog, &reached)?;
        let allowed = Allowed::new(catalog, self.masks.secret());
        let mut copies = Copies::default();
        for (at, rows) in rows.iter_mut() {
            let table = &catalog.tables[*at];
            let masked: Vec<usize> = plan.of_table(*at).map(|(column, _)| column).collect();
            if masked.is_empty() {
                continue;
            }
            for row in rows.iter_mut() {
                let before = row.clone();
                for (column, followed) in plan.of_table(*at) {
                    let Some(value) = &before[column] else { continue };
                    let of = &table.columns[column];
                    row[column] = match self.masks.masked(&followed.mask, value, of, table)? {
                        Some(masked) => {
                            let refused = || Error::Mask {
                                place: place(table, &of.name),
                                why: "has a mask whose values its conditions refuse".to_owned(),
                            };
                            Some(allowed.value(followed.of, value, masked).ok_or_else(refused)?)
                        }
                        None => None,
                    };
                }
                allowed.mend(*at, &masked, &before, row).map_err(|columns| Error::Mask {
                    place: format!("{}.{}", table.schema, table.name),
                    why: format!("has masks that break the condition on ({columns})"),
                })?;
                for column in &masked {
                    if let (Some(value), Some(masked)) = (&before[*column], &row[*column]) {
                        copies.note(value, masked);
                    }
                }
            }
        }
        let replacer = copies.replacer();
        for (at, rows) in rows.iter_mut() {
            let masked: Vec<usize> = plan.of_table(*at).map(|(column, _)| column).collect();
            for row in rows.iter_mut() {
                for (column, cell) in row.iter_mut().enumerate() {
                    if let (false, Some(value)) = (masked.contains(&column), &cell) {
                        let holds = &catalog.tables[*at].columns[column].holds;
                        let is_code = || allowed.is_code(*at, column);
                        if let Some(replaced) = replacer.replaced(value, holds, is_code) {
                            *cell = Some(replaced);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

type Cells = Vec<Option<String>>;

/// The rows that are taken, as places in a temporary table for each table.
struct Kept<'a> {
    transaction: &'a Transaction<'a>,
    catalog: &'a Catalog,
}

impl<'a> Kept<'a> {
    async fn new(transaction: &'a Transaction<'a>, catalog: &'a Catalog) -> Result<Self> {
        for at in 0..catalog.tables.len() {
            let create = format!(
                "CREATE TEMP TABLE {} (part oid, place tid, PRIMARY KEY (part, place)) ON COMMIT DROP",
                name_of(at).trim_start_matches("pg_temp.")
            );
            transaction.batch_execute(&create).await.map_err(Error::database("making a temporary table"))?;
        }
        Ok(Kept { transaction, catalog })
    }

    async fn execute(&self, sql: &str) -> Result<u64> {
        self.transaction.execute(sql, &[]).await.map_err(Error::database("following references"))
    }

    /// Adds the rows of a root. Returns its table.
    async fn add_root(&self, root: &str) -> Result<usize> {
        let (name, condition) = split_root(root);
        let tables = self.catalog.tables.iter().enumerate();
        let found: Vec<usize> = tables.filter(|(_, table)| is_named(table, name)).map(|(at, _)| at).collect();
        let [at] = found[..] else {
            let known = self.catalog.tables.iter().map(|table| format!("{}.{}", table.schema, table.name));
            return Err(Error::NoSuchTable {
                table: name.to_owned(),
                places: found.len(),
                known: known.collect(),
            });
        };
        let table = &self.catalog.tables[at];
        let insert = format!(
            "INSERT INTO {} SELECT {name}.tableoid, {name}.ctid FROM {} AS {name} WHERE {condition} \
             ON CONFLICT DO NOTHING",
            name_of(at),
            table.sql(),
            name = quoted(&table.name),
        );
        self.transaction
            .execute(&insert, &[])
            .await
            .map_err(Error::database("looking for the roots' rows"))?;
        Ok(at)
    }

    async fn follow_down(&self, reached: &mut BTreeSet<usize>) -> Result<()> {
        loop {
            let mut added = 0;
            for (at, table) in self.catalog.tables.iter().enumerate() {
                for reference in &table.references {
                    if reached.contains(&reference.table) {
                        let insert = self.joined(at, reference, "t", &name_of(reference.table), "p");
                        let found = self.execute(&format!("INSERT INTO {} {insert}", name_of(at))).await?;
                        if found > 0 {
                            reached.insert(at);
                        }
                        added += found;
                    }
                }
            }
            if added == 0 {
                return Ok(());
            }
        }
    }

    async fn follow_up(&self, reached: &mut BTreeSet<usize>) -> Result<()> {
        loop {
            let mut added = 0;
            for (at, table) in self.catalog.tables.iter().enumerate() {
                for reference in table.references.iter().filter(|_| reached.contains(&at)).collect::<Vec<_>>()
                {
                    let insert = self.joined(at, reference, "p", &name_of(at), "t");
                    let found =
                        self.execute(&format!("INSERT INTO {} {insert}", name_of(reference.table))).await?;
                    if found > 0 {
                        reached.insert(reference.table);
                    }
                    added += found;
                }
            }
            if added == 0 {
                return Ok(());
            }
        }
    }

    /// The rows of one side of a reference whose other side is kept. `t` refers to `p`.
    fn joined(&self, at: usize, reference: &Reference, wanted: &str, kept: &str, by: &str) -> String {
        let table = &self.catalog.tables[at];
        let pairs = reference.columns.iter().zip(&reference.of);
        let pairs: Vec<String> = pairs
            .map(|(column, of)| format!("t.{} = p.{}", quoted(&table.columns[*column].name), quoted(of)))
            .collect();
        format!(
            "SELECT DISTINCT {wanted}.tableoid, {wanted}.ctid FROM {} AS t JOIN {} AS p ON {} JOIN {kept} AS k \
             ON k.part = {by}.tableoid AND k.place = {by}.ctid ON CONFLICT DO NOTHING",
            table.sql(),
            self.catalog.tables[reference.table].sql(),
            pairs.join(" AND "),
        )
    }

    async fn rows(&self, at: usize) -> Result<Vec<Cells>> {
        let table = &self.catalog.tables[at];
        if table.columns.is_empty() {
            return Ok(Vec::new());
        }
        let columns: Vec<String> =
            table.columns.iter().map(|column| format!("t.{}::text", quoted(&column.name))).collect();
        let order = match table.uniques.first() {
            Some(unique) => {
                let columns =
                    unique.columns.iter().map(|at| format!("t.{}", quoted(&table.columns[*at].name)));
                columns.collect::<Vec<_>>().join(", ")
            }
            None => "t.tableoid, t.ctid".to_owned(),
        };
        let query = format!(
            "SELECT {} FROM {} AS t JOIN {} AS k ON k.part = t.tableoid AND k.place = t.ctid ORDER BY {order}",
            columns.join(", "),
            table.sql(),
            name_of(at)
        );
        let rows = self.transaction.query(&query, &[]).await.map_err(Error::database("reading rows"))?;
        Ok(rows.iter().map(|row| (0..columns.len()).map(|column| row.get(column)).collect()).collect())
    }
}

fn name_of(at: usize) -> String {
    format!("pg_temp.db_seeds_kept_{at}")
}

/// `orders WHERE id = 1` is (`orders`, `id = 1`); without a condition all rows are meant.
fn split_root(root: &str) -> (&str, &str) {
    let root = root.trim();
    let lower = root.to_ascii_lowercase();
    match lower.find(" where ") {
        Some(at) => (root[..at].trim(), root[at + " where ".len()..].trim()),
        None => (root, "true"),
    }
}

#[cfg(test)]
mod tests {
    use super::split_root;

    #[test]
    fn a_root_is_a_table_with_a_condition() {
        assert_eq!(split_root("orders WHERE id = 1"), ("orders", "id = 1"));
        assert_eq!(
            split_root(" billing.orders where note = ' where '"),
            ("billing.orders", "note = ' where '")
        );
        assert_eq!(split_root("orders"), ("orders", "true"));
    }
}
