//! Where the program runs and where its database is: described and read.

use super::libpq::{LIBPQ, Unsaid};
use super::{Foreign, FromSettings, Group, Problem, Reader, Text};
use crate::url::Said;
use crate::{DatabaseUrl, Environment};

const APP_ENV: Text = Text {
    name: "APP_ENV",
    aliases: &[],
    meaning: "Where the program runs: `development`, `test`, `staging` or `production`. It chooses the \
              defaults below; production refuses seeds and resets. Where it is not set, `dbctl` asks a \
              person at a terminal before it destroys data or loads seeds, and refuses elsewhere.",
    default: "the defaults of development",
};
const DATABASE_URL: Text = Text {
    name: "DATABASE_URL",
    aliases: &[],
    meaning: "The primary, as `postgres://user:password@host:5432/database`. Several hosts, separated by \
              commas, are tried in order until one is a primary. Where it is not set, it is made of \
              `POSTGRES_HOST`, `POSTGRES_PORT`, `POSTGRES_USER`, `POSTGRES_PASSWORD` and `POSTGRES_DB`; \
              where it is, these are not read, and a warning says where they differ.",
    default: "none: it must be set, or `POSTGRES_HOST`, or `DATABASE_NODES`",
};
const POSTGRES_HOST: Text = Text {
    name: "POSTGRES_HOST",
    aliases: &["DB_HOST"],
    meaning: "The primary's host, read only where `DATABASE_URL` is not set.",
    default: "none",
};
const POSTGRES_PORT: Text = Text {
    name: "POSTGRES_PORT",
    aliases: &["DB_PORT"],
    meaning: "The port beside `POSTGRES_HOST`.",
    default: "5432",
};
const POSTGRES_USER: Text = Text {
    name: "POSTGRES_USER",
    aliases: &["DB_USER"],
    meaning: "The user beside `POSTGRES_HOST`.",
    default: "postgres",
};
const POSTGRES_PASSWORD: Text = Text {
    name: "POSTGRES_PASSWORD",
    aliases: &["DB_PASSWORD"],
    meaning: "The password beside `POSTGRES_HOST`.",
    default: "none",
};
const POSTGRES_DB: Text = Text {
    name: "POSTGRES_DB",
    aliases: &["DB_NAME"],
    meaning: "The database beside `POSTGRES_HOST`.",
    default: "the user's name",
};
const DATABASE_DIRECT_URL: Text = Text {
    name: "DATABASE_DIRECT_URL",
    aliases: &[],
    meaning: "The primary past any pooler, for migrations, locks, replication and collectors.",
    default: "`DATABASE_URL`",
};
const DATABASE_READ_URLS: Text = Text {
    name: "DATABASE_READ_URLS",
    aliases: &["DATABASE_READ_REPLICA_URL", "DB_READ_REPLICA_URL"],
    meaning: "The standbys that answer reads, separated by commas.",
    default: "none: the primary answers reads",
};
const DATABASE_NODES: Text = Text {
    name: "DATABASE_NODES",
    aliases: &[],
    meaning: "All servers of a cluster, separated by commas, whichever of them is the primary now. The first \
              URL stands in for `DATABASE_URL` where that is not set: give one URL with several hosts where \
              they log in alike.",
    default: "none",
};

const LEDGER_SCHEMA: Text = Text {
    name: "DB_LEDGER_SCHEMA",
    aliases: &[],
    meaning: "The schema of the tables that say which migrations are applied and which seeds are loaded. \
              Name it where several schemas of a database have such tables of their own, as with a schema \
              for each tenant.",
    default: "the schema that has them; `public` for new ones",
};

const LEDGER: Group =
    Group { title: "Where migrations and seeds are recorded", settings: &[&LEDGER_SCHEMA], elsewhere: &[] };

const ENVIRONMENT: Group = Group {
    title: "Where the program runs",
    settings: &[&APP_ENV],
    elsewhere: &[
        Foreign::new("NODE_ENV", "set `APP_ENV`").unless("APP_ENV"),
        Foreign::new("RAILS_ENV", "set `APP_ENV`").unless("APP_ENV"),
        Foreign::new("RUST_ENV", "set `APP_ENV`").unless("APP_ENV"),
    ],
};

