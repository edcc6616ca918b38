//! The file of masks: for each table what becomes of each column.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use super::mask::{Mask, Secret};
use crate::error::{Error, Place, Result};
use crate::generate::catalog::is_named;
use crate::generate::catalog::{Catalog, Column, Table};
use crate::generate::column_type::ColumnType;
use crate::generate::path::own_path;

/// What becomes of each column, read from a file such as
///
/// ```toml
/// [users]
/// id = "keep"
/// email = "email"
/// full_name = "name"
/// note = { fixed = "-" }
/// ```
///
/// A column that is not in it ends the work, so that a new column is never taken along unseen. A column that
/// refers to a masked one is masked alike.
#[derive(Debug, Clone)]
pub struct Masks {
    file: PathBuf,
    tables: BTreeMap<String, BTreeMap<String, Mask>>,
    secret: Secret,
}

/// The masks of a subset's columns, those that keep left out, each with the key that the column refers to, or
/// itself.
pub(crate) struct MaskPlan(BTreeMap<(usize, usize), Followed>);

/// A mask, and the column that it is for: of a column that refers to a masked one, that one.
#[derive(Clone)]
pub(crate) struct Followed {
    pub(crate) mask: Mask,
    pub(crate) of: (usize, usize),
}

impl MaskPlan {
    pub(crate) fn of_table(&self, at: usize) -> impl Iterator<Item = (usize, &Followed)> {
        self.0.range((at, 0)..=(at, usize::MAX)).map(|((_, column), mask)| (*column, mask))
    }
}

impl Masks {
    /// Reads a file's text. `secret` is what the masks are keyed with: the same secret masks a value alike in
    /// every run, and without it nobody finds a value by trying.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no mask, [`Error::Mask`] for an empty secret.
    pub fn parse(file: &Path, text: &str, secret: &[u8]) -> Result<Self> {
        if secret.len() < 8 {
            return Err(Error::Mask {
                place: "the secret".to_owned(),
                why: "has fewer than 8 bytes: masks that anyone can make hide nothing".to_owned(),
            });
        }
        let malformed = |found: String| Error::malformed(Place::file(file), found);
        let parsed: BTreeMap<String, BTreeMap<String, toml::Value>> =
            toml::from_str(text).map_err(|error| malformed(error.message().to_owned()))?;
        let mut tables = BTreeMap::new();
        for (table, columns) in parsed {
            let mut masks = BTreeMap::new();
            for (column, value) in columns {
                let mask = match &value {
                    toml::Value::String(name) => Mask::named(name),
                    toml::Value::Table(table) => match table.get("fixed") {
                        Some(toml::Value::String(fixed)) if table.len() == 1 => {
                            Some(Mask::Fixed(fixed.clone()))
                        }
                        _ => None,
                    },
                    _ => None,
                };
                let mask = mask.ok_or_else(|| {
                    malformed(format!("{table}.{column} is no mask: there are {}", Mask::NAMES))
                })?;
                masks.insert(column, mask);
            }
            tables.insert(table, masks);
        }
        Ok(Masks { file: file.to_owned(), tables, secret: Secret(secret.to_vec()) })
    }

    /// A first file for a database: a mask for each column, by its name and type. A person must look at each.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn proposed(client: &mut Client) -> Result<String> {
        let builder = client.build_transaction().read_only(true).start().await;
        let transaction = builder.map_err(Error::database("opening a transaction"))?;
        own_path(&transaction).await?;
        let catalog = Catalog::read(&transaction).await?;
        let mut text = format!("# What becomes of each column: {}.\n", Mask::NAMES.replace("         ", ""));
        for table in &catalog.tables {
            let name = |name: &str| toml::Value::String(name.to_owned()).to_string();
            let alone = catalog.tables.iter().filter(|one| one.name == table.name).count() == 1;
            let of = if alone { table.name.clone() } else { format!("{}.{}", table.schema, table.name) };
            _ = write!(text, "\n[{}]\n", name(&of));
            for (at, column) in table.columns.iter().enumerate() {
                let mask = proposed_for(table, at);
                _ = writeln!(text, "{} = \"{mask}\"", name(&column.name));
            }
        }
        Ok(text)
    }

    /// The mask of each column of these tables.
    pub(crate) fn plan(&self, catalog: &Catalog, tables: &BTreeSet<usize>) -> Result<MaskPlan> {
        for table in self.tables.keys() {
            if !catalog.tables.iter().any(|one| is_named(one, table)) {
                let why = format!("is in {} and not in the database", self.file.display());
                return Err(Error::Mask { place: table.clone(), why });
            }
        }
        let mut unknown = String::new();
        let mut masks: BTreeMap<(usize, usize), Followed> = BTreeMap::new();
        for &at in tables {
            let table = &catalog.tables[at];
            let named = self.tables.iter().find(|(name, _)| is_named(table, name)).map(|(_, masks)| masks);
            let missing: Vec<&str> = table
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .filter(|name| !named.is_some_and(|named| named.contains_key(*name)))
                .collect();
            if !missing.is_empty() {
                _ = write!(unknown, "\n  {}.{}: {}", table.schema, table.name, missing.join(", "));
            }
            for (column, mask) in named.into_iter().flatten() {
                let Some(number) = table.column(column) else {
                    let why = format!("is in {} and is no column that is filled", self.file.display());
                    return Err(Error::Mask { place: place(table, column), why });
                };
                masks.insert((at, number), Followed { mask: mask.clone(), of: (at, number) });
            }
        }
        if !unknown.is_empty() {
            let why =
                format!("does not say what becomes of these columns (\"keep\" is an answer too):{unknown}");
            return Err(Error::Mask { place: self.file.display().to_string(), why });
        }
        follow_references(catalog, tables, &mut masks)?;
        masks.retain(|_, followed| followed.mask != Mask::Keep);
        for ((at, column), followed) in &masks {
            let table = &catalog.tables[*at];
            if let Some(why) = refusal(&followed.mask, table, *column) {
                return Err(Error::Mask { place: place(table, &table.columns[*column].name), why });
            }
        }
        Ok(MaskPlan(masks))
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The masked value of a column, as long as the column allows.
    pub(crate) fn masked(
        &self,
        mask: &Mask,
        value: &str,
        column: &Column,
        table: &Table,
    ) -> Result<Option<String>> {
        let number = table.column(&column.name);
        let unique = table.uniques.iter().any(|unique| number.is_some_and(|at| unique.columns.contains(&at)))
            || table
                .partial
                .iter()
                .any(|one| one.of.iter().any(|of| of.columns().contains(&column.name.as_str())));
        let masked = self.secret.masked(mask, value, unique);
        if masked.is_none() && *mask != Mask::Null {
            let why = "has a value that its mask cannot be applied to".to_owned();
            return Err(Error::Mask { place: place(table, &column.name), why });
        }
        let most = match column.holds {
            ColumnType::Text(Some(most), _) => most as usize,
            _ => return Ok(masked),
        };
        match masked {
            Some(masked) if masked.chars().count() > most && unique && *mask != Mask::Hash => {
                let why =
                    format!("is unique and has room for {most} characters, which its mask does not fit into");
                Err(Error::Mask { place: place(table, &column.name), why })
            }
            Some(masked) => Ok(Some(masked.chars().take(most).collect())),
            None => Ok(None),
        }
    }
}

