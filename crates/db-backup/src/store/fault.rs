//! What an error of the store means: not there, there already, refused, no room, or to be tried again.

use std::error::Error as _;
use std::io;

use object_store::Error;

use crate::error::BackupError;

/// How an operation ended without success.
pub(super) enum Fault {
    Missing,
    Exists,
    Error(BackupError),
}

/// What to do about an error.
pub(super) enum Verdict {
    Final(Fault),
    Denied(Box<Error>),
    Full(Box<Error>),
    Again(Box<Error>),
}

impl Fault {
    pub(super) fn into_error(self, path: &str) -> BackupError {
        match self {
            Fault::Missing => BackupError::missing(path),
            Fault::Exists => BackupError::damaged(path, "there is another one in its place"),
            Fault::Error(error) => error,
        }
    }
}

pub(super) fn verdict(error: Error) -> Verdict {
    match error {
        Error::NotFound { .. } => Verdict::Final(Fault::Missing),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Verdict::Final(Fault::Exists),
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::InvalidPath { .. }
        | Error::UnknownConfigurationKey { .. } => Verdict::Denied(Box::new(error)),
        _ => match io_kind(&error) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Verdict::Full(Box::new(error)),
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                Verdict::Denied(Box::new(error))
            }
            _ => Verdict::Again(Box::new(error)),
        },
    }
}

/// The kind of the local error at the bottom, if there is one.
fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        source = inner.source();
    }
    None
}

/// An attempt that took too long.
pub(super) fn unanswered() -> Error {
    generic("no answer within the time for one attempt")
}

/// A body that has not as many bytes as it should have.
pub(super) fn cut_off() -> Error {
    generic("the answer was cut off")
}

fn generic(what: &'static str) -> Error {
    Error::Generic { store: "store", source: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(kind: io::ErrorKind) -> Error {
        Error::Generic { store: "LocalFileSystem", source: Box::new(io::Error::from(kind)) }
    }

    #[test]
    fn a_full_disk_and_a_refusal_are_told_at_once() {
        assert!(matches!(verdict(local(io::ErrorKind::StorageFull)), Verdict::Full(_)));
        assert!(matches!(verdict(local(io::ErrorKind::QuotaExceeded)), Verdict::Full(_)));
        assert!(matches!(verdict(local(io::ErrorKind::ReadOnlyFilesystem)), Verdict::Denied(_)));
        assert!(matches!(verdict(local(io::ErrorKind::ConnectionReset)), Verdict::Again(_)));
        assert!(matches!(verdict(generic("503")), Verdict::Again(_)));
    }
}
