//! The queries of the load: one for each index of the reference schema, and what must be sampled to call
//! them.
//!
//! Each statement reads a page of at most 50 rows as one text, so that the load reads all of them the same
//! way. The times are binds, never `now()`: the same data gives the same answer on any day.
//! docs/query-optimization.md explains the indexes.

use db_platform::cache::{Keyspace, Tag};

use crate::job_queue;

/// A query of the load.
#[derive(Debug)]
pub(crate) struct LoadQuery {
    /// The pages by what `$1`, `$2` … are: its name in the summary, and what a write must touch to change
    /// one.
    pub(crate) pages: Keyspace<Vec<String>, String>,
    /// The index that it is there for; for a partitioned table, the parent's.
    pub(crate) index: &'static str,
    /// The statement, with `$1` and so on.
    pub(crate) sql: &'static str,
    /// What `$1`, `$2` … are.
    pub(crate) binds: &'static [Bind],
}

/// A value that the load samples from the database, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bind {
    /// An organization that has members.
    OrganizationId,
    /// A user that is not deleted.
    UserId,
    /// A patient with notes.
    PatientId,
    /// The type of the aggregate whose id is drawn at the same place of its list.
    AggregateType,
    /// An aggregate with events; pairs with `AggregateType` by its place in the list.
    AggregateId,
    /// The correlation id of some event.
    CorrelationId,
    /// A type of event.
    EventType,
    /// The email of a user that is not deleted, in capitals as people type it.
    Email,
    /// The domain of an organization that is not deleted.
    Domain,
    /// Five letters from within an organization's name.
    OrganizationNameFragment,
    /// Five letters from within a user's name.
    UserNameFragment,
    /// A status of organizations.
    OrganizationStatus,
    /// A status of users.
    UserStatus,
    /// A role of users.
    UserRole,
    /// A moment 3 to 60 days before the newest audit entry: independent of the clock.
    Since,
    /// The moment at which some organization was created.
    OrganizationSince,
    /// A moment 1 to 60 days after the newest audit entry.
    Until,
}

/// How to sample up to 200 values of each bind: `SELECT … AS value`, text, in a fixed order.
///
/// Binds of one query are independent, except that `AggregateType` and `AggregateId` are drawn at one place.
pub(crate) const SAMPLES: &[(Bind, &str)] = &[
    (
        Bind::OrganizationId,
        "SELECT o.id::text AS value FROM organizations o WHERE o.deleted_at IS NULL AND EXISTS (SELECT FROM \
         user_organizations m WHERE m.organization_id = o.id) ORDER BY o.id LIMIT 200",
    ),
    (Bind::UserId, "SELECT id::text AS value FROM users WHERE deleted_at IS NULL ORDER BY id LIMIT 200"),
    (
        Bind::PatientId,
        "SELECT DISTINCT patient_id::text AS value FROM notes WHERE patient_id IS NOT NULL AND deleted_at \
         IS NULL ORDER BY 1 LIMIT 200",
    ),
    (
        Bind::AggregateType,
        "SELECT aggregate_type::text AS value FROM events WHERE version = 1 ORDER BY id LIMIT 200",
    ),
    (
        Bind::AggregateId,
        "SELECT aggregate_id::text AS value FROM events WHERE version = 1 ORDER BY id LIMIT 200",
    ),
    (Bind::CorrelationId, "SELECT correlation_id::text AS value FROM events ORDER BY id LIMIT 200"),
    (
        Bind::EventType,
        "SELECT event_type::text AS value FROM (SELECT event_type FROM events ORDER BY id LIMIT 2000) e \
         GROUP BY 1 ORDER BY 1 LIMIT 200",
    ),
    (
        Bind::Email,
        "SELECT upper(email)::text AS value FROM users WHERE deleted_at IS NULL ORDER BY id LIMIT 200",
    ),
    (
        Bind::Domain,
        "SELECT domain::text AS value FROM organizations WHERE deleted_at IS NULL ORDER BY id LIMIT 200",
    ),
    (
        Bind::OrganizationNameFragment,
        "SELECT substr(name, 2, 5)::text AS value FROM organizations WHERE deleted_at IS NULL AND \
         length(name) >= 6 ORDER BY id LIMIT 200",
    ),
    (
        Bind::UserNameFragment,
        "SELECT substr(name, 2, 5)::text AS value FROM users WHERE deleted_at IS NULL AND length(name) >= 6 \
         ORDER BY id LIMIT 200",
    ),
    (
        Bind::OrganizationStatus,
        "SELECT DISTINCT status::text AS value FROM organizations WHERE deleted_at IS NULL ORDER BY 1 LIMIT \
         200",
    ),
    (
        Bind::UserStatus,
        "SELECT DISTINCT status::text AS value FROM users WHERE deleted_at IS NULL ORDER BY 1 LIMIT 200",
    ),
    (
        Bind::UserRole,
        "SELECT DISTINCT role::text AS value FROM users WHERE deleted_at IS NULL ORDER BY 1 LIMIT 200",
    ),
    (
        Bind::Since,
        "SELECT (newest.at - make_interval(days => days))::text AS value FROM (SELECT max(created_at) AS at \
         FROM audit_logs) newest, generate_series(3, 60) days WHERE newest.at IS NOT NULL LIMIT 200",
    ),
    (
        Bind::OrganizationSince,
        "SELECT created_at::text AS value FROM organizations WHERE deleted_at IS NULL ORDER BY id LIMIT 200",
    ),
    (
        Bind::Until,
        "SELECT (newest.at + make_interval(days => days))::text AS value FROM (SELECT max(created_at) AS at \
         FROM audit_logs) newest, generate_series(1, 60) days WHERE newest.at IS NOT NULL LIMIT 200",
    ),
];

