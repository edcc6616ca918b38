//! The settings of a server: a map of postgresql.conf values, with presets.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What goes into a server's postgresql.conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    values: BTreeMap<String, String>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self::fast()
    }
}

impl ServerSettings {
    /// For tests and demonstrations: a crash of the machine may lose data, a crash of the server does not.
    pub fn fast() -> Self {
        let settings = ServerSettings { values: BTreeMap::new() };
        settings
            // DROP DATABASE waits for every backend, also for those whose client stalls while it logs in.
            .with("authentication_timeout", "3s")
            .with("autovacuum", "on")
            .with("checkpoint_timeout", "30min")
            // Segments in the data directory go away with it; posix ones would outlive a killed server.
            .with("dynamic_shared_memory_type", "mmap")
            .with("fsync", "off")
            .with("full_page_writes", "off")
            .with("hot_standby", "on")
            .with("lc_messages", "C")
            .with("listen_addresses", "127.0.0.1")
            .with("log_line_prefix", "%m [%p] %q%a ")
            .with("log_timezone", "UTC")
            .with("logging_collector", "off")
            .with("max_connections", "200")
            .with("max_replication_slots", "20")
            .with("max_wal_senders", "20")
            .with("max_wal_size", "2GB")
            .with("shared_buffers", "64MB")
            .with("timezone", "UTC")
            .with("wal_keep_size", "256MB")
            .with("wal_level", "replica")
            // pg_rewind needs either this or data checksums.
            .with("wal_log_hints", "on")
            // A standby finds its primary again at once, and not up to five seconds later.
            .with("wal_retrieve_retry_interval", "100ms")
    }

    /// For measurements that must count the disk: as in production, every commit is flushed.
    pub fn durable() -> Self {
        Self::fast().with("fsync", "on").with("full_page_writes", "on")
    }

    /// The same with logical decoding possible.
    #[must_use]
    pub fn logical(self) -> Self {
        self.with("wal_level", "logical")
    }

    /// The same with one value set; the last one said wins.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// One value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The text of a postgresql.conf.
    pub fn render(&self) -> String {
        let mut text = String::from("# Written by db-server before every start: edits are lost.\n");
        for (name, value) in &self.values {
            let value = value.replace('\\', "\\\\").replace('\'', "''");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} = '{value}'");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_the_last_one_wins() {
        let settings = ServerSettings::fast().with("fsync", "on").with("cluster_name", r"it's a \ name");
        let text = settings.render();
        assert!(text.contains("\nfsync = 'on'\n"), "{text}");
        assert!(text.contains(r"cluster_name = 'it''s a \\ name'"), "{text}");
    }
}
