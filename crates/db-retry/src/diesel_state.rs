//! What diesel believes of the transaction on a connection: it cannot see of statements that it did not make
//! itself.

use diesel::connection::{TransactionDepthChange, TransactionManagerStatus};
use diesel::result::{Error as DieselError, QueryResult};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, TransactionManager};

/// Tells diesel that a transaction is open, which it cannot see of statements that it did not make itself.
///
/// Before BEGIN is sent: whoever is dropped while it is under way leaves a connection that is known to be
/// unusable.
pub(crate) fn inside_transaction(conn: &mut AsyncPgConnection) -> QueryResult<()> {
    let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
    match status {
        TransactionManagerStatus::Valid(valid) if valid.transaction_depth().is_none() => {
            valid.change_transaction_depth(TransactionDepthChange::IncreaseDepth)
        }
        TransactionManagerStatus::Valid(_) => Err(DieselError::AlreadyInTransaction),
        TransactionManagerStatus::InError => Err(DieselError::BrokenTransactionManager),
    }
}

/// Tells diesel that the transaction is over.
pub(crate) fn outside_transaction(conn: &mut AsyncPgConnection) {
    *AnsiTransactionManager::transaction_manager_status_mut(conn) = TransactionManagerStatus::default();
}
