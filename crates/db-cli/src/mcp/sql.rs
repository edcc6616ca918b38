//! Runs one SELECT of an agent's: read-only, with a timeout, on a connection of its own that is closed
//! afterwards.

use std::time::Duration;

use db_platform::monitoring::server::OpenConnection;
use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};

/// So many rows are answered.
const MOST_ROWS: usize = 1_000;
/// And so many bytes of them.
const MOST_BYTES: usize = 1 << 20;

/// A row as JSON. The server makes it, so every type has a form.
#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

pub(super) async fn select(open: &OpenConnection, query: &str, timeout: Duration) -> Result<Value, String> {
    let query = query.trim().trim_end_matches(';');
    if query.is_empty() {
        return Err("the query is empty".to_owned());
    }
    let millis = timeout.as_millis().clamp(1, 3_600_000);
    let work = async {
        let (_, mut conn) = open(None).await?;
        // A timer for each statement: that it is switched off by the statement does not stop the one that
        // runs.
        let begin = format!(
            "BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = 100; \
             SET LOCAL idle_in_transaction_session_timeout = 10000"
        );
        conn.batch_execute(&begin).await?;
        // Sent as a prepared statement, so it is one: the server refuses a second one behind a semicolon. The
        // line feed ends a
        // comment.
        let text = format!(
            "SELECT pg_catalog.to_jsonb(answer)::text AS line FROM ({query}\n) AS answer LIMIT {}",
            MOST_ROWS + 1
        );
        let lines = diesel_async::RunQueryDsl::load(diesel::sql_query(text), &mut conn).await?;
        Ok::<Vec<Line>, db_platform::Error>(lines)
    };
    let late = || format!("the query took longer than {timeout:?}");
    let lines = tokio::time::timeout(timeout + Duration::from_secs(5), work).await.map_err(|_| late())?;
    let lines = lines.map_err(|error| error.to_string())?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for Line { line } in lines.iter().take(MOST_ROWS) {
        bytes += line.len();
        if bytes > MOST_BYTES {
            break;
        }
        rows.push(serde_json::from_str::<Value>(line.as_str()).map_err(|error| error.to_string())?);
    }
    let complete = rows.len() == lines.len();
    Ok(json!({ "rows": rows, "complete": complete }))
}
