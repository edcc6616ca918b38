//! What everything in an open repository needs: where it is, and its keys.

use crate::keys::KeyRing;
use crate::store::Store;

/// The inside of an open repository.
pub(crate) struct Inside {
    pub(crate) store: Store,
    pub(crate) ring: KeyRing,
    /// Whether it was opened by a writer's key, so that nothing may be read.
    pub(crate) writes_only: bool,
}