/// How many rows a page has at most: the queries' LIMIT.
pub(crate) const PAGE: usize = 50;

/// The rows of a statement as one text.
macro_rules! page {
    ($rows:literal) => {
        concat!("SELECT coalesce(json_agg(q), '[]')::text AS page FROM (", $rows, ") q")
    };
}

/// All queries of the load.
pub(crate) static QUERIES: [LoadQuery; 30] = [
    LoadQuery {
        pages: Keyspace::new("organizations_by_name").tags_of_key(|_| vec![Tag::table("organizations")]),
        index: "organizations_name_trgm_idx",
        sql: page!(
            "SELECT id, name FROM organizations WHERE name ILIKE '%' || $1::text || \
         '%' AND deleted_at IS NULL ORDER BY name LIMIT 50"
        ),
        binds: &[Bind::OrganizationNameFragment],
    },
    LoadQuery {
        pages: Keyspace::new("organization_by_domain").tags_of_key(|_| vec![Tag::table("organizations")]),
        index: "organizations_domain_key",
        sql: page!(
            "SELECT id, name FROM organizations WHERE lower(domain) = \
         lower($1::text) AND deleted_at IS NULL LIMIT 50"
        ),
        binds: &[Bind::Domain],
    },
    LoadQuery {
        pages: Keyspace::new("organizations_by_status").tags_of_key(|_| vec![Tag::table("organizations")]),
        index: "organizations_status_created_idx",
        sql: page!(
            "SELECT id, name FROM organizations WHERE status = $1::text AND \
         deleted_at IS NULL ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::OrganizationStatus],
    },
    LoadQuery {
        pages: Keyspace::new("organizations_recent").tags_of_key(|_| vec![Tag::table("organizations")]),
        index: "organizations_created_idx",
        sql: page!(
            "SELECT id, name FROM organizations WHERE created_at >= $1::timestamptz \
         AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::OrganizationSince],
    },
    LoadQuery {
        pages: Keyspace::new("user_by_email").tags_of_key(|_| vec![Tag::table("users")]),
        index: "users_email_key",
        sql: page!(
            "SELECT id, name FROM users WHERE lower(email) = lower($1::text) AND \
         deleted_at IS NULL LIMIT 50"
        ),
        binds: &[Bind::Email],
    },
    LoadQuery {
        pages: Keyspace::new("users_by_name").tags_of_key(|_| vec![Tag::table("users")]),
        index: "users_name_trgm_idx",
        sql: page!(
            "SELECT id, name FROM users WHERE name ILIKE '%' || $1::text || '%' AND \
         deleted_at IS NULL ORDER BY name LIMIT 50"
        ),
        binds: &[Bind::UserNameFragment],
    },
    LoadQuery {
        pages: Keyspace::new("users_by_status_and_role").tags_of_key(|_| vec![Tag::table("users")]),
        index: "users_status_role_idx",
        sql: page!(
            "SELECT id, name FROM users WHERE status = $1::text AND role = $2::text \
         AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::UserStatus, Bind::UserRole],
    },
    LoadQuery {
        pages: Keyspace::new("active_users_by_login").tags_of_key(|_| vec![Tag::table("users")]),
        index: "users_active_login_idx",
        sql: page!(
            "SELECT id, name FROM users WHERE last_login_at >= $1::timestamptz AND \
         status = 'active' AND deleted_at IS NULL ORDER BY last_login_at DESC LIMIT 50"
        ),
        binds: &[Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("memberships_of_user").tags_of_key(|of| {
            vec![Tag::row("user_organizations", format!("user {}", of[0])), Tag::table("organizations")]
        }),
        index: "user_organizations_pkey",
        sql: page!(
            "SELECT m.organization_id, o.name FROM user_organizations m JOIN \
         organizations o ON o.id = m.organization_id WHERE m.user_id = $1::uuid ORDER BY m.joined_at LIMIT \
         50"
        ),
        binds: &[Bind::UserId],
    },
    LoadQuery {
        pages: Keyspace::new("members_of_organization")
            .tags_of_key(|of| vec![Tag::row("user_organizations", format!("organization {}", of[0]))]),
        index: "user_organizations_organization_idx",
        sql: page!(
            "SELECT m.user_id, m.role FROM user_organizations m WHERE \
         m.organization_id = $1::uuid ORDER BY m.joined_at DESC LIMIT 50"
        ),
        binds: &[Bind::OrganizationId],
    },
    LoadQuery {
        pages: Keyspace::new("events_of_aggregate")
            .tags_of_key(|of| vec![Tag::row("events", format!("aggregate {}", of[1]))]),
        index: "events_aggregate_version_key",
        sql: page!(
            "SELECT version, event_type, payload FROM events WHERE aggregate_type = \
         $1::text AND aggregate_id = $2::uuid ORDER BY version LIMIT 50"
        ),
        binds: &[Bind::AggregateType, Bind::AggregateId],
    },
    LoadQuery {
        pages: Keyspace::new("events_by_type")
            .tags_of_key(|of| vec![Tag::row("events", format!("type {}", of[0]))]),
        index: "events_type_created_idx",
        sql: page!(
            "SELECT id, aggregate_id FROM events WHERE event_type = $1::text AND \
         created_at >= $2::timestamptz ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::EventType, Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("events_of_organization")
            .tags_of_key(|of| vec![Tag::row("events", format!("organization {}", of[0]))]),
        index: "events_organization_created_idx",
        sql: page!(
            "SELECT id, event_type FROM events WHERE organization_id = $1::uuid \
         ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::OrganizationId],
    },
    LoadQuery {
        pages: Keyspace::new("organization_timeline")
            .tags_of_key(|of| vec![Tag::row("events", format!("organization {}", of[0]))]),
        index: "events_organization_created_idx",
        sql: page!(
            "SELECT id, event_type FROM events WHERE organization_id = $1::uuid AND \
         created_at >= $2::timestamptz ORDER BY created_at LIMIT 50"
        ),
        binds: &[Bind::OrganizationId, Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("events_of_user")
            .tags_of_key(|of| vec![Tag::row("events", format!("user {}", of[0]))]),
        index: "events_user_created_idx",
        sql: page!(
            "SELECT id, event_type FROM events WHERE user_id = $1::uuid ORDER BY \
         created_at DESC LIMIT 50"
        ),
        binds: &[Bind::UserId],
    },
    LoadQuery {
        pages: Keyspace::new("user_timeline")
            .tags_of_key(|of| vec![Tag::row("events", format!("user {}", of[0]))]),
        index: "events_user_created_idx",
        sql: page!(
            "SELECT id, event_type FROM events WHERE user_id = $1::uuid AND \
         created_at >= $2::timestamptz ORDER BY created_at LIMIT 50"
        ),
        binds: &[Bind::UserId, Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("events_by_correlation")
            .tags_of_key(|of| vec![Tag::row("events", format!("correlation {}", of[0]))]),
        index: "events_correlation_idx",
        sql: page!(
            "SELECT id, event_type FROM events WHERE correlation_id = $1::uuid ORDER \
         BY created_at LIMIT 50"
        ),
        binds: &[Bind::CorrelationId],
    },
    LoadQuery {
        pages: Keyspace::new("events_unprocessed")
            .tags_of_key(|_| vec![Tag::row("events", "processed")])
            .tags_of_value(|page| job_queue::tags(page)),
        index: "events_unprocessed_idx",
        sql: page!(
            "SELECT id, event_type, retry_count, created_at FROM events WHERE NOT processed AND \
         retry_count < 5 AND created_at >= $1::timestamptz ORDER BY created_at LIMIT 50"
        ),
        binds: &[Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("api_keys_of_user").tags_of_key(|_| vec![Tag::table("api_keys")]),
        index: "api_keys_user_idx",
        sql: page!(
            "SELECT id, name FROM api_keys WHERE user_id = $1::uuid ORDER BY \
         created_at DESC LIMIT 50"
        ),
        binds: &[Bind::UserId],
    },
    LoadQuery {
        pages: Keyspace::new("api_keys_of_organization").tags_of_key(|_| vec![Tag::table("api_keys")]),
        index: "api_keys_organization_idx",
        sql: page!(
            "SELECT id, name FROM api_keys WHERE organization_id = $1::uuid ORDER BY \
         created_at DESC LIMIT 50"
        ),
        binds: &[Bind::OrganizationId],
    },
    LoadQuery {
        pages: Keyspace::new("api_keys_expiring").tags_of_key(|_| vec![Tag::table("api_keys")]),
        index: "api_keys_expiry_idx",
        sql: page!(
            "SELECT id, name FROM api_keys WHERE expires_at < $1::timestamptz AND \
         revoked_at IS NULL ORDER BY expires_at LIMIT 50"
        ),
        binds: &[Bind::Until],
    },
    LoadQuery {
        pages: Keyspace::new("api_keys_by_use").tags_of_key(|_| vec![Tag::table("api_keys")]),
        index: "api_keys_last_used_idx",
        sql: page!(
            "SELECT id, name FROM api_keys WHERE last_used_at >= $1::timestamptz AND \
         revoked_at IS NULL ORDER BY last_used_at DESC LIMIT 50"
        ),
        binds: &[Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("active_sessions_of_user")
            .tags_of_key(|of| vec![Tag::row("sessions", format!("user {}", of[0]))]),
        index: "sessions_active_user_idx",
        sql: page!(
            "SELECT id, last_seen_at FROM sessions WHERE user_id = $1::uuid AND \
         revoked_at IS NULL AND expires_at > $2::timestamptz ORDER BY expires_at DESC LIMIT 50"
        ),
        binds: &[Bind::UserId, Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("audit_log_of_user")
            .tags_of_key(|of| vec![Tag::row("audit_logs", format!("user {}", of[0]))]),
        index: "audit_logs_user_created_idx",
        sql: page!(
            "SELECT id, action FROM audit_logs WHERE user_id = $1::uuid AND \
         created_at >= $2::timestamptz ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::UserId, Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("audit_log_of_organization")
            .tags_of_key(|of| vec![Tag::row("audit_logs", format!("organization {}", of[0]))]),
        index: "audit_logs_organization_created_idx",
        sql: page!(
            "SELECT id, action FROM audit_logs WHERE organization_id = $1::uuid AND \
         created_at >= $2::timestamptz ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::OrganizationId, Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("notifications_of_user")
            .tags_of_key(|of| vec![Tag::row("notifications", format!("recipient {}", of[0]))]),
        index: "notifications_recipient_created_idx",
        sql: page!(
            "SELECT id, title FROM notifications WHERE recipient_id = $1::uuid AND \
         created_at >= $2::timestamptz ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::UserId, Bind::Since],
    },
    LoadQuery {
        pages: Keyspace::new("deliveries_to_user")
            .tags_of_key(|of| vec![Tag::row("notification_deliveries", format!("recipient {}", of[0]))]),
        index: "notification_deliveries_recipient_created_idx",
        sql: page!(
            "SELECT id, channel, status FROM notification_deliveries WHERE \
         recipient_id = $1::uuid ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::UserId],
    },
    LoadQuery {
        pages: Keyspace::new("active_patients_by_name").tags_of_key(|_| vec![Tag::table("patients")]),
        index: "patients_active_name_idx",
        sql: page!(
            "SELECT id, given_name, family_name FROM patients WHERE organization_id \
         = $1::uuid AND deleted_at IS NULL ORDER BY family_name, given_name LIMIT 50"
        ),
        binds: &[Bind::OrganizationId],
    },
    LoadQuery {
        pages: Keyspace::new("notes_of_patient")
            .tags_of_key(|of| vec![Tag::row("notes", format!("patient {}", of[0]))]),
        index: "notes_patient_created_idx",
        sql: page!(
            "SELECT id, title FROM notes WHERE patient_id = $1::uuid AND deleted_at \
         IS NULL ORDER BY created_at DESC LIMIT 50"
        ),
        binds: &[Bind::PatientId],
    },
    LoadQuery {
        pages: Keyspace::new("open_todos_of_user")
            .tags_of_key(|of| vec![Tag::row("todos", format!("assignee {}", of[0]))]),
        index: "todos_open_assignee_idx",
        sql: page!(
            "SELECT id, title, due_on FROM todos WHERE assignee_id = $1::uuid AND \
         completed_at IS NULL AND deleted_at IS NULL ORDER BY due_on LIMIT 50"
        ),
        binds: &[Bind::UserId],
    },
];
