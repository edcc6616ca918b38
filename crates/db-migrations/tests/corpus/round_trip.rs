//! From one database's tables to the `schema.rs` of another, and back.

use db_migrations::schema::{ColumnOrder, PrintConfig, Schema, difference, print};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

async fn printed(conn: &mut AsyncPgConnection) -> String {
    // Columns that were added come last, wherever they stand in the file.
    let config = PrintConfig { columns: ColumnOrder::Name, ..PrintConfig::default() };
    print(conn, &config).await.unwrap().text
}

/// What is wrong with the way from `from` to `to`; none where it leads there and back.
pub(crate) async fn fault(from: &mut AsyncPgConnection, to: &mut AsyncPgConnection) -> Option<String> {
    let (before, wanted) = (printed(from).await, printed(to).await);
    let live = Schema::read(from, &[]).await.unwrap();
    let file = Schema::parse(&wanted).unwrap();
    let migration = difference(&live, &file);
    if let Err(error) = from.batch_execute(&migration.up).await {
        return Some(format!("up: {error}\n{}", migration.up));
    }
    let after = printed(from).await;
    if after != wanted {
        return Some(format!("up leads to\n{after}\nin place of\n{wanted}\nby\n{}", migration.up));
    }
    let again = difference(&Schema::read(from, &[]).await.unwrap(), &file);
    if !again.is_empty() {
        return Some(format!("up again:\n{}", again.up));
    }
    if let Err(error) = from.batch_execute(&migration.down).await {
        return Some(format!("down: {error}\n{}\nbehind\n{}", migration.down, migration.up));
    }
    let back = printed(from).await;
    (back != before).then(|| format!("down leads to\n{back}\nin place of\n{before}\nby\n{}", migration.down))
}
