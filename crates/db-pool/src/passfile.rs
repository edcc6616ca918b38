//! The password that a `.pgpass` file has for a connection.
//!
//! Source: the PostgreSQL manual, "The Password File" in the libpq chapter. The file is read whenever a
//! connection is opened without another password, so that one that is written anew holds at once.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use db_core::{DatabaseUrl, Endpoint};

/// Where libpq's sockets are by default: the file says `localhost` for them.
const SOCKET_DIRECTORIES: [&str; 2] = ["/tmp", "/var/run/postgresql"];

/// The password for a connection to `endpoint`, from the URL's `passfile`, else from `.pgpass` in the home
/// directory.
///
/// A file that others can read is warned of and not used, as with libpq.
pub(crate) fn password(url: &DatabaseUrl, endpoint: &Endpoint) -> Option<String> {
    let named = url.param("passfile").map(PathBuf::from);
    let path = named.clone().or_else(|| Some(std::env::home_dir()?.join(".pgpass")))?;
    match read(&path) {
        Ok(text) => find(&text, endpoint, url.database(), url.user()),
        Err(Unusable::Missing) if named.is_none() => None,
        Err(why) => {
            tracing::warn!(path = %path.display(), "the password file is not used: {}", why.words());
            None
        }
    }
}

/// Why a file is not used.
#[derive(Debug)]
enum Unusable {
    Missing,
    NotAFile,
    Open(u32),
    Io(io::Error),
}

impl Unusable {
    fn words(&self) -> String {
        match self {
            Unusable::Missing => "there is none".to_owned(),
            Unusable::NotAFile => "it is not a plain file".to_owned(),
            Unusable::Open(mode) => format!("others can read it (mode {mode:04o}): make it 0600"),
            Unusable::Io(error) => error.to_string(),
        }
    }
}

fn read(path: &Path) -> Result<String, Unusable> {
    let about = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unusable::Missing),
        about => about.map_err(Unusable::Io)?,
    };
    if !about.is_file() {
        return Err(Unusable::NotAFile);
    }
    if about.mode() & 0o077 != 0 {
        return Err(Unusable::Open(about.mode() & 0o7777));
    }
    fs::read_to_string(path).map_err(Unusable::Io)
}

/// The password of the first line that fits.
fn find(text: &str, endpoint: &Endpoint, database: &str, user: &str) -> Option<String> {
    let default = SOCKET_DIRECTORIES.contains(&endpoint.host());
    let host = if default { "localhost" } else { endpoint.host() };
    let port = endpoint.port().to_string();
    let wanted = [host, &port, database, user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let fits = |(field, wanted): (&Field, &&str)| field.any || field.text == **wanted;
        (fields.len() == 5 && fields.iter().zip(&wanted).all(fits)).then(|| fields[4].text.clone())
    })
}

/// A field of a line; `any` where it is a bare `*`.
#[derive(Debug, Default)]
struct Field {
    text: String,
    any: bool,
}

/// The fields of a line: colons separate, and a backslash takes the next character as it is. The fifth goes
/// to the end.
fn fields(line: &str) -> Vec<Field> {
    let mut fields = vec![Field::default()];
    let (mut letters, mut bare) = (line.chars(), true);
    while let Some(letter) = letters.next() {
        let last = fields.len() == 5;
        let Some(field) = fields.last_mut() else { break };
        match letter {
            ':' if !last => {
                field.any = bare && field.text == "*";
                bare = true;
                fields.push(Field::default());
            }
            '\\' => {
                bare = false;
                field.text.extend(letters.next());
            }
            letter => field.text.push(letter),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FILE: &str = "# host:port:database:user:password\n\
        db:5432:app:ann:first\n\
        db:*:app:ann:second\n\
        *:*:*:bob:with\\:colon\\\\and:rest\n\
        short:5432:app:ann\n\
        localhost:5432:app:ann:by socket\n\
        \\*:5432:app:eve:a host named star\n\
        /run/pg:5432:*:eve:its own directory\n";

    #[test]
    fn the_first_line_that_fits_counts() {
        let check = |host: &str, port: u16, database: &str, user: &str, expected: Option<&str>| {
            let found = find(FILE, &Endpoint::new(host, port), database, user);
            assert_eq!(found.as_deref(), expected, "{host}:{port} {database} {user}");
        };
        check("db", 5432, "app", "ann", Some("first"));
        check("db", 6432, "app", "ann", Some("second"));
        check("db", 6432, "shop", "ann", None);
        check("anywhere", 1, "x", "bob", Some("with:colon\\and:rest"));
        check("short", 5432, "app", "ann", None);
        check("/tmp", 5432, "app", "ann", Some("by socket"));
        check("/run/pg", 5432, "app", "eve", Some("its own directory"));
        check("db", 5432, "app", "eve", None);
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass file");
        fs::write(&path, "*:*:*:*:hunter2\n").unwrap();
        let parameter = path.display().to_string().replace('/', "%2F").replace(' ', "%20");
        let url: DatabaseUrl = format!("postgres://ann@db/app?passfile={parameter}").parse().unwrap();
        let found = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            password(&url, &url.hosts()[0])
        };
        assert_eq!(found(0o600).as_deref(), Some("hunter2"));
        assert_eq!(found(0o640), None);
        assert_eq!(found(0o604), None);
        let words = read(&path).unwrap_err().words();
        assert_eq!(words, "others can read it (mode 0604): make it 0600");
        assert!(matches!(read(dir.path()), Err(Unusable::NotAFile)));
        assert!(matches!(read(&dir.path().join("none")), Err(Unusable::Missing)));
    }
}