const DATABASE: Group = Group {
    title: "Where the database is",
    settings: &[
        &DATABASE_URL,
        &POSTGRES_HOST,
        &POSTGRES_PORT,
        &POSTGRES_USER,
        &POSTGRES_PASSWORD,
        &POSTGRES_DB,
        &DATABASE_DIRECT_URL,
        &DATABASE_READ_URLS,
        &DATABASE_NODES,
    ],
    elsewhere: &[
        Foreign::new("DB_USERNAME", "write `POSTGRES_USER` or `DB_USER`"),
        Foreign::new("POSTGRES_USERNAME", "write `POSTGRES_USER`"),
        Foreign::new("DB_PASS", "write `POSTGRES_PASSWORD` or `DB_PASSWORD`"),
        Foreign::new("DB_DATABASE", "write `POSTGRES_DB` or `DB_NAME`"),
        Foreign::new("POSTGRES_DATABASE", "write `POSTGRES_DB`"),
    ],
};

/// Where the servers are, and how to log in to each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrls {
    /// The primary; with several hosts, the first that is a primary.
    pub primary: DatabaseUrl,
    /// The primary past any pooler.
    pub direct: DatabaseUrl,
    /// The standbys that answer reads.
    pub standbys: Vec<DatabaseUrl>,
    /// Servers of which any may be the primary, beside `primary`.
    pub nodes: Vec<DatabaseUrl>,
}

impl DatabaseUrls {
    /// Which server has which role is found out, so that a `target_session_attrs` can only agree with what
    /// its URL is for; these do not.
    pub fn impossible_roles(&self) -> Vec<Problem> {
        let for_writes = [
            (DATABASE_URL.name, std::slice::from_ref(&self.primary)),
            (DATABASE_DIRECT_URL.name, std::slice::from_ref(&self.direct)),
            (DATABASE_NODES.name, &self.nodes[..]),
        ];
        let for_writes = for_writes.map(|(name, urls)| (name, urls, WRITES));
        let all = for_writes.into_iter().chain([(DATABASE_READ_URLS.name, &self.standbys[..], READS)]);
        let mut problems = Vec::new();
        for (name, urls, (refused, why)) in all {
            let wishes = urls.iter().filter_map(|url| url.param("target_session_attrs"));
            for wish in wishes.filter(|wish| refused.contains(wish)) {
                let what = format!("target_session_attrs={wish} is not possible: {why}");
                problems.push(Problem { name: name.to_owned(), what });
            }
        }
        problems
    }
}

/// Where the program runs, if anybody said so: what destroys data needs it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedEnvironment(pub Option<Environment>);

impl FromSettings for NamedEnvironment {
    const GROUPS: &'static [&'static Group] = &[&ENVIRONMENT];

    fn read(from: &mut Reader<'_>) -> Self {
        NamedEnvironment(from.parse(&APP_ENV))
    }
}

/// The schema of the tables that say which migrations are applied and which seeds are loaded; none: where
/// they are, and `public` for new ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerSchema(pub Option<String>);

impl FromSettings for LedgerSchema {
    const GROUPS: &'static [&'static Group] = &[&LEDGER];

    fn read(from: &mut Reader<'_>) -> Self {
        LedgerSchema(from.text(&LEDGER_SCHEMA).map(|(_, schema)| schema))
    }
}

impl FromSettings for DatabaseUrls {
    const GROUPS: &'static [&'static Group] = &[&DATABASE, &LIBPQ];

    fn read(from: &mut Reader<'_>) -> Self {
        let unsaid = Unsaid::read(from);
        let nodes = urls(from, &DATABASE_NODES, &unsaid);
        let primary = primary(from, nodes.first(), &unsaid);
        let direct =
            from.text(&DATABASE_DIRECT_URL).and_then(|(name, text)| parse(from, name, &text, &unsaid));
        let standbys = urls(from, &DATABASE_READ_URLS, &unsaid);
        let primary = primary.unwrap_or_else(placeholder);
        let urls =
            DatabaseUrls { direct: direct.unwrap_or_else(|| primary.clone()), primary, standbys, nodes };
        for Problem { name, what } in urls.impossible_roles() {
            from.problem(name, what);
        }
        urls
    }
}

