//! What a URL leaves out, as libpq fills it in: from the section of a service file, then from the `PG…`
//! variables.
//!
//! Source: the PostgreSQL manual, "Environment Variables" and "The Connection Service File" in the libpq
//! chapter. The password file is read when a connection is opened, by db-pool.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::{Describe, Foreign, Group, Reader, Text};
use crate::DatabaseUrl;

macro_rules! libpq {
    ($($name:ident $param:literal)*) => {
        $(const $name: Text = Text {
            name: stringify!($name),
            aliases: &[],
            meaning: concat!("The `", $param, "` of URLs that do not say it."),
            default: "none",
        };)*
        /// Each parameter, and its variable.
        const VARIABLES: &[(&str, &Text)] = &[$(($param, &$name)),*];
        const SETTINGS: &[&dyn Describe] = &[$(&$name,)* &PGSERVICE, &PGSERVICEFILE];
    };
}

libpq! {
    PGHOST "host"
    PGHOSTADDR "hostaddr"
    PGPORT "port"
    PGUSER "user"
    PGPASSWORD "password"
    PGDATABASE "dbname"
    PGPASSFILE "passfile"
    PGOPTIONS "options"
    PGAPPNAME "application_name"
    PGSSLMODE "sslmode"
    PGSSLROOTCERT "sslrootcert"
    PGSSLCERT "sslcert"
    PGSSLKEY "sslkey"
    PGSSLSNI "sslsni"
    PGSSLNEGOTIATION "sslnegotiation"
    PGCHANNELBINDING "channel_binding"
    PGGSSENCMODE "gssencmode"
    PGCLIENTENCODING "client_encoding"
    PGCONNECT_TIMEOUT "connect_timeout"
    PGLOADBALANCEHOSTS "load_balance_hosts"
}

const PGSERVICE: Text = Text {
    name: "PGSERVICE",
    aliases: &[],
    meaning: "The section of the service file that says what URLs leave out; it wins over the variables \
              here.",
    default: "none",
};
const PGSERVICEFILE: Text = Text {
    name: "PGSERVICEFILE",
    aliases: &[],
    meaning: "The service file.",
    default: "`.pg_service.conf` in the home directory, else `pg_service.conf` in the directory \
              `PGSYSCONFDIR`",
};
const PGSYSCONFDIR: &str = "PGSYSCONFDIR";

const IN_URL: &str = "write it into the URL, if it is taken there";

pub(super) const LIBPQ: Group = Group {
    title: "What URLs leave out, as psql fills it in",
    settings: SETTINGS,
    elsewhere: &[
        Foreign::new("PGTARGETSESSIONATTRS", "which server takes writes is found out"),
        Foreign::new("PGTZ", "write options=-cTimeZone%3D and the zone into the URL, or set PGOPTIONS"),
        Foreign::new("PGDATESTYLE", "set PGOPTIONS='-c DateStyle=…'"),
        Foreign::new("PGREQUIREAUTH", IN_URL),
        Foreign::new("PGREQUIREPEER", IN_URL),
        Foreign::new("PGREQUIRESSL", "set PGSSLMODE=require"),
        Foreign::new("PGSSLCERTMODE", IN_URL),
        Foreign::new("PGSSLCRL", "revocation lists are not read; use certificates that live short"),
        Foreign::new("PGSSLCRLDIR", "revocation lists are not read; use certificates that live short"),
        Foreign::new("PGSSLMINPROTOCOLVERSION", "TLS 1.2 is the least; for more, set it on the server"),
        Foreign::new("PGSSLMAXPROTOCOLVERSION", "set it on the server"),
        Foreign::new("PGKRBSRVNAME", "GSSAPI is not supported"),
        Foreign::new("PGGSSLIB", "GSSAPI is not supported"),
    ],
};

/// What holds where a URL says nothing, by the parameter's name.
pub(super) struct Unsaid {
    params: BTreeMap<String, String>,
}

impl Unsaid {
    pub(super) fn read(from: &mut Reader<'_>) -> Self {
        let mut params = service(from);
        for (param, variable) in VARIABLES {
            let Some((name, value)) = from.text(variable) else { continue };
            match DatabaseUrl::check_param(param, &value) {
                Ok(()) => drop(params.entry((*param).to_owned()).or_insert(value)),
                Err(error) => from.problem(name, error.to_string()),
            }
        }
        Unsaid { params }
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.params.get(name).cloned()
    }

    /// Whether it says where a server is.
    pub(super) fn says_where(&self) -> bool {
        self.params.contains_key("host") || self.params.contains_key("hostaddr")
    }
}

/// What the section of the service file says.
fn service(from: &mut Reader<'_>) -> BTreeMap<String, String> {
    let file = from.text(&PGSERVICEFILE).map(|(_, path)| PathBuf::from(path));
    let Some((name, section)) = from.text(&PGSERVICE) else { return BTreeMap::new() };
    let home = std::env::home_dir().map(|home| home.join(".pg_service.conf"));
    let system = std::env::var_os(PGSYSCONFDIR).map(|dir| PathBuf::from(dir).join("pg_service.conf"));
    let paths = match file {
        Some(path) => vec![path],
        None => home.into_iter().chain(system).collect(),
    };
    for path in paths {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                from.problem(name, format!("{} cannot be read: {error}", path.display()));
                return BTreeMap::new();
            }
        };
        let Some(lines) = lines_of(&text, &section) else { continue };
        return params(from, lines, name);
    }
    from.problem(name, format!("no service file has a section [{section}]: see PGSERVICEFILE"));
    BTreeMap::new()
}

/// The lines of a section.
fn lines_of<'t>(text: &'t str, section: &str) -> Option<Vec<&'t str>> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.find(|line| line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) == Some(section))?;
    Some(lines.take_while(|line| !line.starts_with('[')).collect())
}

fn params(from: &mut Reader<'_>, lines: Vec<&str>, name: &str) -> BTreeMap<String, String> {
    let mut params = BTreeMap::new();
    for (index, line) in lines.into_iter().enumerate() {
        let Some((param, value)) = line.split_once('=').map(|(param, value)| (param.trim(), value.trim()))
        else {
            from.problem(name, format!("line {} of its section is not name=value", index + 1));
            continue;
        };
        match DatabaseUrl::read_param(param, value) {
            Ok(()) => drop(params.insert(param.to_owned(), value.to_owned())),
            Err(error) => from.problem(name, format!("line {} of its section: {error}", index + 1)),
        }
    }
    params
}
