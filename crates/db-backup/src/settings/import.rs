//! Which repository of pgBackRest is imported: described by pgBackRest's own names, and read into
//! [`ImportSettings`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use db_core::settings::{FromSettings, Group, Reader, Text};

use super::{Provider, StoreSettings};
use crate::import::{ImportError, Passphrase, Source};
use crate::store::Store;

const PATH: Text = Text {
    name: "PGBACKREST_REPO1_PATH",
    aliases: &[],
    meaning: "The directory of the repository that is imported, on this host or in the bucket.",
    default: "`/var/lib/pgbackrest`",
};
const TYPE: Text = Text {
    name: "PGBACKREST_REPO1_TYPE",
    aliases: &[],
    meaning: "Where that repository is: `posix` (also `cifs`), or `s3`.",
    default: "`posix`",
};
const STANZA: Text = Text {
    name: "PGBACKREST_STANZA",
    aliases: &[],
    meaning: "The stanza that is imported.",
    default: "the only one",
};
const CIPHER_PASS: Text = Text {
    name: "PGBACKREST_REPO1_CIPHER_PASS",
    aliases: &[],
    meaning: "The passphrase of that repository, where it is encrypted.",
    default: "none",
};
const S3_BUCKET: Text = Text {
    name: "PGBACKREST_REPO1_S3_BUCKET",
    aliases: &[],
    meaning: "The bucket of that repository.",
    default: "none",
};
const S3_ENDPOINT: Text = Text {
    name: "PGBACKREST_REPO1_S3_ENDPOINT",
    aliases: &[],
    meaning: "The host of the store with that bucket, or its URL.",
    default: "the provider's",
};
const S3_REGION: Text = Text {
    name: "PGBACKREST_REPO1_S3_REGION",
    aliases: &[],
    meaning: "The region of that bucket.",
    default: "`AWS_REGION`",
};
const S3_KEY: Text = Text {
    name: "PGBACKREST_REPO1_S3_KEY",
    aliases: &[],
    meaning: "The access key of that bucket; the right to read suffices.",
    default: "`AWS_ACCESS_KEY_ID`, then the host's own",
};
const S3_KEY_SECRET: Text = Text {
    name: "PGBACKREST_REPO1_S3_KEY_SECRET",
    aliases: &[],
    meaning: "The secret of that access key.",
    default: "`AWS_SECRET_ACCESS_KEY`, then the host's own",
};

/// The section of a configuration file that is for all stanzas.
const GLOBAL: &str = "global";

const IMPORT: Group = Group {
    title: "What is imported from pgBackRest",
    settings: &[
        &PATH,
        &TYPE,
        &STANZA,
        &CIPHER_PASS,
        &S3_BUCKET,
        &S3_ENDPOINT,
        &S3_REGION,
        &S3_KEY,
        &S3_KEY_SECRET,
    ],
    elsewhere: &[],
};

/// Which repository of pgBackRest is imported. Its secrets do not show.
///
/// ```
/// use db_backup::{ImportSettings, StoreSettings};
///
/// let settings = ImportSettings { stanza: Some("main".to_owned()), ..ImportSettings::default() };
/// assert_eq!(settings.store.directory.to_str(), Some("/var/lib/pgbackrest"));
/// ```
#[derive(Debug, Clone)]
pub struct ImportSettings {
    /// Where it is.
    pub store: StoreSettings,
    /// The stanza; `None` takes the only one.
    pub stanza: Option<String>,
    /// What opens it.
    pub passphrase: Option<Passphrase>,
}

/// Where a repository of pgBackRest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind(Provider);

/// A text that names no kind of repository that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct UnknownKind;

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is no kind of repository that is read: posix, cifs and s3 are; copy another one to a directory first")
    }
}

impl std::str::FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        match text {
            "posix" | "cifs" => Ok(Kind(Provider::Local)),
            "s3" => Ok(Kind(Provider::S3)),
            _ => Err(UnknownKind),
        }
    }
}

impl Default for ImportSettings {
    fn default() -> Self {
        let store = StoreSettings {
            directory: PathBuf::from("/var/lib/pgbackrest"),
            prefix: "var/lib/pgbackrest".to_owned(),
            ..StoreSettings::default()
        };
        ImportSettings { store, stanza: None, passphrase: None }
    }
}

