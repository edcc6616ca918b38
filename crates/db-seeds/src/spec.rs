//! Reads a generator spec, `NN_table.toml`, and resolves every name in it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::{Spanned, Value};

use crate::error::{Error, Place, Result};
use crate::keys::{self, Keys};
use crate::kind::{self, Kind, Scope};

/// A generated table, with every name resolved to a position.
#[derive(Debug)]
pub(crate) struct TableSpec {
    pub(crate) name: String,
    rows: u64,
    scaled: bool,
    minimum: u64,
    pub(crate) columns: Vec<ColumnSpec>,
}

/// One column of a generated table.
#[derive(Debug)]
pub(crate) struct ColumnSpec {
    pub(crate) name: String,
    pub(crate) place: Place,
    /// The share of rows in which it is NULL.
    pub(crate) null: f64,
    /// NULL unless that column of the same row reads as this text.
    pub(crate) only_if: Option<(usize, String)>,
    /// Rows that agree in that column agree in this one too.
    pub(crate) by: Option<usize>,
    pub(crate) kind: Kind,
}

impl TableSpec {
    pub(crate) fn rows(&self, scale: f64) -> u64 {
        let scale = if self.scaled { scale } else { 1.0 };
        ((self.rows as f64 * scale).round() as u64).max(self.minimum)
    }

    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

impl ColumnSpec {
    /// Columns that start with `_` are computed for others to follow and are not loaded.
    pub(crate) fn hidden(&self) -> bool {
        self.name.starts_with('_')
    }

    /// The columns of the same row that this one is computed from.
    fn needs(&self) -> impl Iterator<Item = usize> {
        self.only_if.iter().map(|(column, _)| *column).chain(self.by).chain(self.kind.needs())
    }
}

type RawColumn = BTreeMap<String, Spanned<Value>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    rows: u64,
    #[serde(default)]
    scaled: bool,
    #[serde(default = "one")]
    minimum: u64,
    columns: BTreeMap<String, Spanned<RawColumn>>,
}

fn one() -> u64 {
    1
}

/// Reads the spec of `table`; `earlier` are the generated tables before it, which it may refer to.
pub(crate) fn read(
    file: &Path,
    source: &str,
    table: &str,
    anchor: i64,
    earlier: &[TableSpec],
) -> Result<TableSpec> {
    let raw: RawTable = keys::parse(file, source)?;
    let names: Vec<String> = raw.columns.keys().cloned().collect();
    let scope = Scope { anchor, names: &names, earlier };
    let mut columns = Vec::with_capacity(names.len());
    for (name, column) in &raw.columns {
        let start = column.span().start;
        let keys = Keys::new(file, source, Some(name), start, column.get_ref().clone());
        columns.push(read_column(name, keys, &scope)?);
    }
    resolve_follows(&mut columns, earlier)?;
    let spec = TableSpec {
        name: table.to_owned(),
        rows: raw.rows,
        scaled: raw.scaled,
        minimum: raw.minimum,
        columns,
    };
    check_groups(&spec)?;
    check_cycles(&spec)?;
    Ok(spec)
}

fn read_column(name: &str, mut keys: Keys<'_>, scope: &Scope<'_>) -> Result<ColumnSpec> {
    let place = keys.place();
    let null = keys.optional("null", "a probability from 0 to 1", keys::probability)?.unwrap_or(0.0);
    let by = scope.optional_column(&mut keys, "by")?;
    let only_if = scope.only_if(&mut keys)?;
    let kind = kind::read(&mut keys, by, scope)?;
    keys.finish()?;
    Ok(ColumnSpec { name: name.to_owned(), place, null, only_if, by, kind })
}

/// A follow may go through another follow, so the order in which they can be resolved is found by trying.
fn resolve_follows(columns: &mut [ColumnSpec], earlier: &[TableSpec]) -> Result<()> {
    loop {
        let mut waiting = None;
        let mut resolved = false;
        for index in 0..columns.len() {
            let Kind::FollowName { through, column } = columns[index].kind.clone() else { continue };
            let Some(target) = columns[through].kind.target(earlier) else {
                waiting = Some((index, through));
                continue;
            };
            let Some(table) = earlier.get(target) else { continue };
            let found = table.column(&column).ok_or_else(|| {
                let found = format!("table {} has no column {column}", table.name);
                Error::malformed(columns[index].place.clone(), found)
            })?;
            columns[index].kind = Kind::Follow { through, table: target, column: found };
            resolved = true;
        }
        match waiting {
            None => return Ok(()),
            Some((index, through)) if !resolved => {
                let found = format!("follows {}, which refers to no table", columns[through].name);
                return Err(Error::malformed(columns[index].place.clone(), found));
            }
            Some(_) => {}
        }
    }
}

fn check_groups(spec: &TableSpec) -> Result<()> {
    for column in &spec.columns {
        let versioned = match column.kind {
            Kind::Version { of } => Some(of),
            _ => column.by,
        };
        let Some(by) = versioned else { continue };
        let by = &spec.columns[by];
        if !by.kind.groups() {
            let found = format!(
                "groups by {}, which is no identity (aggregate, each, reference, follow, uuid)",
                by.name
            );
            return Err(Error::malformed(column.place.clone(), found));
        }
    }
    Ok(())
}

fn check_cycles(spec: &TableSpec) -> Result<()> {
    // A column is settled once everything that it is computed from is.
    let mut settled = vec![false; spec.columns.len()];
    loop {
        let mut progress = false;
        for (index, column) in spec.columns.iter().enumerate() {
            if !settled[index] && column.needs().all(|needed| settled[needed]) {
                settled[index] = true;
                progress = true;
            }
        }
        match settled.iter().position(|settled| !settled) {
            None => return Ok(()),
            Some(stuck) if !progress => {
                let found = "is computed from itself, by way of other columns";
                return Err(Error::malformed(spec.columns[stuck].place.clone(), found));
            }
            Some(_) => {}
        }
    }
}
