//! The certificates and keys that a URL names, read from PEM files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use db_core::DatabaseUrl;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Which files a URL names, or else are in libpq's places.
pub(super) struct Files {
    /// The authorities; none is the system's.
    root: Option<String>,
    /// The client's certificate and its key.
    client: Option<(String, String)>,
}

/// Which versions of the files were read: when each was changed last, and how long it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<(SystemTime, u64, u64)>>);

/// Whom to trust.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) store: RootCertStore,
    /// Certificates that were given by name, and are trusted as they are.
    pub(super) given: Vec<CertificateDer<'static>>,
}

impl Files {
    /// The URL's files; where it names none, those in `home` below `.postgresql`, as far as they are there.
    pub(super) fn of(url: &DatabaseUrl, home: Option<&Path>) -> Self {
        let own = |name: &str| url.param(name).map(str::to_owned);
        let usual = |name: &str| usual(home, name);
        let client = own("sslcert").zip(own("sslkey"));
        // A certificate without its key is a mistake, and said to be one when the key is read.
        let client = client.or_else(|| Some((usual(CERTIFICATE)?, beside(home, KEY)?)));
        let root = own("sslrootcert").or_else(|| usual(ROOT));
        Files { root: root.filter(|root| root != "system"), client }
    }

    /// Whether authorities are named that are not the system's.
    pub(super) fn names_roots(&self) -> bool {
        self.root.is_some()
    }

    /// The files as they are now. The system's store is not looked at again.
    pub(super) fn stamps(&self) -> Stamps {
        let paths =
            self.root.iter().chain(self.client.iter().flat_map(|(certificate, key)| [certificate, key]));
        let stamp = |path: &String| {
            let about = fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len(), about.ino()))
        };
        Stamps(paths.map(stamp).collect())
    }

    /// Where the authorities come from, for messages.
    pub(super) fn roots_name(&self) -> &str {
        self.root.as_deref().unwrap_or("the system's store")
    }

    pub(super) fn roots(&self) -> Result<Roots, String> {
        let mut store = RootCertStore::empty();
        let Some(path) = &self.root else {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                return Err("the system has no trusted certificates: install ca-certificates, or name the authority's \
                            with sslrootcert"
                    .to_owned());
            }
            return Ok(Roots { store, given: Vec::new() });
        };
        let given = certificates("sslrootcert", path)?;
        for certificate in &given {
            store.add(certificate.clone()).map_err(|error| {
                format!("sslrootcert {path:?} holds a certificate that cannot be used: {error}")
            })?;
        }
        Ok(Roots { store, given })
    }

    pub(super) fn client(
        &self,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, String> {
        let Some((certificate, key)) = &self.client else { return Ok(None) };
        Ok(Some((certificates("sslcert", certificate)?, private_key(key)?)))
    }
}

const ROOT: &str = "root.crt";
const CERTIFICATE: &str = "postgresql.crt";
const KEY: &str = "postgresql.key";

fn beside(home: Option<&Path>, name: &str) -> Option<String> {
    Some(home?.join(".postgresql").join(name).to_str()?.to_owned())
}

/// libpq's place for a file, where it is there.
fn usual(home: Option<&Path>, name: &str) -> Option<String> {
    beside(home, name).filter(|path| Path::new(path).exists())
}

fn certificates(parameter: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => {
            Err(format!("{parameter} {path:?} holds no certificate: it must be a PEM file"))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{parameter} {path:?} cannot be read: {}", words(&error))),
    }
}

/// The key, unless others can read it too: as with libpq, the group may where root owns the file.
fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, String> {
    let about = fs::metadata(path).map_err(|error| format!("sslkey {path:?} cannot be read: {error}"))?;
    if !about.is_file() {
        return Err(format!("sslkey {path:?} is not a file"));
    }
    let forbidden = if about.uid() == 0 { 0o037 } else { 0o077 };
    if about.mode() & forbidden != 0 {
        return Err(format!(
            "sslkey {path:?} can be read by others (mode {:04o}): make it 0600, or 0640 where root owns it",
            about.mode() & 0o7777
        ));
    }
    match PrivateKeyDer::from_pem_file(path) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            Err(format!("sslkey {path:?} holds no private key that is not encrypted: it must be a PEM file"))
        }
        Err(error) => Err(format!("sslkey {path:?} cannot be read: {}", words(&error))),
    }
}

/// What went wrong, without the file's content.
fn words(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        _ => "it is no well-formed PEM file".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libpqs_places_count_where_the_url_names_no_file() {
        let home = tempfile::tempdir().unwrap();
        let of = |params: &str| {
            let url = format!("postgres://ann@db/app?{params}").parse().unwrap();
            let files = Files::of(&url, Some(home.path()));
            let name = |path: String| path.rsplit('/').next().unwrap().to_owned();
            (files.root.map(name), files.client.map(|(certificate, key)| (name(certificate), name(key))))
        };
        assert_eq!(of(""), (None, None));
        let place = home.path().join(".postgresql");
        fs::create_dir(&place).unwrap();
        for file in [ROOT, CERTIFICATE] {
            fs::write(place.join(file), "").unwrap();
        }
        let usual = Some((CERTIFICATE.to_owned(), KEY.to_owned()));
        assert_eq!(of(""), (Some(ROOT.to_owned()), usual.clone()));
        assert_eq!(of("sslrootcert=system"), (None, usual));
        let own = of("sslrootcert=%2Fca.pem&sslcert=%2Fme.pem&sslkey=%2Fme.key");
        assert_eq!(own.0.as_deref(), Some("ca.pem"));
        assert_eq!(own.1.unwrap(), ("me.pem".to_owned(), "me.key".to_owned()));
    }
}
