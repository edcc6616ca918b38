//! An index that may be made: its definition as PostgreSQL prints it, its name, and what it would take up.

use super::catalog::{Table, TableIndex};
use super::expression::quoted;

/// One key of an index.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The column, or the expression in the way that an index needs it.
    pub(crate) sql: String,
    /// The column's name, where it is one.
    pub(crate) column: Option<String>,
    pub(crate) opclass: Option<String>,
    pub(crate) desc: bool,
    pub(crate) nulls_first: bool,
}

impl Key {
    pub(crate) fn column(name: &str) -> Self {
        Key {
            sql: quoted(name),
            column: Some(name.to_owned()),
            opclass: None,
            desc: false,
            nulls_first: false,
        }
    }

    pub(crate) fn expression(sql: String) -> Self {
        Key { sql, column: None, opclass: None, desc: false, nulls_first: false }
    }

    fn shown(&self) -> String {
        let mut text = self.sql.clone();
        if let Some(opclass) = &self.opclass {
            text.push(' ');
            text.push_str(opclass);
        }
        text.push_str(match (self.desc, self.nulls_first) {
            (false, false) => "",
            (false, true) => " NULLS FIRST",
            (true, true) => " DESC",
            (true, false) => " DESC NULLS LAST",
        });
        text
    }

    /// Whether an existing index has this key, in this direction or in the other.
    fn is(&self, other: &super::catalog::IndexKey, reversed: bool) -> bool {
        let options = i64::from(self.desc != reversed) + 2 * i64::from(self.nulls_first != reversed);
        let opclass = match &self.opclass {
            Some(opclass) => *opclass == other.opclass,
            None => other.default_opclass,
        };
        bare(&self.sql) == bare(&other.text) && opclass && other.own_collation && options == other.options
    }
}

/// An expression without the parentheses around it and the spaces in it.
fn bare(sql: &str) -> String {
    let mut text: String = sql.chars().filter(|c| !c.is_whitespace() && *c != '(' && *c != ')').collect();
    text.make_ascii_lowercase();
    text
}

/// An index that may be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Spec {
    pub(crate) table: i64,
    pub(crate) method: &'static str,
    pub(crate) keys: Vec<Key>,
    pub(crate) include: Vec<String>,
    pub(crate) predicate: Option<String>,
}

impl Spec {
    pub(crate) fn btree(table: i64, keys: Vec<Key>) -> Self {
        Spec { table, method: "btree", keys, include: Vec::new(), predicate: None }
    }

    pub(crate) fn of_method(table: i64, method: &'static str, key: Key) -> Self {
        Spec { table, method, keys: vec![key], include: Vec::new(), predicate: None }
    }

    /// As `pg_get_indexdef` prints it behind `ON`.
    pub(crate) fn definition(&self, table: &str) -> String {
        let keys: Vec<String> = self.keys.iter().map(Key::shown).collect();
        let mut text = format!("{table} USING {} ({})", self.method, keys.join(", "));
        if !self.include.is_empty() {
            let include: Vec<String> = self.include.iter().map(|name| quoted(name)).collect();
            text.push_str(&format!(" INCLUDE ({})", include.join(", ")));
        }
        if let Some(predicate) = &self.predicate {
            text.push_str(&format!(" WHERE {predicate}"));
        }
        text
    }

    pub(crate) fn has_expression(&self) -> bool {
        self.keys.iter().any(|key| key.column.is_none())
    }

    /// A name that no relation of the schema has.
    pub(crate) fn name(&self, table: &Table, taken: &[String]) -> String {
        let plain = |text: &str| -> String {
            let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
            let all: String = text.chars().map(word).collect();
            all.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
        };
        let parts: Vec<String> = self
            .keys
            .iter()
            .map(|key| key.column.as_deref().map_or_else(|| short(&plain(&key.sql)), plain))
            .collect();
        let kind = match (self.method, &self.predicate) {
            ("btree", None) => "idx".to_owned(),
            ("btree", Some(_)) => "partial_idx".to_owned(),
            (method, _) => format!("{method}_idx"),
        };
        let mut stem = format!("{}_{}", plain(&table.name), parts.join("_"));
        // The longest name is 63 bytes; a number may have to follow.
        stem.truncate(59 - kind.len());
        let first = format!("{}_{kind}", stem.trim_end_matches('_'));
        let free = |name: &String| !taken.contains(name);
        if free(&first) {
            return first;
        }
        (1..=999).map(|n| format!("{first}{n}")).find(free).unwrap_or(first)
    }

