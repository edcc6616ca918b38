//! Rows of the server's views as structs, each of whose columns is looked up before it is asked for.
//!
//! Majors add, drop and rename columns, and an extension may be older than its server. So a record lists
//! for each field the names that the column ever had; the first that is there is read, and where none is,
//! the field is `None`.

use diesel::deserialize::{self, FromSql};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{Array, BigInt, Bool, Double, Nullable, Text};

use crate::server::{Catalog, SkipReason, Skipped};

/// A row of a view, as a struct. Made by the macro `record`.
pub trait Record: Sized + Send + 'static {
    /// The view or function whose columns are looked up.
    const RELATION: &'static str;
    /// What stands behind `FROM`; `@` is the relation with its schema.
    const FROM: &'static str;
    /// The fields in their order.
    const FIELDS: &'static [Field];

    /// Reads the fields in their order.
    #[doc(hidden)]
    fn read(cells: &mut Cells<'_, '_>) -> deserialize::Result<Self>;
}

/// One field of a record: where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in Rust and in JSON.
    pub name: &'static str,
    /// The columns that it may come from, the first that is there; `fn:name` is a function of the object
    /// `s.oid`, and `can:name` one that the expression calls.
    pub from: &'static [&'static str],
    /// The expression; `$` is the column.
    pub expression: &'static str,
    /// The type that it is cast to.
    pub cast: &'static str,
    /// Whether it may be unknown.
    pub optional: bool,
}

/// The cells of one row, in order.
pub struct Cells<'a, 'b>(pub(crate) &'a mut NextCell<'b>);

pub(crate) type NextCell<'b> =
    dyn FnMut(&mut dyn FnMut(Option<PgValue<'_>>) -> deserialize::Result<()>) -> deserialize::Result<()> + 'b;

impl Cells<'_, '_> {
    /// The next cell.
    #[doc(hidden)]
    pub fn next<T: Cell>(&mut self) -> deserialize::Result<T> {
        let mut cell = None;
        (self.0)(&mut |value| {
            cell = Some(T::decode(value)?);
            Ok(())
        })?;
        cell.ok_or_else(|| "no cell".into())
    }
}

/// What a field of a record can be.
pub trait Cell: Sized {
    /// The type that the server casts it to.
    const CAST: &'static str;
    /// Whether it may be NULL, and its column missing.
    const OPTIONAL: bool = false;

    /// Reads it.
    #[doc(hidden)]
    fn decode(value: Option<PgValue<'_>>) -> deserialize::Result<Self>;
}

macro_rules! cell {
    ($($kind:ty: $sql:ty = $cast:literal;)*) => {$(
        impl Cell for $kind {
            const CAST: &'static str = $cast;

            fn decode(value: Option<PgValue<'_>>) -> deserialize::Result<Self> {
                <Self as FromSql<$sql, Pg>>::from_nullable_sql(value)
            }
        }
        impl Cell for Option<$kind> {
            const CAST: &'static str = $cast;
            const OPTIONAL: bool = true;

            fn decode(value: Option<PgValue<'_>>) -> deserialize::Result<Self> {
                <Self as FromSql<Nullable<$sql>, Pg>>::from_nullable_sql(value)
            }
        }
    )*};
}

cell! {
    i64: BigInt = "int8";
    f64: Double = "float8";
    bool: Bool = "bool";
    String: Text = "text";
    Vec<i64>: Array<BigInt> = "int8[]";
    Vec<String>: Array<Text> = "text[]";
}

/// The statement that reads all of a record's rows, with what is to follow behind `FROM`.
pub(crate) fn select<R: Record>(catalog: &Catalog, rest: &str) -> Result<String, Skipped> {
    let relation = catalog.qualified(R::RELATION)?;
    let mut text = String::from("SELECT ");
    for (place, field) in R::FIELDS.iter().enumerate() {
        if place > 0 {
            text.push_str(", ");
        }
        text.push_str(&column::<R>(catalog, field)?);
    }
    text.push_str(" FROM ");
    text.push_str(&R::FROM.replace('@', &relation));
    text.push(' ');
    text.push_str(rest);
    Ok(text)
}

/// The optional fields of a record that this server has no column for, as `view.field`.
pub(crate) fn missing<R: Record>(catalog: &Catalog) -> impl Iterator<Item = String> {
    let is_missing = |field: &&Field| {
        field.optional
            && !field.from.is_empty()
            && column::<R>(catalog, field).is_ok_and(|text| text.starts_with("NULL::"))
    };
    R::FIELDS.iter().filter(is_missing).map(|field| format!("{}.{}", R::RELATION, field.name))
}

fn column<R: Record>(catalog: &Catalog, field: &Field) -> Result<String, Skipped> {
    let Field { name, from, expression, cast, optional } = *field;
    let found = from.iter().find_map(|candidate| match candidate.strip_prefix("fn:") {
        Some(function) => catalog.has_function(function).then(|| format!("{function}(s.oid)")),
        None => match candidate.strip_prefix("can:") {
            Some(function) => catalog.has_function(function).then(String::new),
            None => catalog.has_column(R::RELATION, candidate).then(|| format!("s.{candidate}")),
        },
    });
    match found {
        Some(column) => Ok(format!("({})::{cast}", expression.replace('$', &column))),
        None if from.is_empty() => Ok(format!("({expression})::{cast}")),
        None if optional => Ok(format!("NULL::{cast}")),
        None => {
            let detail = format!("{} has no column {name} on this server", R::RELATION);
            Err(Skipped::new(SkipReason::Missing, detail))
        }
    }
}

/// Declares a record: `field: type, as "expression of $", from ["column", "older name"];`.
macro_rules! record {
    (@from $field:ident) => { &[stringify!($field)] };
    (@from $field:ident [$($from:literal),*]) => { &[$($from),*] };
    (@as) => { "$" };
    (@as $expression:literal) => { $expression };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident: $relation:literal, $source:literal {
            $($(#[$doc:meta])* $field:ident: $kind:ty $(, as $expression:literal)?
                $(, from [$($from:literal),*])?;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
        #[non_exhaustive]
        $vis struct $name {
            $(#[doc = concat!("`", stringify!($field), "`; unknown where it is \
                `None`.")] $(#[$doc])* $vis $field: $kind,)*
        }

        impl $crate::server::Record for $name {
            const RELATION: &'static str = $relation;
            const FROM: &'static str = $source;
            const FIELDS: &'static [$crate::server::Field] = &[$($crate::server::Field {
                name: stringify!($field),
                from: record!(@from $field $([$($from),*])?),
                expression: record!(@as $($expression)?),
                cast: <$kind as $crate::server::Cell>::CAST,
                optional: <$kind as $crate::server::Cell>::OPTIONAL,
            }),*];

            fn read(cells: &mut $crate::server::record::Cells<'_, '_>) -> diesel::deserialize::Result<Self> {
                Ok($name { $($field: cells.next()?),* })
            }
        }
    };
}

pub(crate) use record;
