//! Databases, how they are printed, and the files that diesel's own program wrote of them.

use db_migrations::schema::{ColumnOrder, Docs, PrintConfig, SameQuery};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) golden: &'static str,
    pub(crate) config: fn() -> PrintConfig,
    /// The same for diesel's own program; empty where it writes what is wrong.
    pub(crate) arguments: &'static [&'static str],
}

macro_rules! case {
    ($name:literal, $sql:literal, $config:expr, $arguments:expr) => {
        Case {
            name: $name,
            sql: include_str!(concat!("printed/", $sql, ".sql")),
            golden: include_str!(concat!("printed/", $name, ".schema")),
            config: || $config,
            arguments: $arguments,
        }
    };
}

pub(crate) const CASES: &[Case] = &[
    case!("kinds", "kinds", PrintConfig::default(), &["-e", "^logs_2026$"]),
    case!(
        "kinds_with_all",
        "kinds",
        PrintConfig {
            partitions: true,
            docs: Docs::Everywhere,
            columns: ColumnOrder::Name,
            same_query: SameQuery::Joined,
            imports: vec!["diesel::sql_types::*".to_owned(), "crate::types::*".to_owned()],
            derives: ["diesel::query_builder::QueryId", "Clone", "std::fmt::Debug"]
                .map(str::to_owned)
                .to_vec(),
            ..PrintConfig::default()
        },
        &[
            "--with-docs",
            "--column-sorting",
            "name",
            "--allow-tables-to-appear-in-same-query-config",
            "fk_related_tables",
            "--import-types",
            "diesel::sql_types::*",
            "--import-types",
            "crate::types::*",
            "--custom-type-derives",
            "diesel::query_builder::QueryId",
            "--custom-type-derives",
            "Clone",
            "--custom-type-derives",
            "std::fmt::Debug"
        ]
    ),
    case!(
        "kinds_of_app",
        "kinds",
        PrintConfig { schema: Some("app".to_owned()), docs: Docs::Comments, ..PrintConfig::default() },
        &["--schema", "app", "--with-docs-config", "only-database-comments"]
    ),
    case!("hostile", "hostile", PrintConfig::default(), &["--column-sorting", "ordinal_position"]),
    case!("wrong", "wrong", PrintConfig::default(), &[]),
    case!(
        "wrong_of_app",
        "wrong",
        PrintConfig { schema: Some("app".to_owned()), ..PrintConfig::default() },
        &[]
    ),
];
