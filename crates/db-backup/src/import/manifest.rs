//! The manifest of a backup of pgBackRest's: its files, and where the bytes of each are.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::cipher::Passphrase;
use super::codec::Codec;
use super::error::ImportError;
use super::info::Info;
use crate::manifest::{BadPage, Root, Tablespace};

/// Sizes of blocks are written in this unit.
const BLOCK_UNIT: u64 = 8192;
/// How many bytes of each block's checksum are kept where nothing else is said.
const BLOCK_CHECKSUM_BYTES: usize = 6;
/// The most pages that are told of one file, as when a backup is taken.
const TOLD_OF_A_FILE: usize = 64;

/// What a backup holds.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    pub(super) files: Vec<Entry>,
    pub(super) directories: Vec<Directory>,
    pub(super) tablespaces: Vec<Tablespace>,
    /// Links that lead out of the data directory and are no tablespaces: name and destination.
    pub(super) links: Vec<(String, String)>,
    pub(super) databases: Vec<String>,
    pub(super) bad_pages: Vec<BadPage>,
    pub(super) codec: Codec,
    /// What opens its files.
    pub(super) passphrase: Option<Passphrase>,
    /// Whether files in bundles have the raw form.
    pub(super) raw_bundles: bool,
    /// Whether some files are stored as blocks.
    pub(super) blocks: bool,
    /// Whether the cluster has page checksums.
    pub(super) page_checksums: bool,
    /// Whether the log that makes it consistent lies in the backup.
    pub(super) holds_log: bool,
    /// The backups to which blocks refer by number.
    pub(super) references: Vec<String>,
    /// Text that the operator attached.
    pub(super) annotation: Option<Value>,
}

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its name as in the manifest.
    pub(super) name: String,
    pub(super) root: Root,
    /// Its path below the root.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Its SHA-1, in hexadecimal digits; `None` for an empty file.
    pub(super) sha1: Option<String>,
    pub(super) mode: u32,
    pub(super) modified: DateTime<Utc>,
    /// The backup that has its bytes.
    pub(super) holder: String,
    /// How many bytes it takes in the repository.
    pub(super) stored_bytes: u64,
    /// The bundle that it is in, and where.
    pub(super) bundle: Option<(u64, u64)>,
    pub(super) blocks: Option<Blocks>,
}

/// How a file is cut into blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    pub(super) block_bytes: u64,
    pub(super) checksum_bytes: usize,
    pub(super) map_bytes: u64,
}

/// A directory.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) root: Root,
    pub(super) path: String,
    pub(super) mode: u32,
}

impl Listing {
    pub(super) fn of(path: &str, info: &Info) -> Result<Listing, ImportError> {
        let damaged = |what: String| ImportError::damaged(path, what);
        let label =
            info.text("backup", "backup-label").ok_or_else(|| damaged("it names no backup".to_owned()))?;
        let flag =
            |section: &str, key: &str| info.value(section, key).and_then(Value::as_bool).unwrap_or(false);
        let named = info.text("backup:option", "option-compress-type").unwrap_or("none");
        let codec = Codec::named(named).ok_or_else(|| {
            ImportError::unsupported(
                path,
                format!("it is compressed by {named}: none, gz, lz4, zst and bz2 are read"),
            )
        })?;
        let modes = Modes::of(info);
        let mut listing = Listing {
            files: Vec::new(),
            directories: Vec::new(),
            tablespaces: tablespaces(info),
            links: Vec::new(),
            databases: databases(info),
            bad_pages: Vec::new(),
            codec,
            passphrase: info.passphrase.clone(),
            raw_bundles: flag("backup", "backup-bundle-raw"),
            blocks: flag("backup", "backup-block-incr"),
            page_checksums: flag("backup:option", "option-checksum-page"),
            holds_log: flag("backup:option", "option-archive-copy"),
            references: references(info, label),
            annotation: info.value("metadata", "annotation").cloned(),
        };
        for (name, value) in info.section("target:file") {
            let entry = entry(name, value, label, modes.file)
                .ok_or_else(|| damaged(format!("it describes {name:?} in another form")))?;
            if is_left_out(&entry) {
                continue;
            }
            listing.bad_pages.extend(bad_pages(&entry, value));
            listing.files.push(entry);
        }
        for (name, value) in info.section("target:path") {
            let Some((root, path)) = place(name).filter(|(_, path)| !path.is_empty()) else { continue };
            let mode = mode(value).unwrap_or(modes.directory);
            listing.directories.push(Directory { root, path, mode });
        }
        for (name, value) in info.section("target:link") {
            let to = value.get("destination").and_then(Value::as_str).unwrap_or_default();
            match place(name) {
                Some((Root::Data, path)) if !path.starts_with("pg_tblspc/") => {
                    listing.links.push((path, to.to_owned()));
                }
                _ => {}
            }
        }
        Ok(listing)
    }
}

struct Modes {
    file: u32,
    directory: u32,
}

impl Modes {
    fn of(info: &Info) -> Modes {
        let of = |section| info.text(section, "mode").and_then(octal);
        Modes {
            file: of("target:file:default").unwrap_or(0o600),
            directory: of("target:path:default").unwrap_or(0o700),
        }
    }
}

/// Without it the restored server would make the links of tablespaces anew, to where they were.
fn is_left_out(entry: &Entry) -> bool {
    entry.root == Root::Data && entry.path == "tablespace_map"
}

