//! Retries what may be retried, and never what may not.