impl ImportSettings {
    /// The repository in this directory of this host.
    pub fn below(mut self, directory: impl Into<PathBuf>) -> Self {
        self.store.provider = Provider::Local;
        self.store.directory = directory.into();
        self
    }

    /// Opens it to be read. Nothing is made, also where there is nothing.
    ///
    /// # Errors
    /// [`ImportError`]; a setting is missing, or the store's kind was not compiled in.
    pub async fn open(&self) -> Result<Source, ImportError> {
        if self.store.provider == Provider::Local && !self.store.directory.is_dir() {
            return Err(ImportError::NoRepository { store: self.store.directory.display().to_string() });
        }
        Source::open(Store::open(&self.store)?, self.stanza.as_deref(), self.passphrase.as_ref()).await
    }
}

impl FromSettings for ImportSettings {
    const GROUPS: &'static [&'static Group] = &[&IMPORT];

    fn read(from: &mut Reader<'_>) -> Self {
        let mut settings = ImportSettings::default();
        let mut text = |setting: &Text| from.text(setting).map(|(_, text)| text);
        if let Some(path) = text(&PATH) {
            path.trim_matches('/').clone_into(&mut settings.store.prefix);
            settings.store.directory = PathBuf::from(path);
        }
        settings.stanza = text(&STANZA);
        settings.passphrase = text(&CIPHER_PASS).map(Passphrase::new);
        let bucket = text(&S3_BUCKET);
        let endpoint = text(&S3_ENDPOINT);
        let options = [
            ("aws_region", text(&S3_REGION)),
            ("aws_access_key_id", text(&S3_KEY)),
            ("aws_secret_access_key", text(&S3_KEY_SECRET)),
        ];
        settings.store.provider =
            from.parse::<Kind>(&TYPE).map_or(Provider::Local, |Kind(provider)| provider);
        if settings.store.provider == Provider::S3 {
            if bucket.is_none() {
                from.problem(S3_BUCKET.name, "is not set, and PGBACKREST_REPO1_TYPE needs it");
            }
            settings.store.bucket = bucket.unwrap_or_default();
            settings.store.endpoint = endpoint.map(with_scheme);
            let set = options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            settings.store.options = set.collect::<BTreeMap<_, _>>();
        }
        settings
    }
}

/// What a configuration file of pgBackRest says, by the names of these settings: of the repository with this
/// number, for this stanza or the file's only one. What else is in it is left out.
///
/// ```
/// let text = "[global]\nrepo1-path=/srv/backrest\nprocess-max=4\n[main]\npg1-path=/srv/postgresql\n";
/// let found = db_backup::import::of_config(text, None, 1);
/// let said = |name: &str, value: &str| (name.to_owned(), value.to_owned());
/// assert_eq!(found, [said("PGBACKREST_REPO1_PATH", "/srv/backrest"), said("PGBACKREST_STANZA", "main")]);
/// ```
pub fn of_config(text: &str, stanza: Option<&str>, repository: u32) -> Vec<(String, String)> {
    let (mut section, mut stanzas, mut lines) = (String::new(), BTreeSet::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
            // `[main:backup]` is for one command of the stanza.
            let of = name.split_once(':').map_or(name, |(of, _)| of);
            if of != GLOBAL {
                stanzas.insert(of.to_owned());
            }
        } else if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            lines.push((section.clone(), name.trim(), value.trim()));
        }
    }
    let only = stanzas.first().filter(|_| stanzas.len() == 1).map(String::as_str);
    let stanza = stanza.or(only);
    let said = |name: &str| {
        let of = |section: &str| {
            let found = lines.iter().rev().find(|(of, known, _)| of == section && *known == name);
            found.map(|(.., value)| (*value).to_owned())
        };
        stanza.and_then(of).or_else(|| of(GLOBAL))
    };
    let mut found: Vec<(String, String)> = IMPORT
        .names()
        .filter_map(|name| {
            let option = name.strip_prefix("PGBACKREST_REPO1_")?.to_ascii_lowercase().replace('_', "-");
            Some((name.to_owned(), said(&format!("repo{repository}-{option}"))?))
        })
        .collect();
    found.extend(stanza.map(|stanza| (STANZA.name.to_owned(), stanza.to_owned())));
    found
}