/// What `target_session_attrs` must not ask for where a URL is for writes, and what to do.
const WRITES: ([&str; 3], &str) = (
    ["read-only", "standby", "prefer-standby"],
    "writes go there; name servers that only answer reads in DATABASE_READ_URLS",
);
/// The same where a URL is for reads.
const READS: ([&str; 3], &str) = (
    ["read-write", "primary", ""],
    "standbys stand there; name servers that may be the primary in DATABASE_NODES",
);

/// What stands in for a URL that is missing or wrong.
fn placeholder() -> DatabaseUrl {
    DatabaseUrl::from_parts(Vec::new(), "postgres", None, "postgres")
}

/// The parts of a URL that have settings of their own, each with the name that it was found under.
struct Parts {
    host: Option<(&'static str, String)>,
    port: Option<(&'static str, String)>,
    user: Option<(&'static str, String)>,
    password: Option<(&'static str, String)>,
    database: Option<(&'static str, String)>,
}

/// The text may hold a password, so the message never quotes it.
fn parse(from: &mut Reader<'_>, name: &str, text: &str, unsaid: &Unsaid) -> Option<DatabaseUrl> {
    let url = Said::of(text).and_then(|said| said.url(&|param| unsaid.get(param)));
    url.map_err(|error| from.problem(name, error.to_string())).ok()
}

fn primary(from: &mut Reader<'_>, node: Option<&DatabaseUrl>, unsaid: &Unsaid) -> Option<DatabaseUrl> {
    let parts = Parts {
        host: from.text(&POSTGRES_HOST),
        port: from.text(&POSTGRES_PORT),
        user: from.text(&POSTGRES_USER),
        password: from.text(&POSTGRES_PASSWORD),
        database: from.text(&POSTGRES_DB),
    };
    if let Some((name, text)) = from.text(&DATABASE_URL) {
        let url = parse(from, name, &text, unsaid)?;
        parts.warn_where_they_differ(from, &url);
        return Some(url);
    }
    if parts.host.is_some() {
        return parts.url(from, unsaid);
    }
    if let Some(node) = node {
        return Some(node.clone());
    }
    if unsaid.says_where() {
        let url = Said::default().url(&|param| unsaid.get(param));
        return url.map_err(|error| from.problem("PGHOST", error.to_string())).ok();
    }
    let what =
        "not set: write postgres://user:password@host:5432/database, or set POSTGRES_HOST and its companions";
    from.problem(DATABASE_URL.name, what);
    None
}

impl Parts {
    fn url(self, from: &mut Reader<'_>, unsaid: &Unsaid) -> Option<DatabaseUrl> {
        let text = |part: Option<(&str, String)>| part.map(|(_, text)| text);
        let port = match &self.port {
            None => None,
            Some((name, text)) => match text.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => {
                    from.problem(*name, format!("found {text:?}, allowed is a number from 1 to 65535"));
                    return None;
                }
            },
        };
        let (name, host) = self.host?;
        let said = Said {
            hosts: vec![(host, port)],
            user: text(self.user),
            password: text(self.password),
            database: text(self.database),
            ..Said::default()
        };
        let default = |param: &str| (param == "user").then(|| "postgres".to_owned());
        let url = said.url(&|param| unsaid.get(param).or_else(|| default(param)));
        url.map_err(|error| from.problem(name, error.to_string())).ok()
    }

    /// The URL counts; nobody should believe that the parts do.
    fn warn_where_they_differ(&self, from: &mut Reader<'_>, url: &DatabaseUrl) {
        let host = |text: &str| url.hosts().iter().any(|host| host.host() == text);
        let port = |text: &str| url.hosts().iter().any(|host| host.port().to_string() == text);
        let differ = [
            (&self.host, "host", self.host.as_ref().map(|(_, text)| host(text))),
            (&self.port, "port", self.port.as_ref().map(|(_, text)| port(text))),
            (&self.user, "user", self.user.as_ref().map(|(_, text)| url.user() == text)),
            (
                &self.password,
                "password",
                self.password.as_ref().map(|(_, text)| url.password() == Some(text.as_str())),
            ),
            (&self.database, "database", self.database.as_ref().map(|(_, text)| url.database() == text)),
        ];
        for (part, what, same) in differ {
            if let (Some((name, _)), Some(false)) = (part, same) {
                let other = if what == "password" && !url.has_password() { "no" } else { "another" };
                from.notice(
                    *name,
                    format!("is not read: DATABASE_URL has {other} {what}, and counts; unset one"),
                );
            }
        }
    }
}

/// A comma separates two URLs only where a scheme follows: within one URL it separates hosts.
fn urls(from: &mut Reader<'_>, setting: &Text, unsaid: &Unsaid) -> Vec<DatabaseUrl> {
    let Some((name, text)) = from.text(setting) else { return Vec::new() };
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',').map(str::trim) {
        match urls.last_mut() {
            Some(url) if !part.contains("://") => {
                url.push(',');
                url.push_str(part);
            }
            _ => urls.push(part.to_owned()),
        }
    }
    let urls = urls.iter().map(|url| url.trim_end_matches(',')).filter(|url| !url.is_empty());
    urls.filter_map(|url| parse(from, name, url, unsaid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::InvalidSettings;

    fn read(pairs: &[(&str, &str)]) -> Result<(DatabaseUrls, Vec<String>), InvalidSettings> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        let mut reader = Reader::of(&lookup);
        let urls = DatabaseUrls::read(&mut reader);
        Ok((urls, reader.finish()?.iter().map(ToString::to_string).collect()))
    }

    const URL: (&str, &str) = ("DATABASE_URL", "postgres://ann:secret@db/app");

    #[test]
    fn a_missing_url_says_what_to_write() {
        let error = read(&[]).unwrap_err().to_string();
        assert!(error.contains("DATABASE_URL: not set: write postgres://"), "{error}");
    }

    #[test]
    fn parts_make_a_url() {
        let parts =
            [("DB_HOST", "db"), ("POSTGRES_PORT", "6000"), ("DB_USER", "ann"), ("POSTGRES_PASSWORD", "p@w")];
        assert_eq!(read(&parts).unwrap().0.primary.to_string(), "postgres://ann:***@db:6000/ann");
        let error = read(&[("DB_HOST", "db"), ("DB_PORT", "0")]).unwrap_err().to_string();
        assert!(error.contains("DB_PORT: found \"0\", allowed is a number from 1 to 65535"), "{error}");
    }

    #[test]
    fn standbys_are_separated_where_a_scheme_follows() {
        let read_urls = ("DATABASE_READ_URLS", "postgres://ann@s1,s2/app, postgresql://ann@s3/app,");
        let (urls, _) = read(&[URL, read_urls]).unwrap();
        let standbys: Vec<_> = urls.standbys.iter().map(ToString::to_string).collect();
        assert_eq!(standbys, ["postgres://ann@s1:5432,s2:5432/app", "postgres://ann@s3:5432/app"]);
        assert_eq!(urls.direct, urls.primary);
    }

    #[test]
    fn parts_that_say_something_else_than_the_url_are_named_without_their_values() {
        let same = [URL, ("POSTGRES_HOST", "db"), ("DB_PORT", "5432"), ("POSTGRES_PASSWORD", "secret")];
        assert_eq!(read(&same).unwrap().1, [""; 0]);
        let other = [
            URL,
            ("DB_HOST", "db2"),
            ("DB_PORT", "6000"),
            ("DB_USER", "bob"),
            ("DB_PASSWORD", "hunter2"),
            ("POSTGRES_DB", "shop"),
        ];
        let notices = read(&other).unwrap().1;
        assert_eq!(
            notices,
            ["DB_HOST host", "DB_PORT port", "DB_USER user", "DB_PASSWORD password", "POSTGRES_DB database"]
                .map(|both| {
                    let (name, part) = both.split_once(' ').unwrap();
                    format!("{name} is not read: DATABASE_URL has another {part}, and counts; unset one")
                })
        );
    }

    #[test]
    fn a_role_that_a_url_cannot_have_is_refused_by_name() {
        let (any, only) = ("postgres://ann@db/app?target_session_attrs=", "is not possible");
        let said = |name: &str, wish: &str| {
            let url = format!("{any}{wish}");
            let pairs = if name == "DATABASE_URL" { vec![(name, &*url)] } else { vec![URL, (name, &*url)] };
            read(&pairs).err().map(|error| error.to_string()).unwrap_or_default()
        };
        for name in ["DATABASE_URL", "DATABASE_DIRECT_URL", "DATABASE_NODES"] {
            assert_eq!(said(name, "read-write"), "", "{name}");
            assert!(said(name, "standby").contains(&format!("{name}: target_session_attrs=standby {only}")));
        }
        assert_eq!(said("DATABASE_READ_URLS", "prefer-standby"), "");
        let wrong = said("DATABASE_READ_URLS", "primary");
        assert!(
            wrong.contains("DATABASE_READ_URLS: target_session_attrs=primary is not possible"),
            "{wrong}"
        );
    }

    #[test]
    fn what_a_url_leaves_out_is_filled_in_as_psql_does() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            let (urls, _) = read(pairs).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(urls.primary.to_string(), expected, "{pairs:?}");
        };
        let silent = ("DATABASE_URL", "postgresql://");
        let all = [
            silent,
            ("PGHOST", "a,b"),
            ("PGPORT", "6000"),
            ("PGUSER", "ann"),
            ("PGPASSWORD", "hunter2"),
            ("PGDATABASE", "app"),
            ("PGSSLMODE", "require"),
            ("PGOPTIONS", "-c jit=off"),
        ];
        let filled = "postgres://ann:***@a:6000,b:6000/app?options=-c%20jit%3Doff&sslmode=require";
        check(&all, filled);
        check(&all[1..], filled);
        let said = ("DATABASE_URL", "postgres://bob:pw@db/shop?sslmode=disable&options=-cjit%3Don");
        let url = "postgres://bob:***@db:6000/shop?options=-cjit%3Don&sslmode=disable";
        check(&[&[said], &all[1..]].concat(), url);
        check(&[("DB_HOST", "db"), ("PGPORT", "6000"), ("PGUSER", "ann")], "postgres://ann@db:6000/ann");
        let error = read(&[URL, ("PGSSLMODE", "on"), ("PGCONNECT_TIMEOUT", "soon")]).unwrap_err().to_string();
        assert!(error.contains("PGSSLMODE: sslmode is none of"), "{error}");
        assert!(error.contains("PGCONNECT_TIMEOUT: connect_timeout is none of"), "{error}");
    }

    #[test]
    fn a_service_says_what_the_url_leaves_out_and_wins_over_variables() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("services");
        let shop = "[shop]\nhost=db\n user = ann \npassword=hunter2\nsslmode=require\n";
        let text = format!("# ours\n[other]\nhost=c\n\n{shop}[bad]\nhosts=db\nssl=true\nhost\n");
        std::fs::write(&path, text).unwrap();
        let file = ("PGSERVICEFILE", path.to_str().unwrap());
        let with = |service, more: &[(&str, &str)]| read(&[&[file, ("PGSERVICE", service)], more].concat());
        let urls = with("shop", &[("PGUSER", "bob"), ("PGDATABASE", "app")]).unwrap().0;
        assert_eq!(urls.primary.to_string(), "postgres://ann:***@db:5432/app?sslmode=require");
        let urls = with("shop", &[("DATABASE_URL", "postgres://eve@x/y?sslmode=disable")]).unwrap().0;
        assert_eq!(urls.primary.to_string(), "postgres://eve:***@x:5432/y?sslmode=disable");
        let error = with("gone", &[URL]).unwrap_err().to_string();
        assert!(error.contains("PGSERVICE: no service file has a section [gone]"), "{error}");
        let error = with("bad", &[URL]).unwrap_err().to_string();
        for part in ["line 1 of its section: parameter 1 looks like host", "write sslmode=require", "line 3"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
