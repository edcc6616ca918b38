//! Who did what to which backup, written into the repository.

use std::io::Read;

use db_platform::backup::{AuditAction, AuditEntry, BackupId, Cluster};

/// Writes an entry. That it could not be written undoes nothing, so it is warned of.
pub(crate) async fn record(
    cluster: &Cluster,
    action: AuditAction,
    backup: Option<&BackupId>,
    details: &[(&str, String)],
) {
    let mut entry = AuditEntry::new(who(), action).of_backup(backup.cloned());
    for (name, value) in details {
        entry = entry.saying(*name, value);
    }
    write(cluster, &entry).await;
}

/// Writes an entry that is made already.
pub(crate) async fn write(cluster: &Cluster, entry: &AuditEntry) {
    if let Err(error) = cluster.record(entry).await {
        tracing::warn!("the audit log has no entry of this: {error}");
    }
}

/// The operating system's user, and the host.
pub(crate) fn who() -> String {
    format!("{}@{}", user(), host())
}

fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::geteuid().as_raw()))
}

/// This host's name.
pub(crate) fn host() -> String {
    let mut name = String::new();
    let read =
        std::fs::File::open("/proc/sys/kernel/hostname").and_then(|mut file| file.read_to_string(&mut name));
    let name = name.trim();
    if read.is_err() || name.is_empty() { "this host".to_owned() } else { name.to_owned() }
}
