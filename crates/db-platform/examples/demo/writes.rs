//! The load's transactions: what an application of this schema does all day.

use db_platform::{Db, Error, Result};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// Events of one aggregate are numbered without gaps: a lock on the aggregate puts writers in a row.
const LOCK_AGGREGATE: &str =
    "SELECT pg_advisory_xact_lock(hashtext(id::text)) FROM organizations ORDER BY id LIMIT 1";
const APPEND_EVENT: &str = "INSERT INTO events \
    (aggregate_type, aggregate_id, version, event_type, payload, organization_id) \
    SELECT 'organization', o.id, coalesce(max(e.version), 0) + 1, 'organization.visited', '{}', o.id \
    FROM (SELECT id FROM organizations ORDER BY id LIMIT 1) o \
    LEFT JOIN events e ON e.aggregate_type = 'organization' AND e.aggregate_id = o.id GROUP BY o.id";
const ADD_NOTE: &str = "INSERT INTO notes (organization_id, author_id, title, body) \
    SELECT organization_id, user_id, 'Visit', 'Written by the demo.' \
    FROM user_organizations ORDER BY random() LIMIT 1";
const TOGGLE_TODO: &str = "UPDATE todos \
    SET completed_at = CASE WHEN completed_at IS NULL THEN now() END \
    WHERE id = (SELECT id FROM todos WHERE deleted_at IS NULL ORDER BY random() LIMIT 1)";
const AUDIT: &str = "INSERT INTO audit_logs (organization_id, user_id, action, entity_type, entity_id) \
    SELECT organization_id, user_id, 'todo.toggled', 'organization', organization_id \
    FROM user_organizations ORDER BY random() LIMIT 1";
const TOUCH_SESSION: &str = "UPDATE sessions SET last_seen_at = now() \
    WHERE id = (SELECT id FROM sessions WHERE revoked_at IS NULL ORDER BY random() LIMIT 1)";
const NOTIFY: &str = "WITH notified AS (\
    INSERT INTO notifications (organization_id, recipient_id, kind, title) \
    SELECT organization_id, user_id, 'reminder', 'A note was written' \
    FROM user_organizations ORDER BY random() LIMIT 1 RETURNING id, recipient_id) \
    INSERT INTO notification_deliveries (recipient_id, notification_id, channel) \
    SELECT recipient_id, id, 'in_app' FROM notified";

/// One transaction of the load.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write {
    AppendEvent,
    AddNote,
    ToggleTodo,
    TouchSession,
    Notify,
}

impl Write {
    pub(crate) const ALL: [Write; 5] =
        [Write::AppendEvent, Write::AddNote, Write::ToggleTodo, Write::TouchSession, Write::Notify];

    pub(crate) async fn run(self, db: &Db) -> Result<()> {
        match self {
            Write::AppendEvent => {
                db.transaction(async |conn| execute(conn, &[LOCK_AGGREGATE, APPEND_EVENT]).await).await
            }
            Write::AddNote => db.transaction(async |conn| execute(conn, &[ADD_NOTE]).await).await,
            // Two that toggle one todo at once conflict; the platform runs the loser again.
            Write::ToggleTodo => {
                let transaction = db.build_transaction().isolation(db_platform::Isolation::RepeatableRead);
                transaction.run(async |conn| execute(conn, &[TOGGLE_TODO, AUDIT]).await).await
            }
            Write::TouchSession => db.transaction(async |conn| execute(conn, &[TOUCH_SESSION]).await).await,
            Write::Notify => db.transaction(async |conn| execute(conn, &[NOTIFY]).await).await,
        }
    }
}

async fn execute(conn: &mut AsyncPgConnection, statements: &[&'static str]) -> Result<(), Error> {
    for statement in statements {
        sql_query(*statement).execute(conn).await?;
    }
    Ok(())
}
