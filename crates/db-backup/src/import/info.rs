//! Reads the information files of pgBackRest: `backup.info`, `archive.info` and manifests.
//!
//! They are made of sections, keys, and values in JSON, one a line. A SHA-1 over all of them stands in the
//! section `backrest`. Each has a copy beside it (`….copy`), which is read where the file itself is damaged.

use std::io::Read;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use bytes::Bytes;
use serde_json::Value;

use super::cipher::{Decrypted, Passphrase, is_encrypted};
use super::error::ImportError;
use crate::chunk::hex;
use crate::store::Store;

/// The format that versions 1 and 2 of pgBackRest write.
const FORMAT: u64 = 5;
const SECTION: &str = "backrest";

/// The lines of an information file.
#[derive(Debug, Clone)]
pub(super) struct Info {
    /// Section, key and value, in their order.
    lines: Vec<(String, String, Value)>,
    /// What opens the files that this one describes.
    pub(super) passphrase: Option<Passphrase>,
    /// The version of pgBackRest that wrote it.
    pub(super) version: String,
}

/// An information file, and whether the copy had to be taken.
pub(super) struct Loaded {
    pub(super) info: Info,
    /// What is wrong with the file itself, where its copy was read.
    pub(super) damage: Option<String>,
}

impl Info {
    /// Reads the file at this path, or its copy; `None` where there is neither.
    pub(super) async fn load(
        store: &Store,
        path: &str,
        passphrase: Option<&Passphrase>,
    ) -> Result<Option<Loaded>, ImportError> {
        let mut first: Option<ImportError> = None;
        for at in [path.to_owned(), format!("{path}.copy")] {
            let Some(bytes) = store.get(&at).await? else { continue };
            match Info::parse(&at, &bytes, passphrase) {
                Ok(info) => return Ok(Some(Loaded { info, damage: first.map(|error| error.to_string()) })),
                // Whoever has no passphrase needs it for the copy too.
                Err(error @ ImportError::NoPassphrase { .. }) => return Err(error),
                Err(error) => first = Some(first.unwrap_or(error)),
            }
        }
        first.map_or(Ok(None), Err)
    }

    fn parse(path: &str, bytes: &Bytes, passphrase: Option<&Passphrase>) -> Result<Info, ImportError> {
        if !is_encrypted(bytes) {
            return Info::of_text(path, &String::from_utf8_lossy(bytes));
        }
        let Some(passphrase) = passphrase else {
            return Err(ImportError::NoPassphrase { path: path.to_owned() });
        };
        let mut text = String::new();
        let opened = Decrypted::new(&bytes[..], passphrase.clone(), false).read_to_string(&mut text);
        // Whether the passphrase is another one or the file was changed, nothing authenticated tells.
        if opened.is_err() || !text.starts_with('[') {
            return Err(ImportError::WrongPassphrase { path: path.to_owned() });
        }
        Info::of_text(path, &text)
    }

