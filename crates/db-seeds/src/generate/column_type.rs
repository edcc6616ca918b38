//! What a column can hold: a type of PostgreSQL, with its length and precision, below its domains.

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
    Interval,
    Uuid,
    Bytes,
    Json,
    Enum(Vec<String>),
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
    Composite(Vec<ColumnType>),
    /// A type that no value is known of.
    Other(String),
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
            "interval" => ColumnType::Interval,
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

    /// Whether values of it are moments or days.
    pub(crate) fn is_moment(&self) -> bool {
        matches!(self, ColumnType::Date | ColumnType::Timestamp | ColumnType::Time)
    }

    /// The name of the type that no value is known of, if it is one or is made of one.
    pub(crate) fn unknown(&self) -> Option<&str> {
        match self {
            ColumnType::Other(name) => Some(name),
            ColumnType::Array(of) | ColumnType::Range(of) | ColumnType::Multirange(of) => of.unknown(),
            ColumnType::Composite(parts) => parts.iter().find_map(ColumnType::unknown),
            _ => None,
        }
    }
}
