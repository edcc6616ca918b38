//! What is under way that takes long, from all views named `pg_stat_progress_…` that this server has.

use crate::server::Catalog;
use crate::server::record::record;

record! {
    /// Something that takes long, and how far it is.
    pub struct Progress: "", "" {
        /// `vacuum`, `create_index`, `analyze`, `cluster`, `repack`, `basebackup` or `copy`.
        kind: String;
        pid: i64;
        datname: Option<String>;
        relation: Option<i64>;
        phase: Option<String>;
        done: Option<i64>;
        total: Option<i64>;
        /// What `done` and `total` count: `blocks` or `bytes`.
        unit: String;
    }
}

type Columns = &'static [&'static str];

/// The kind, and the columns that tell how much is done, and of how much.
const VIEWS: [(&str, Columns, Columns, &str); 7] = [
    ("vacuum", &["heap_blks_scanned"], &["heap_blks_total"], "blocks"),
    ("create_index", &["blocks_done"], &["blocks_total"], "blocks"),
    ("analyze", &["sample_blks_scanned"], &["sample_blks_total"], "blocks"),
    ("cluster", &["heap_blks_scanned"], &["heap_blks_total"], "blocks"),
    ("repack", &["heap_blks_scanned"], &["heap_blks_total"], "blocks"),
    ("basebackup", &["backup_streamed"], &["backup_total"], "bytes"),
    ("copy", &["bytes_processed"], &["bytes_total"], "bytes"),
];

/// One statement over all of them; none where the server has none.
pub(crate) fn progress_sql(catalog: &Catalog) -> Option<String> {
    let parts: Vec<_> = VIEWS
        .iter()
        .filter_map(|&(kind, done, total, unit)| {
            let view = format!("pg_stat_progress_{kind}");
            let qualified = catalog.qualified(&view).ok()?;
            let column = |names: Columns, cast: &str| {
                let found = names.iter().find(|name| catalog.has_column(&view, name));
                found.map_or_else(|| format!("NULL::{cast}"), |name| format!("s.{name}::{cast}"))
            };
            Some(format!(
                "SELECT '{kind}', s.pid::int8, {}, {}, {}, {}, {}, '{unit}' FROM {qualified} AS s",
                column(&["datname"], "text"),
                column(&["relid"], "int8"),
                column(&["phase"], "text"),
                column(done, "int8"),
                column(total, "int8"),
            ))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join(" UNION ALL "))
}
