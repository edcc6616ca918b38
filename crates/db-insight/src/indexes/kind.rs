//! What sort of index a suggestion is: the heading under which docs/query-optimization.md explains it.

use std::fmt;

use serde::{Serialize, Serializer};

use super::catalog::Table;
use super::spec::Spec;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What sort of index it is. Its text, such as `index_partial`, is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum IndexKind {
            $($(#[$doc])* $variant,)+
        }

        impl IndexKind {
            /// All of them.
            pub const ALL: &[IndexKind] = &[$(IndexKind::$variant),+];

            /// Its text, such as `index_partial`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(IndexKind::$variant => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A B-tree on one column.
    Column = "index_column",
    /// A B-tree on several columns: equalities first, then the order or the range.
    Columns = "index_columns",
    /// A B-tree of the rows that a constant condition leaves.
    Partial = "index_partial",
    /// A B-tree with columns that spare the table.
    Covering = "index_covering",
    /// A B-tree on an expression.
    Expression = "index_expression",
    /// A B-tree that finds the beginnings of texts.
    Pattern = "index_pattern",
    /// A GIN on trigrams, which finds parts of texts.
    Trigram = "index_trigram",
    /// A GIN on words.
    FullText = "index_full_text",
    /// A GIN on documents.
    Jsonb = "index_jsonb",
    /// A GIN on elements of arrays.
    Array = "index_array",
    /// A GiST, for ranges that overlap and what lies near.
    Overlap = "index_overlap",
    /// A BRIN, for great tables in the order of the column.
    BlockRange = "index_block_range",
    /// A B-tree on the columns of a foreign key, for rows that are removed.
    ForeignKey = "index_foreign_key",
}

impl IndexKind {
    pub(crate) fn of(spec: &Spec, table: &Table, is_of_foreign_key: bool) -> Self {
        let first = spec.keys.first();
        let opclass = first.and_then(|key| key.opclass.as_deref()).unwrap_or_default();
        let column = first.and_then(|key| table.column(key.column.as_deref()?));
        match spec.method {
            "brin" => IndexKind::BlockRange,
            "gist" => IndexKind::Overlap,
            _ if opclass.contains("trgm") => IndexKind::Trigram,
            "gin" if opclass.contains("jsonb") => IndexKind::Jsonb,
            "gin" => match column {
                Some(column) if column.kind == "jsonb" => IndexKind::Jsonb,
                Some(column) if column.category == "A" => IndexKind::Array,
                _ => IndexKind::FullText,
            },
            _ if is_of_foreign_key => IndexKind::ForeignKey,
            _ if spec.predicate.is_some() => IndexKind::Partial,
            _ if opclass.contains("pattern") => IndexKind::Pattern,
            _ if spec.has_expression() => IndexKind::Expression,
            _ if !spec.include.is_empty() => IndexKind::Covering,
            _ if spec.keys.len() > 1 => IndexKind::Columns,
            _ => IndexKind::Column,
        }
    }
}

impl fmt::Display for IndexKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for IndexKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}