/// What a column of this name and type most likely holds of a person.
fn proposed_for(table: &Table, column: usize) -> &'static str {
    let of = &table.columns[column];
    let name = of.name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    // What refers to a key is masked as the key is.
    if table.references.iter().any(|reference| reference.columns.contains(&column)) {
        return "keep";
    }
    let is_key = table.uniques.iter().any(|unique| unique.columns.contains(&column));
    match &of.holds {
        ColumnType::Text(..) if has(&["email", "mail"]) => "email",
        ColumnType::Text(..) if has(&["first_name", "given"]) => "given_name",
        ColumnType::Text(..) if has(&["last_name", "family", "surname"]) => "family_name",
        ColumnType::Text(..) if has(&["password", "token", "secret", "hash", "key"]) => "hash",
        ColumnType::Text(..)
            if has(&["phone", "mobile", "iban", "tax", "zip", "postal", "street", "address"]) =>
        {
            if is_key {
                "hash"
            } else {
                "format"
            }
        }
        ColumnType::Text(..) if has(&["name"]) => {
            if is_key {
                "hash"
            } else {
                "name"
            }
        }
        ColumnType::Text(..) if has(&["note", "comment", "body", "bio", "message", "description"]) => "text",
        ColumnType::Date if has(&["birth", "dob"]) => "date",
        ColumnType::Json => "json",
        _ => "keep",
    }
}

/// A column that refers to a masked one has that one's mask.
fn follow_references(
    catalog: &Catalog,
    tables: &BTreeSet<usize>,
    masks: &mut BTreeMap<(usize, usize), Followed>,
) -> Result<()> {
    // Chains of references are as long as there are tables, at most.
    for _ in 0..=tables.len() {
        let mut changed = false;
        for &at in tables {
            for reference in &catalog.tables[at].references {
                let other = &catalog.tables[reference.table];
                for (column, of) in reference.columns.iter().zip(&reference.of) {
                    let of = other.column(of).and_then(|of| masks.get(&(reference.table, of))).cloned();
                    let (Some(of), Some(own)) = (of, masks.get(&(at, *column)).cloned()) else { continue };
                    if own.mask == Mask::Null
                        || of.of == own.of
                        || of.mask == Mask::Keep && own.mask == Mask::Keep
                    {
                        continue;
                    }
                    if own.mask != Mask::Keep && own.mask != of.mask {
                        let table = &catalog.tables[at];
                        let why =
                            format!("refers to {}.{}, which has another mask", other.schema, other.name);
                        return Err(Error::Mask { place: place(table, &table.columns[*column].name), why });
                    }
                    masks.insert((at, *column), of);
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    Ok(())
}

/// Why a mask cannot be applied to a column, before the first row is read.
fn refusal(mask: &Mask, table: &Table, column: usize) -> Option<String> {
    let of = &table.columns[column];
    let unique = table.uniques.iter().any(|unique| unique.columns == [column]);
    let fits = match mask {
        Mask::Keep | Mask::Fixed(_) => true,
        Mask::Null if of.not_null => return Some("must not be NULL".to_owned()),
        Mask::Null => true,
        Mask::Uuid => matches!(of.holds, ColumnType::Uuid | ColumnType::Text(..)),
        Mask::Number => of.holds.is_number(),
        Mask::Date => matches!(of.holds, ColumnType::Date | ColumnType::Timestamp),
        Mask::Json => of.holds == ColumnType::Json,
        Mask::Format => matches!(of.holds, ColumnType::Text(..)) || of.holds.is_number(),
        _ => matches!(of.holds, ColumnType::Text(..)),
    };
    if !fits {
        return Some("is of a type that its mask is not for".to_owned());
    }
    let collides = matches!(mask, Mask::Fixed(_) | Mask::Number | Mask::Format | Mask::Date);
    (unique && collides).then(|| "is unique, and its mask makes the same of different values".to_owned())
}

/// The table and the column, for a mask's error: never a value.
pub(super) fn place(table: &Table, column: &str) -> String {
    format!("{}.{}.{column}", table.schema, table.name)
}