/// pgBackRest takes a host's name, and the store's client a URL.
fn with_scheme(endpoint: String) -> String {
    if endpoint.contains("://") { endpoint } else { format!("https://{endpoint}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ImportSettings, String> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut reader = Reader::of(&lookup);
        let read = ImportSettings::read(&mut reader);
        reader.finish().map(|_| read).map_err(|error| error.to_string())
    }

    #[test]
    fn the_names_are_those_of_pgbackrest() {
        let here =
            read(&[("PGBACKREST_REPO1_PATH", "/srv/backrest"), ("PGBACKREST_STANZA", "main")]).unwrap();
        assert_eq!((here.store.provider, here.stanza.as_deref()), (Provider::Local, Some("main")));
        assert_eq!(here.store.directory.to_str(), Some("/srv/backrest"));
        let there = read(&[
            ("PGBACKREST_REPO1_TYPE", "s3"),
            ("PGBACKREST_REPO1_PATH", "/srv/backrest"),
            ("PGBACKREST_REPO1_S3_BUCKET", "old"),
            ("PGBACKREST_REPO1_S3_ENDPOINT", "s3.eu-central-1.amazonaws.com"),
            ("PGBACKREST_REPO1_S3_KEY_SECRET", "hunter2"),
            ("PGBACKREST_REPO1_CIPHER_PASS", "swordfish"),
        ])
        .unwrap();
        assert_eq!((there.store.bucket.as_str(), there.store.prefix.as_str()), ("old", "srv/backrest"));
        assert_eq!(there.store.endpoint.as_deref(), Some("https://s3.eu-central-1.amazonaws.com"));
        let shown = format!("{there:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("swordfish"), "{shown}");
    }

    #[test]
    fn a_configuration_file_is_read_as_pgbackrest_does() {
        let text = "# of two servers\n[global]\nrepo1-path=/one\nrepo2-path = /two\nrepo2-type=s3\n\
                    repo2-s3-bucket=backups\nrepo2-s3-key-secret=hunter2\n\n[global:backup]\nrepo1-path=/wrong\n\
                    [main]\npg1-path=/srv\nrepo1-cipher-pass=sword=fish\n[main:restore]\nrepo1-path=/wrong\n\
                    [other]\nrepo1-path=/others\n#repo1-cipher-pass=old\n";
        let found = |stanza: Option<&str>, repository: u32| -> BTreeMap<String, String> {
            of_config(text, stanza, repository).into_iter().collect()
        };
        let main = found(Some("main"), 1);
        assert_eq!(main["PGBACKREST_REPO1_PATH"], "/one");
        assert_eq!(
            (&*main["PGBACKREST_REPO1_CIPHER_PASS"], &*main["PGBACKREST_STANZA"]),
            ("sword=fish", "main")
        );
        let other = found(Some("other"), 1);
        assert_eq!(other["PGBACKREST_REPO1_PATH"], "/others");
        assert!(!other.contains_key("PGBACKREST_REPO1_CIPHER_PASS"));
        let second = found(Some("main"), 2);
        assert_eq!(
            (&*second["PGBACKREST_REPO1_PATH"], &*second["PGBACKREST_REPO1_S3_BUCKET"]),
            ("/two", "backups")
        );
        assert_eq!(second["PGBACKREST_REPO1_S3_KEY_SECRET"], "hunter2");
        // Of two stanzas none is taken for the one that is meant.
        assert!(!found(None, 1).contains_key("PGBACKREST_STANZA"));
    }

    #[test]
    fn another_kind_and_a_missing_bucket_are_told() {
        assert!(read(&[("PGBACKREST_REPO1_TYPE", "sftp")]).unwrap_err().contains("copy another one"));
        assert!(read(&[("PGBACKREST_REPO1_TYPE", "s3")]).unwrap_err().contains("PGBACKREST_REPO1_S3_BUCKET"));
    }
}
