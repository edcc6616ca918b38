//! What routine upkeep is told of bloat: the server's statistics, as monitoring reads them.

use db_core::Endpoint;
use db_maintenance::TableName;
use db_maintenance::routine::{BloatedIndex, BloatedTable, Routine};
use db_monitoring::server::ServerSession;
use db_monitoring::{Bloat, BloatKind, SchemaLook};
use diesel_async::AsyncPgConnection;

/// This routine, with the tables and B-trees that the statistics of a server call bloated.
///
/// The connection is one of its own, to the database that is kept; it only reads.
///
/// ```no_run
/// # async fn plan(conn: diesel_async::AsyncPgConnection) -> Result<(), String> {
/// use db_platform::core::Endpoint;
/// use db_platform::maintenance::routine::Routine;
///
/// let routine = db_platform::with_bloat(Routine::default(), conn, Endpoint::new("db", 5432)).await?;
/// println!("{} bloated tables", routine.bloated_tables.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Why the statistics are not known.
pub async fn with_bloat(
    routine: Routine,
    conn: AsyncPgConnection,
    host: Endpoint,
) -> Result<Routine, String> {
    let session = ServerSession::open(conn, host).await.map_err(|skipped| skipped.detail)?;
    let look = SchemaLook::read(&session).await;
    let found = look.bloat().map_err(str::to_owned)?;
    let of = |kind: BloatKind| found.iter().filter(move |bloat| bloat.kind == kind).filter_map(sized);
    let bloated = of(BloatKind::Index).map(|(index, bytes, bloat_percent)| BloatedIndex {
        index,
        bytes,
        bloat_percent,
    });
    let tables = of(BloatKind::Table).map(|(table, bytes, bloat_percent)| BloatedTable {
        table,
        bytes,
        bloat_percent,
    });
    Ok(Routine { bloated: bloated.collect(), bloated_tables: tables.collect(), ..routine })
}

fn sized(bloat: &Bloat) -> Option<(TableName, i64, f64)> {
    let (schema, name) = bloat.relation.split_once('.')?;
    Some((TableName::new(schema, name), i64::try_from(bloat.bytes).unwrap_or(i64::MAX), bloat.bloat_percent))
}
