//! What a load depends on besides its key: a tenant, a role, a search path.

/// What a load depends on besides its key. It is part of the key, so that no scope sees another's entries.
///
/// ```
/// use db_cache::Scope;
///
/// let one = Scope::new().with("tenant", "4").with("role", "2");
/// assert_ne!(one, Scope::new().with("tenant", "42").with("role", ""));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scope(Vec<u8>);

impl Scope {
    /// The load depends on its key alone.
    pub const fn new() -> Self {
        Scope(Vec::new())
    }

    /// The same scope, where `name` is `value`. The order of names matters.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        for part in [name, value] {
            self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.0.extend_from_slice(part.as_bytes());
        }
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
