//! A disk that is full while a table is compacted.

use crate::error::MaintenanceError;

/// A disk without room is no failure of the table.
pub(super) fn room(error: MaintenanceError, what: &str) -> MaintenanceError {
    if !error.is_disk_full() {
        return error;
    }
    let why = "the disk is full: nothing is lost, and it goes on when there is room";
    MaintenanceError::refused(what, why)
}