    /// The valid index that serves the same, or the invalid one that would.
    pub(crate) fn existing<'a>(&self, table: &'a Table, equal: usize) -> Option<&'a TableIndex> {
        table.indexes.iter().find(|index| self.is_served_by(index, equal))
    }

    /// The valid index of a partition that can be attached to this one: its definition is the same.
    pub(crate) fn same<'a>(&self, table: &'a Table) -> Option<&'a TableIndex> {
        let is_same = |index: &TableIndex| {
            let predicates = self.predicate.as_deref().map(bare) == index.predicate.as_deref().map(bare);
            let include: Vec<String> = self.include.iter().map(|name| quoted(name)).collect();
            index.method == self.method
                && index.valid
                && !index.partitioned
                && predicates
                && include == index.include
                && index.keys.len() == self.keys.len()
                && self.keys.iter().zip(&index.keys).all(|(key, other)| key.is(other, false))
        };
        table.indexes.iter().find(|index| is_same(index))
    }

    /// Whether an index does what this one would; the order of the first `equal` keys does not matter.
    fn is_served_by(&self, index: &TableIndex, equal: usize) -> bool {
        let same_predicate = match (&self.predicate, &index.predicate) {
            (None, None) => true,
            (Some(own), Some(theirs)) => bare(own) == bare(theirs),
            // A whole index may be far greater than the part that is asked for: the costs decide.
            (None, Some(_)) | (Some(_), None) => false,
        };
        let all_columns = |index: &TableIndex| {
            let names = index.include.iter().chain(index.keys.iter().map(|key| &key.text));
            names.map(|name| bare(name)).collect::<Vec<_>>()
        };
        let covers = self.include.iter().all(|name| all_columns(index).contains(&bare(&quoted(name))));
        if index.method != self.method || !same_predicate || !covers || index.keys.len() < self.keys.len() {
            return false;
        }
        let (own_equal, own_rest) = self.keys.split_at(equal.min(self.keys.len()));
        let (their_equal, their_rest) = index.keys.split_at(own_equal.len().min(index.keys.len()));
        let set = own_equal
            .iter()
            .all(|key| their_equal.iter().any(|other| key.is(other, false) || key.is(other, true)));
        let follows =
            |reversed: bool| own_rest.iter().zip(their_rest).all(|(key, other)| key.is(other, reversed));
        set && (follows(false) || follows(true))
    }

    /// Whether the keys of this one are the first of the other's, so that the other does its work.
    pub(crate) fn is_prefix_of(&self, other: &Spec) -> bool {
        self.table == other.table
            && self.method == "btree"
            && other.method == "btree"
            && self.predicate == other.predicate
            && self.keys.len() <= other.keys.len()
            && self.keys.iter().zip(&other.keys).all(|(own, their)| own == their)
            && self.include.iter().all(|name| {
                other.include.contains(name) || other.keys.iter().any(|key| key.column.as_ref() == Some(name))
            })
    }

    /// The bytes of one entry.
    pub(crate) fn entry_bytes(&self, table: &Table) -> f64 {
        let width = |name: &str| table.width(name);
        let keys: f64 = self.keys.iter().map(|key| key.column.as_deref().map_or(16.0, width)).sum();
        let include: f64 = self.include.iter().map(|name| width(name)).sum();
        12.0 + ((keys + include) / 8.0).ceil() * 8.0
    }
}

/// The words of an expression that say what it is of.
fn short(text: &str) -> String {
    let dull =
        ["text", "jsonb", "regconfig", "coalesce", "to", "varying", "character", "time", "zone", "without"];
    let words: Vec<&str> = text.split('_').filter(|word| !dull.contains(word)).collect();
    words.join("_")
}
