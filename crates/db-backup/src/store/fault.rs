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
    /// The object is locked against removal.
    Retained(Box<Error>),
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

/// What stores answer when an object may not be removed yet: Google's retention policy and holds, Azure's
/// immutability policy, S3's object lock and those that speak its protocol. In lower case.
const RETAINED: [&str; 6] = [
    "retentionpolicynotmet",
    "objectunderactivehold",
    "blobimmutabledueto",
    "protected by object lock",
    "objectlocked",
    "worm protected",
];

/// What S3 answers, with the status 400 of any bad request, when credentials have run out. In lower case. The
/// other stores answer 401 or 403.
const RUN_OUT: [&str; 3] = ["<code>expiredtoken", "<code>invalidtoken", "<code>tokenrefreshrequired"];

pub(super) fn verdict(error: Error) -> Verdict {
    let said = all_of(&error);
    if RETAINED.iter().any(|code| said.contains(code)) {
        return Verdict::Retained(Box::new(error));
    }
    // They do not come back by being tried again.
    if RUN_OUT.iter().any(|code| said.contains(code)) {
        return Verdict::Denied(Box::new(error));
    }
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

/// What the store answered, in lower case: `object_store` has no error of its own for all of it.
fn all_of(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text.to_ascii_lowercase()
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

    #[test]
    fn a_lock_on_an_object_is_told_from_a_lack_of_rights() {
        let denied =
            |said: &'static str| Error::PermissionDenied { path: "a".to_owned(), source: said.into() };
        assert!(matches!(verdict(denied("403: <Code>AccessDenied</Code>")), Verdict::Denied(_)));
        let locked = "Access Denied because object protected by object lock.";
        assert!(matches!(verdict(denied(locked)), Verdict::Retained(_)));
        assert!(matches!(verdict(generic("409: BlobImmutableDueToPolicy")), Verdict::Retained(_)));
    }

    #[test]
    fn credentials_that_have_run_out_are_told_at_once() {
        let said =
            "400 Bad Request: <Error><Code>ExpiredToken</Code><Message>The provided token has expired.";
        assert!(matches!(verdict(generic(said)), Verdict::Denied(_)));
        assert!(matches!(verdict(generic("400: <Code>RequestTimeout</Code>")), Verdict::Again(_)));
    }
}
