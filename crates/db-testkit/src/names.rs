//! What the kit's databases are called, and which locks stand for what.
//!
//! A name tells who may drop the database: one with a run's id, whoever can take that run's lock (its process
//! is gone); a template, whoever can take the template's lock alone (nobody uses it).

use sha2::{Digest, Sha256};

/// What every database of the kit begins with.
pub(crate) const PREFIX: &str = "testkit_";

/// One process that uses the kit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Run(u64);

impl Run {
    pub(crate) fn random() -> Self {
        // 48 bits, written with twelve digits.
        Self(rand::random::<u64>() >> 16)
    }

    pub(crate) fn database(self, number: u64) -> String {
        format!("{PREFIX}r{:012x}_{number}", self.0)
    }

    /// The run that a database belongs to.
    pub(crate) fn of(database: &str) -> Option<Self> {
        let digits = database.strip_prefix(PREFIX)?.strip_prefix('r')?.get(..12)?;
        u64::from_str_radix(digits, 16).ok().map(Self)
    }

    /// Held as long as the process lives.
    pub(crate) fn lock(self) -> i64 {
        key(&format!("run {:012x}", self.0))
    }
}

/// A template: the server's major version and the content that the caller names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Template(String);

impl Template {
    pub(crate) fn new(server_version: u32, content_hash: &str) -> Self {
        let digest = Sha256::digest(content_hash.as_bytes());
        let digits: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{PREFIX}t{}_{digits}", server_version / 10_000))
    }

    /// The template that a database is.
    pub(crate) fn of(database: &str) -> Option<Self> {
        database.strip_prefix(PREFIX)?.starts_with('t').then(|| Self(database.to_owned()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Held by the one process that makes it.
    pub(crate) fn making(&self) -> i64 {
        key(&format!("making {}", self.0))
    }

    /// Shared by the processes that clone it.
    pub(crate) fn using(&self) -> i64 {
        key(&format!("using {}", self.0))
    }
}

fn key(text: &str) -> i64 {
    let digest = Sha256::digest(format!("db-testkit {text}").as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Run, Template};

    #[test]
    fn names_tell_whose_they_are() {
        let run = Run::random();
        assert_eq!(Run::of(&run.database(7)), Some(run));
        let template = Template::new(150_004, "abc");
        assert_eq!(Template::of(template.name()).as_ref(), Some(&template));
        assert!(template.name().starts_with("testkit_t15_") && template.name().len() < 63);
        assert_eq!((Run::of(template.name()), Template::of(&run.database(7))), (None, None));
        assert_eq!((Run::of("app"), Run::of("testkit_rß"), Template::of("postgres")), (None, None, None));
    }

    #[test]
    fn different_content_has_a_different_template() {
        assert_ne!(Template::new(150_004, "a"), Template::new(150_004, "b"));
        assert_ne!(Template::new(150_004, "a"), Template::new(160_000, "a"));
        assert_eq!(Template::new(150_004, "a"), Template::new(150_009, "a"));
    }
}