fn entry(name: &str, value: &Value, label: &str, default_mode: u32) -> Option<Entry> {
    let number = |key: &str| value.get(key).and_then(Value::as_u64);
    let (root, path) = place(name).filter(|(_, path)| !path.is_empty())?;
    let bytes = number("size")?;
    let sha1 = value.get("checksum").and_then(Value::as_str).map(str::to_owned);
    if bytes > 0 && sha1.is_none() {
        return None;
    }
    let blocks = number("bim").filter(|bytes| *bytes > 0).zip(number("bi"));
    let blocks = blocks.map(|(map_bytes, unit)| Blocks {
        block_bytes: unit.saturating_mul(BLOCK_UNIT),
        checksum_bytes: number("bic")
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(BLOCK_CHECKSUM_BYTES),
        map_bytes,
    });
    Some(Entry {
        name: name.to_owned(),
        root,
        path,
        bytes,
        sha1,
        mode: mode(value).unwrap_or(default_mode),
        modified: DateTime::from_timestamp(value.get("timestamp")?.as_i64()?, 0)?,
        holder: value.get("reference").and_then(Value::as_str).unwrap_or(label).to_owned(),
        stored_bytes: number("repo-size").unwrap_or(bytes),
        bundle: number("bni").map(|bundle| (bundle, number("bno").unwrap_or(0))),
        blocks,
    })
}

/// Where a name in the manifest belongs: `pg_data/…`, or `pg_tblspc/OID/…`.
fn place(name: &str) -> Option<(Root, String)> {
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    if let Some(rest) = name.strip_prefix("pg_data") {
        return (rest.is_empty() || rest.starts_with('/'))
            .then(|| (Root::Data, rest.trim_start_matches('/').to_owned()));
    }
    let rest = name.strip_prefix("pg_tblspc/")?;
    let (oid, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some((Root::Tablespace(oid.parse().ok()?), path.to_owned()))
}

fn tablespaces(info: &Info) -> Vec<Tablespace> {
    let of = info.section("backup:target").filter_map(|(_, value)| {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        Some(Tablespace {
            oid: text("tablespace-id")?.parse().ok()?,
            name: text("tablespace-name").map(str::to_owned),
            location: text("path")?.to_owned(),
        })
    });
    of.collect()
}

fn databases(info: &Info) -> Vec<String> {
    let names = info.section("db").map(|(name, _)| name);
    names.filter(|name| !name.starts_with("template")).map(str::to_owned).collect()
}

/// Manifests of full backups may name none: then it is the backup itself.
fn references(info: &Info, label: &str) -> Vec<String> {
    let named = info.text("backup", "backup-reference").filter(|named| !named.is_empty());
    named.map_or_else(|| vec![label.to_owned()], |named| named.split(',').map(str::to_owned).collect())
}

fn bad_pages(entry: &Entry, value: &Value) -> Vec<BadPage> {
    if value.get("checksum-page").and_then(Value::as_bool) != Some(false) {
        return Vec::new();
    }
    let path = match entry.root {
        Root::Tablespace(oid) => format!("pg_tblspc/{oid}/{}", entry.path),
        _ => entry.path.clone(),
    };
    let told = value.get("checksum-page-error").and_then(Value::as_array);
    let blocks: Vec<u64> = told.into_iter().flatten().flat_map(range).take(TOLD_OF_A_FILE).collect();
    let blocks = if blocks.is_empty() { vec![0] } else { blocks };
    blocks.into_iter().map(|block| BadPage { path: path.clone(), block }).collect()
}

/// A page, or the first and the last one of several.
fn range(value: &Value) -> std::ops::RangeInclusive<u64> {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64);
    match value.as_array() {
        Some(pair) => {
            let first = number(pair.first()).unwrap_or(0);
            first..=number(pair.get(1)).unwrap_or(first)
        }
        None => {
            let only = value.as_u64().unwrap_or(0);
            only..=only
        }
    }
}

fn mode(value: &Value) -> Option<u32> {
    value.get("mode").and_then(Value::as_str).and_then(octal)
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().map(|mode| mode & 0o7777)
}

/// Entries by where they lie, so that those of one bundle are read in one go.
pub(super) fn in_reading_order(files: &mut [Entry]) {
    files.sort_by(|one, other| {
        let key = |entry: &Entry| (entry.holder.clone(), entry.bundle.is_none(), entry.bundle);
        key(one).cmp(&key(other)).then_with(|| one.name.cmp(&other.name))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_a_file_goes() {
        assert_eq!(place("pg_data/base/5/1"), Some((Root::Data, "base/5/1".to_owned())));
        assert_eq!(
            place("pg_tblspc/16384/PG_15/5/1"),
            Some((Root::Tablespace(16_384), "PG_15/5/1".to_owned()))
        );
        assert_eq!(place("pg_tblspc/16384"), Some((Root::Tablespace(16_384), String::new())));
        assert_eq!(place("pg_data"), Some((Root::Data, String::new())));
        for other in
            ["pg_database", "pg_tblspc", "elsewhere/x", "pg_tblspc/x/1", "pg_data/../x", "pg_data//x"]
        {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[test]
    fn pages_come_alone_and_in_ranges() {
        let value = serde_json::json!({"checksum-page": false, "checksum-page-error": [1, [3, 5]]});
        let mut entry = entry(
            "pg_data/base/5/1",
            &serde_json::json!({"size": 8192, "checksum": "ab", "timestamp": 1}),
            "20261128-152308F",
            0o600,
        )
        .unwrap();
        let blocks =
            |entry: &Entry| bad_pages(entry, &value).iter().map(|page| page.block).collect::<Vec<_>>();
        assert_eq!(blocks(&entry), [1, 3, 4, 5]);
        entry.root = Root::Tablespace(7);
        assert_eq!(bad_pages(&entry, &value)[0].path, "pg_tblspc/7/base/5/1");
    }
}
