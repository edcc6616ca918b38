//! The load's transactions: what an application of this schema does all day.

use db_platform::cache::Tag;
use db_platform::{Db, Result};
use diesel::sql_types::{Array, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// A statement that writes.
struct Change {
    /// Where it writes.
    tables: &'static [&'static str],
    /// It returns what it touched there, as the tags of the queries name it: null where that is nobody's.
    sql: &'static str,
}

/// Events of one aggregate are numbered without gaps: a lock on the aggregate puts writers in a row.
const LOCK_AGGREGATE: &str =
    "SELECT pg_advisory_xact_lock(hashtext(id::text)) FROM organizations ORDER BY id LIMIT 1";
const APPEND_EVENT: Change = Change {
    tables: &["events"],
    sql: "INSERT INTO events (aggregate_type, aggregate_id, version, event_type, payload, organization_id) \
    SELECT 'organization', o.id, coalesce(max(e.version), 0) + 1, 'organization.visited', '{}', o.id \
    FROM (SELECT id FROM organizations ORDER BY id LIMIT 1) o \
    LEFT JOIN events e ON e.aggregate_type = 'organization' AND e.aggregate_id = o.id GROUP BY o.id \
    RETURNING ARRAY['unprocessed', 'aggregate ' || aggregate_id, 'type ' || event_type, \
    'organization ' || organization_id, 'user ' || user_id, 'correlation ' || correlation_id] AS touched",
};
const ADD_NOTE: Change = Change {
    tables: &["notes"],
    sql: "INSERT INTO notes (organization_id, author_id, title, body) \
    SELECT organization_id, user_id, 'Visit', 'Written by the demo.' \
    FROM user_organizations ORDER BY random() LIMIT 1 \
    RETURNING ARRAY['note ' || id, 'patient ' || patient_id] AS touched",
};
const TOGGLE_TODO: Change = Change {
    tables: &["todos"],
    sql: "UPDATE todos SET completed_at = CASE WHEN completed_at IS NULL THEN now() END \
    WHERE id = (SELECT id FROM todos WHERE deleted_at IS NULL ORDER BY random() LIMIT 1) \
    RETURNING ARRAY['todo ' || id, 'assignee ' || assignee_id] AS touched",
};
const AUDIT: Change = Change {
    tables: &["audit_logs"],
    sql: "INSERT INTO audit_logs (organization_id, user_id, action, entity_type, entity_id) \
    SELECT organization_id, user_id, 'todo.toggled', 'organization', organization_id \
    FROM user_organizations ORDER BY random() LIMIT 1 \
    RETURNING ARRAY['organization ' || organization_id, 'user ' || user_id] AS touched",
};
const TOUCH_SESSION: Change = Change {
    tables: &["sessions"],
    sql: "UPDATE sessions SET last_seen_at = now() \
    WHERE id = (SELECT id FROM sessions WHERE revoked_at IS NULL ORDER BY random() LIMIT 1) \
    RETURNING ARRAY['user ' || user_id] AS touched",
};
const NOTIFY: Change = Change {
    tables: &["notifications", "notification_deliveries"],
    sql: "WITH notified AS (\
    INSERT INTO notifications (organization_id, recipient_id, kind, title) \
    SELECT organization_id, user_id, 'reminder', 'A note was written' \
    FROM user_organizations ORDER BY random() LIMIT 1 RETURNING id, recipient_id) \
    INSERT INTO notification_deliveries (recipient_id, notification_id, channel) \
    SELECT recipient_id, id, 'in_app' FROM notified \
    RETURNING ARRAY['recipient ' || recipient_id] AS touched",
};

#[derive(QueryableByName)]
struct Touched {
    #[diesel(sql_type = Array<Nullable<Text>>)]
    touched: Vec<Option<String>>,
}

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
                let append = async |conn: &mut AsyncPgConnection| {
                    sql_query(LOCK_AGGREGATE).execute(conn).await?;
                    change(db, conn, &[APPEND_EVENT]).await
                };
                db.transaction(append).await
            }
            Write::AddNote => db.transaction(async |conn| change(db, conn, &[ADD_NOTE]).await).await,
            // Two that toggle one todo at once conflict; the platform runs the loser again.
            Write::ToggleTodo => {
                let transaction = db.build_transaction().isolation(db_platform::Isolation::RepeatableRead);
                transaction.run(async |conn| change(db, conn, &[TOGGLE_TODO, AUDIT]).await).await
            }
            Write::TouchSession => {
                db.transaction(async |conn| change(db, conn, &[TOUCH_SESSION]).await).await
            }
            Write::Notify => db.transaction(async |conn| change(db, conn, &[NOTIFY]).await).await,
        }
    }
}

/// Runs statements, and says to the cache what they touched.
async fn change(db: &Db, conn: &mut AsyncPgConnection, changes: &[Change]) -> Result<()> {
    for change in changes {
        let rows: Vec<Touched> = sql_query(change.sql).load(conn).await?;
        for touched in rows.iter().flat_map(|row| row.touched.iter().flatten()) {
            db.touch(change.tables.iter().map(|table| Tag::row(table, touched)))?;
        }
    }
    Ok(())
}
