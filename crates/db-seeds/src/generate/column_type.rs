//! What a column can hold: a type of PostgreSQL, with its length and precision, below its domains.

use std::sync::Arc;

use super::expression::Expression;

/// A type, as far as values of it can be made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ColumnType {
    Integer {
        least: i64,
        most: i64,
    },
    /// Digits in all, and behind the point.
    Numeric(Option<(u32, u32)>),
    Float,
    Money,
    /// The most characters; `true` where shorter values are padded.
    Text(Option<u32>, bool),
    Boolean,
    Date,
    Timestamp,
    Time,
    /// A length of time, down to this unit.
    Interval(Unit),
    Uuid,
    Bytes,
    Json,
    Enum(Arc<Vec<String>>),
    Array(Box<ColumnType>),
    Range(Box<ColumnType>),
    Multirange(Box<ColumnType>),
    Inet,
    Cidr,
    /// A hardware address of so many bytes.
    MacAddress(u32),
    /// A string of bits: its length, and whether shorter ones are allowed.
    Bits(u32, bool),
    /// A geometric type: the parts that its text is made of.
    Geometry(Geometry),
    Words,
    Xml,
    Lsn,
    /// Labels with dots between them (ltree).
    Path,
    /// Keys and values (hstore).
    Pairs,
    /// So many numbers in brackets (vector).
    Vector(u32),
    /// The names and types of its fields.
    Composite(Vec<(String, ColumnType)>),
    /// A domain within another type, with its conditions on `VALUE`.
    Checked(Box<ColumnType>, Vec<Expression>),
    /// A type that no value is known of.
    Other(String),
}

/// The least unit of a length of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

impl Unit {
    /// Of an interval with this modifier: the bits of the fields stand in its upper half.
    fn of(modifier: i32) -> Self {
        let fields = if modifier < 0 { 0x7fff } else { (modifier >> 16) & 0x7fff };
        let units = [
            (12, Unit::Second),
            (11, Unit::Minute),
            (10, Unit::Hour),
            (3, Unit::Day),
            (1, Unit::Month),
            (2, Unit::Year),
        ];
        units.into_iter().find(|(bit, _)| fields & (1 << bit) != 0).map_or(Unit::Second, |(_, unit)| unit)
    }

    /// So many microseconds, as the server compares lengths of time, and its name.
    pub(crate) fn length(self) -> (f64, &'static str) {
        match self {
            Unit::Second => (1e6, "seconds"),
            Unit::Minute => (60e6, "minutes"),
            Unit::Hour => (3600e6, "hours"),
            Unit::Day => (86_400e6, "days"),
            Unit::Month => (30.0 * 86_400e6, "months"),
            Unit::Year => (360.0 * 86_400e6, "years"),
        }
    }
}

/// The geometric types.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Geometry {
    Point,
    Line,
    Segment,
    Box,
    Path,
    Polygon,
    Circle,
}

impl ColumnType {
    /// The type of this name in `pg_catalog` or of a known extension, with its modifier (-1 for none).
    pub(crate) fn named(name: &str, modifier: i32) -> Self {
        let length = || u32::try_from(modifier - 4).ok();
        match name {
            "int2" => ColumnType::Integer { least: i16::MIN.into(), most: i16::MAX.into() },
            "int4" => ColumnType::Integer { least: i32::MIN.into(), most: i32::MAX.into() },
            "int8" => ColumnType::Integer { least: i64::MIN, most: i64::MAX },
            "oid" => ColumnType::Integer { least: 0, most: i64::from(u32::MAX) },
            "numeric" => ColumnType::Numeric(length().map(|both| ((both >> 16) & 0xffff, both & 0x7ff))),
            "float4" | "float8" => ColumnType::Float,
            "money" => ColumnType::Money,
            "text" | "citext" => ColumnType::Text(None, false),
            "varchar" => ColumnType::Text(length(), false),
            "bpchar" => ColumnType::Text(length(), length().is_some()),
            "name" => ColumnType::Text(Some(63), false),
            "char" => ColumnType::Text(Some(1), false),
            "bool" => ColumnType::Boolean,
            "date" => ColumnType::Date,
            "timestamp" | "timestamptz" => ColumnType::Timestamp,
            "time" | "timetz" => ColumnType::Time,
            "interval" => ColumnType::Interval(Unit::of(modifier)),
            "uuid" => ColumnType::Uuid,
            "bytea" => ColumnType::Bytes,
            "json" | "jsonb" => ColumnType::Json,
            "inet" => ColumnType::Inet,
            "cidr" => ColumnType::Cidr,
            "macaddr" => ColumnType::MacAddress(6),
            "macaddr8" => ColumnType::MacAddress(8),
            "bit" => ColumnType::Bits(u32::try_from(modifier).unwrap_or(1), false),
            "varbit" => ColumnType::Bits(u32::try_from(modifier).unwrap_or(16), true),
            "point" => ColumnType::Geometry(Geometry::Point),
            "line" => ColumnType::Geometry(Geometry::Line),
            "lseg" => ColumnType::Geometry(Geometry::Segment),
            "box" => ColumnType::Geometry(Geometry::Box),
            "path" => ColumnType::Geometry(Geometry::Path),
            "polygon" => ColumnType::Geometry(Geometry::Polygon),
            "circle" => ColumnType::Geometry(Geometry::Circle),
            "tsvector" | "tsquery" => ColumnType::Words,
            "xml" => ColumnType::Xml,
            "pg_lsn" => ColumnType::Lsn,
            "ltree" => ColumnType::Path,
            "hstore" => ColumnType::Pairs,
            "vector" | "halfvec" => ColumnType::Vector(u32::try_from(modifier).unwrap_or(3)),
            other => ColumnType::Other(other.to_owned()),
        }
    }

    /// Whether values of it are compared as numbers.
    pub(crate) fn is_number(&self) -> bool {
        matches!(
            self,
            ColumnType::Integer { .. } | ColumnType::Numeric(_) | ColumnType::Float | ColumnType::Money
        )
    }

    /// Whether values of it are moments, days or lengths of time.
    pub(crate) fn is_moment(&self) -> bool {
        use ColumnType::{Date, Interval, Time, Timestamp};
        matches!(self, Date | Timestamp | Time | Interval(_))
    }

    /// The name of the type that no value is known of, if it is one or is made of one.
    pub(crate) fn unknown(&self) -> Option<&str> {
        match self {
            ColumnType::Other(name) => Some(name),
            ColumnType::Array(of) | ColumnType::Range(of) | ColumnType::Multirange(of) => of.unknown(),
            ColumnType::Composite(parts) => parts.iter().find_map(|(_, part)| part.unknown()),
            ColumnType::Checked(of, _) => of.unknown(),
            _ => None,
        }
    }
}
