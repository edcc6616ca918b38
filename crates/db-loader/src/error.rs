//! Why a load failed; each caller of a batch gets the same error, and with it the class.

use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use db_core::{Class, Classify, Error, SqlState};

/// Why a load failed. Cheap to clone: what the batch function said is shared by all of its callers.
///
/// A key that the batch function knows nothing of is no failure: [`Loader::get`](crate::Loader::get) answers
/// `None`.
///
/// ```
/// use std::sync::Arc;
/// use db_core::{Class, Classify, Error};
/// use db_loader::LoadError;
///
/// let lost = Error::ConnectionLost { reason: "reset".to_owned() };
/// let failed = LoadError::Failed(Arc::new(lost));
/// assert_eq!(failed.class(), Class::Unavailable);
/// assert_eq!(Error::from(failed).class(), Class::Unavailable);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LoadError {
    /// The batch function failed, for all of its keys or for this one.
    Failed(Arc<Error>),
    /// The batch function answered this key more than once.
    Ambiguous {
        /// The loader's name.
        loader: &'static str,
    },
    /// The load waits for itself: a batch function asked for a key whose batch cannot end before its own
    /// does.
    Cycle {
        /// The loaders on the way round, from the one whose batch function asked.
        path: Arc<str>,
    },
    /// The batch function panicked. The loader goes on with the next batch.
    Panicked {
        /// The loader's name.
        loader: &'static str,
    },
    /// The batch was not done within [`LoaderConfig::timeout`](crate::LoaderConfig::timeout).
    TimedOut {
        /// The loader's name.
        loader: &'static str,
        /// How long the batch had been running.
        waited: Duration,
    },
    /// The runtime on which the batch was to run was shut down.
    Ended {
        /// The loader's name.
        loader: &'static str,
    },
}

impl LoadError {
    /// What a batch function failed with. What another loader says of itself stays that, through however many
    /// loaders and caches.
    pub(crate) fn of_batch(error: Arc<Error>) -> Self {
        of_loader(&error).unwrap_or(LoadError::Failed(error))
    }
}

fn of_loader(error: &Error) -> Option<LoadError> {
    match error {
        Error::Client(error) => error.downcast_ref().cloned(),
        Error::Shared(error) => of_loader(error),
        _ => None,
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Failed(error) => write!(f, "{error}"),
            LoadError::Ambiguous { loader } => {
                write!(
                    f,
                    "loader {loader} got two answers for one key: group the rows where a key has several"
                )
            }
            LoadError::Cycle { path } => {
                write!(f, "a load waits for itself ({path}): load the inner keys after the batch, not in it")
            }
            LoadError::Panicked { loader } => {
                write!(f, "the batch function of loader {loader} panicked: the panic message says where")
            }
            LoadError::TimedOut { loader, waited } => {
                write!(
                    f,
                    "a batch of loader {loader} was not done within {waited:?}: raise timeout or lower max_batch"
                )
            }
            LoadError::Ended { loader } => {
                write!(f, "the runtime of loader {loader} was shut down: load before the shutdown")
            }
        }
    }
}

impl error::Error for LoadError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            LoadError::Failed(error) => error.source(),
            _ => None,
        }
    }
}

impl Classify for LoadError {
    fn class(&self) -> Class {
        match self {
            LoadError::Failed(error) => error.class(),
            LoadError::TimedOut { .. } => Class::Overloaded,
            LoadError::Ended { .. } => Class::Unavailable,
            LoadError::Ambiguous { .. } | LoadError::Cycle { .. } | LoadError::Panicked { .. } => {
                Class::Permanent
            }
        }
    }

    fn code(&self) -> Option<SqlState> {
        match self {
            LoadError::Failed(error) => error.code(),
            _ => None,
        }
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Failed(error) => Error::Shared(error),
            LoadError::TimedOut { waited, .. } => Error::DeadlineExceeded { waited },
            LoadError::Ended { .. } => Error::ConnectionLost { reason: error.to_string() },
            error => Error::Client(Box::new(error)),
        }
    }
}