    /// Parses the text and holds it against its checksum.
    pub(super) fn of_text(path: &str, text: &str) -> Result<Info, ImportError> {
        let damaged = |what: &str| ImportError::damaged(path, what);
        let mut info = Info { lines: Vec::new(), passphrase: None, version: String::new() };
        let (mut section, mut hashed) = (String::new(), Hashed::new());
        let (mut expected, mut format) = (None, None);
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.to_owned();
                continue;
            }
            // A key may have `=` in it, and a value may too; only one place leaves JSON behind it.
            let (key, text, value) = split(line).ok_or_else(|| damaged("a line is no key with a value"))?;
            if section == SECTION && key == "backrest-checksum" {
                expected = value.as_str().map(str::to_owned);
                continue;
            }
            hashed.add(&section, key, text);
            match (section.as_str(), key) {
                (SECTION, "backrest-format") => format = value.as_u64(),
                (SECTION, "backrest-version") => info.version = value.as_str().unwrap_or_default().to_owned(),
                ("cipher", "cipher-pass") => info.passphrase = value.as_str().map(Passphrase::new),
                _ => info.lines.push((section.clone(), key.to_owned(), value)),
            }
        }
        match expected {
            Some(expected) if expected == hashed.finish() => {}
            Some(_) => return Err(damaged("its checksum does not match")),
            None => return Err(damaged("it is cut off: it has no checksum")),
        }
        if format != Some(FORMAT) {
            return Err(ImportError::unsupported(path, "its format is newer than pgBackRest 2.60 writes"));
        }
        Ok(info)
    }

    /// The keys and values of a section, in their order.
    pub(super) fn section<'a>(&'a self, section: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let of = self.lines.iter().filter(move |(name, _, _)| name == section);
        of.map(|(_, key, value)| (key.as_str(), value))
    }

    /// The value of a key.
    pub(super) fn value(&self, section: &str, key: &str) -> Option<&Value> {
        self.lines.iter().find(|(of, name, _)| of == section && name == key).map(|(_, _, value)| value)
    }

    /// The value of a key, where it is a text.
    pub(super) fn text(&self, section: &str, key: &str) -> Option<&str> {
        self.value(section, key).and_then(Value::as_str)
    }
}

/// Key, value as it is written, and value.
fn split(line: &str) -> Option<(&str, &str, Value)> {
    let places = line.match_indices('=').map(|(at, _)| at);
    places
        .filter(|at| *at > 0)
        .find_map(|at| Some((&line[..at], &line[at + 1..], serde_json::from_str(&line[at + 1..]).ok()?)))
}

/// The checksum, which is that of one JSON object whose members are the sections.
struct Hashed {
    context: Context,
    section: Option<String>,
}

impl Hashed {
    fn new() -> Self {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(b"{");
        Hashed { context, section: None }
    }

    fn add(&mut self, section: &str, key: &str, value: &str) {
        match &self.section {
            Some(last) if last == section => self.context.update(b","),
            last => {
                if last.is_some() {
                    self.context.update(b"},");
                }
                self.context.update(format!("\"{section}\":{{").as_bytes());
                self.section = Some(section.to_owned());
            }
        }
        self.context.update(Value::from(key).to_string().as_bytes());
        self.context.update(b":");
        self.context.update(value.as_bytes());
    }

    fn finish(mut self) -> String {
        self.context.update(b"}}");
        hex(self.context.finish().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What pgBackRest 2.45 wrote of a stanza without backups.
    const TEXT: &str = "[backrest]\n\
                        backrest-format=5\n\
                        backrest-version=\"2.45\"\n\
                        \n\
                        [db]\n\
                        db-id=1\n\
                        db-system-id=7713243231995880247\n\
                        db-version=\"15\"\n\
                        \n\
                        [db:history]\n\
                        1={\"db-id\":7713243231995880247,\"db-version\":\"15\"}\n\
                        \n\
                        [backrest]\n\
                        backrest-checksum=\"237416df40144537edf49278a199ce42c29d38f6\"\n";

    #[test]
    fn a_file_of_theirs_is_read_and_a_changed_one_refused() {
        let info = Info::of_text("archive.info", TEXT).unwrap();
        assert_eq!(info.value("db", "db-id"), Some(&Value::from(1)));
        let changed = TEXT.replace("\"15\"", "\"16\"");
        assert_ne!(changed, TEXT);
        for wrong in [changed.as_str(), &TEXT[..TEXT.len() / 2]] {
            assert!(matches!(Info::of_text("archive.info", wrong), Err(ImportError::Damaged { .. })));
        }
    }

    #[test]
    fn a_key_may_have_the_separator_in_it() {
        let (key, text, _) = split("pg_data/a=b={\"size\":1}").unwrap();
        assert_eq!((key, text), ("pg_data/a=b", "{\"size\":1}"));
    }
}
