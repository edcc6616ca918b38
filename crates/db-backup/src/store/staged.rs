//! What a put to a local store leaves behind when its process is killed: a file whose name ends with `#` and
//! a number, as `object_store` names it until it is whole.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// Removes those below a directory that were written last before `limit`; how many.
///
/// What cannot be looked at or removed stays: the next expiry tries again.
pub(super) fn remove_before(directory: &Path, limit: SystemTime) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            removed += remove_before(&path, limit);
        } else if entry.file_name().to_str().is_some_and(is_staged)
            && entry.metadata().and_then(|about| about.modified()).is_ok_and(|written| written < limit)
            && fs::remove_file(&path).is_ok()
        {
            removed += 1;
        }
    }
    removed
}

fn is_staged(name: &str) -> bool {
    let number = name.rsplit_once('#').map_or("", |(_, number)| number);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_cut_short_long_ago_goes() {
        let home = tempfile::tempdir().unwrap();
        let below = home.path().join("wal/00000001");
        fs::create_dir_all(&below).unwrap();
        for name in ["000000#1", "000000", "a#b"] {
            fs::write(below.join(name), "").unwrap();
        }
        assert_eq!(remove_before(home.path(), SystemTime::UNIX_EPOCH), 0);
        assert_eq!(remove_before(home.path(), SystemTime::now() + std::time::Duration::from_secs(60)), 1);
        assert!(below.join("000000").exists() && below.join("a#b").exists());
    }
}
