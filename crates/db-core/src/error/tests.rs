//! What each variant of the error answers for itself.

use super::*;
use crate::{ConnectFailure, Evidence};

/// One error of each variant; a new variant does not compile before it is here.
fn one_of_each() -> Vec<Error> {
    let endpoint = || Endpoint::new("db", 5432);
    let lost = || Error::ConnectionLost { reason: "reset".to_owned() };
    let report = |code: SqlState| Box::new(ServerReport::new("told", Some((code, Evidence::Server))));
    let cause = || "told".into();
    let waited = Duration::from_secs(1);
    let refused = |failure| ConnectError::new(endpoint(), ("ann", "app"), failure, waited, "told");
    let all = vec![
        Error::PoolTimeout {
            endpoint: endpoint(),
            waited,
            open: 1,
            idle: 0,
            waiting: 1,
            max: 1,
            oldest: None,
        },
        Error::PoolClosed { endpoint: endpoint() },
        Error::QueueFull { endpoint: endpoint(), waiting: 1, limit: 1 },
        Error::CircuitOpen(Box::new(CircuitOpen::new(None, waited, waited, "told"))),
        refused(ConnectFailure::Refused).into(),
        Error::NoServer { role: Role::Primary, reason: "told".to_owned(), waited },
        Error::QueryTimeout(report(SqlState::QUERY_CANCELED)),
        Error::DeadlineExceeded { waited },
        Error::UniqueViolation(report(SqlState::UNIQUE_VIOLATION)),
        Error::ForeignKeyViolation(report(SqlState::FOREIGN_KEY_VIOLATION)),
        Error::CheckViolation(report(SqlState::CHECK_VIOLATION)),
        Error::NotNullViolation(report(SqlState::NOT_NULL_VIOLATION)),
        Error::ExclusionViolation(report(SqlState::EXCLUSION_VIOLATION)),
        Error::SerializationFailure(report(SqlState::SERIALIZATION_FAILURE)),
        Error::Deadlock(report(SqlState::DEADLOCK_DETECTED)),
        Error::LockTimeout(report(SqlState::LOCK_NOT_AVAILABLE)),
        Error::ReadOnly(report(SqlState::READ_ONLY_SQL_TRANSACTION)),
        Error::WriteInRead(report(SqlState::READ_ONLY_SQL_TRANSACTION)),
        Error::AdminShutdown(report(SqlState::ADMIN_SHUTDOWN)),
        Error::TooManyConnections(report(SqlState::TOO_MANY_CONNECTIONS)),
        Error::Server(report("22012".parse().unwrap())),
        lost(),
        Error::TransactionEnded { reason: "told".to_owned() },
        Error::CommitUnknown(Box::new(UnknownCommit::new(lost(), None, "told"))),
        Error::NotFound,
        Error::Value(cause()),
        Error::Client(cause()),
        Error::Shared(Arc::new(lost())),
        Error::Settings(InvalidSettings { problems: Vec::new(), notices: Vec::new() }),
    ];
    let variants = all.iter().map(|error| match error {
        Error::PoolTimeout { .. } => 0,
        Error::PoolClosed { .. } => 1,
        Error::QueueFull { .. } => 2,
        Error::CircuitOpen(_) => 3,
        Error::Connect(_) => 4,
        Error::NoServer { .. } => 5,
        Error::QueryTimeout(_) => 6,
        Error::DeadlineExceeded { .. } => 7,
        Error::UniqueViolation(_) => 8,
        Error::ForeignKeyViolation(_) => 9,
        Error::CheckViolation(_) => 10,
        Error::NotNullViolation(_) => 11,
        Error::ExclusionViolation(_) => 12,
        Error::SerializationFailure(_) => 13,
        Error::Deadlock(_) => 14,
        Error::LockTimeout(_) => 15,
        Error::ReadOnly(_) => 16,
        Error::WriteInRead(_) => 17,
        Error::AdminShutdown(_) => 18,
        Error::TooManyConnections(_) => 19,
        Error::Server(_) => 20,
        Error::ConnectionLost { .. } => 21,
        Error::TransactionEnded { .. } => 22,
        Error::CommitUnknown(_) => 23,
        Error::NotFound => 24,
        Error::Value(_) => 25,
        Error::Client(_) => 26,
        Error::Shared(_) => 27,
        Error::Settings(_) => 28,
    });
    assert!(variants.eq(0..all.len()), "each variant once, in the order of the type");
    all
}

/// What each variant answers: its class, whether it is before the work, whether it ends the wait.
#[test]
fn every_variant_answers_for_itself() {
    let mut answers = String::new();
    for error in one_of_each() {
        let name = format!("{error:?}");
        let name = name.split([' ', '(', '{']).next().unwrap_or_default();
        let class = error.class();
        let before = if error.is_before_work() { ", before the work" } else { "" };
        let ends = if error.ends_the_wait() { ", ends the wait" } else { "" };
        answers.push_str(&format!("{name}: {class}{before}{ends}\n"));
    }
    insta::assert_snapshot!(answers, @"
    PoolTimeout: overloaded, before the work, ends the wait
    PoolClosed: permanent, before the work
    QueueFull: overloaded, before the work
    CircuitOpen: unavailable, before the work, ends the wait
    Connect: unavailable, before the work
    NoServer: unavailable, before the work, ends the wait
    QueryTimeout: overloaded
    DeadlineExceeded: overloaded
    UniqueViolation: permanent
    ForeignKeyViolation: permanent
    CheckViolation: permanent
    NotNullViolation: permanent
    ExclusionViolation: permanent
    SerializationFailure: conflict
    Deadlock: conflict
    LockTimeout: conflict
    ReadOnly: unavailable
    WriteInRead: permanent
    AdminShutdown: unavailable
    TooManyConnections: overloaded
    Server: permanent
    ConnectionLost: unavailable
    TransactionEnded: permanent
    CommitUnknown: unknown
    NotFound: permanent
    Value: permanent
    Client: permanent
    Shared: unavailable
    Settings: permanent
    ");
}

#[test]
fn a_refused_connection_ends_the_wait_only_where_the_whole_of_it_is_over() {
    let refused = |ends_the_wait| {
        let names = ("ann", "app");
        let (at, failure) = (Endpoint::new("db", 5432), ConnectFailure::Refused);
        let mut error = ConnectError::new(at, names, failure, Duration::ZERO, "told");
        error.ends_the_wait = ends_the_wait;
        Error::from(error)
    };
    assert!(!refused(false).ends_the_wait());
    assert!(refused(true).ends_the_wait());
}
