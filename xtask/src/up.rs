//! `up`: starts the development cluster and prints its URLs.

use db_server::{Cluster, DevCluster, DevState, Finder, Place, RedisPrograms};
use lexopt::Arg;

use crate::command::{Command, Options, unexpected};
use crate::failure::{Failure, Result};
use crate::{dev, say};

pub(crate) const COMMAND: Command = Command {
    name: "up",
    line: "start the development cluster (it stays) and print its URLs",
    help: "
cargo xtask up [--pg 14|15|16|17|18] [--standbys N] [--no-redis] [--install]

Starts PostgreSQL (one primary, two standbys unless --standbys says otherwise) and Redis on free loopback ports, and
prints DATABASE_URL, DATABASE_READ_URLS and REDIS_URL in .env form:

    cargo xtask up > .env

The servers outlive this command and keep their data below target/. Up again is harmless: it prints the same URLs.
Without a Redis on PATH it goes on without one, or installs it with --install (apt-get, as root on Debian).
`down` stops, `reset` forgets the data. The data live without fsync: a crash of the machine may cost them.",
    run,
};

/// What `up` and `reset` are called with.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pg: Option<u16>,
    standbys: Option<usize>,
    no_redis: bool,
    install: bool,
}

pub(crate) fn read(options: &mut Options) -> Result<Wishes> {
    let mut wishes = Wishes::default();
    while let Some(arg) = options.next()? {
        match arg {
            Arg::Long("pg") => wishes.pg = Some(options.number()?),
            Arg::Long("standbys") => wishes.standbys = Some(options.number()?),
            Arg::Long("no-redis") => wishes.no_redis = true,
            Arg::Long("install") => wishes.install = true,
            other => return Err(unexpected(&other)),
        }
    }
    Ok(wishes)
}

fn run(mut options: Options) -> Result {
    let wishes = read(&mut options)?;
    start(&wishes)
}

/// Starts it, or finds that it runs.
pub(crate) fn start(wishes: &Wishes) -> Result {
    let place = Place::here()?;
    let cluster = DevCluster::of(&place);
    // A state file that cannot be read is `down`'s to remove, and the message says so.
    let before = cluster.state()?;
    if let Some(before) = &before {
        refuse_another(before, wishes)?;
    }
    if let Some(state) = before.as_ref().filter(|state| state.is_up()) {
        say::note("the development cluster runs already");
        dev::print(state);
        return Ok(());
    }
    let progress = |line: &str| say::note(&format!("  … {line}"));
    let major = before.as_ref().map(|before| before.major).or(wishes.pg);
    let install = Finder::new(place.clone()).find(major, &progress)?;
    say::note(&format!("PostgreSQL {} ({}, {})", install.version, install.origin, install.bin.display()));
    let redis = if wishes.no_redis { None } else { redis(wishes.install, &progress)? };
    let standbys = before.as_ref().map_or(wishes.standbys.unwrap_or(2), |before| before.nodes.len() - 1);
    let builder = Cluster::builder(install).standbys(standbys).place(place);
    let state = say::step("development cluster", || cluster.up(builder, redis.as_ref(), &progress))?;
    dev::print(&state);
    Ok(())
}

/// Redis when it is there, or can be installed and shall be; otherwise it is said that there is none.
pub(crate) fn redis(install: bool, progress: &dyn Fn(&str)) -> Result<Option<RedisPrograms>> {
    if install {
        return Ok(Some(RedisPrograms::find_or_install(progress)?));
    }
    let found = RedisPrograms::find().ok();
    if found.is_none() {
        say::note("no redis-server or valkey-server on PATH: going on without (--install gets one)");
    }
    Ok(found)
}

fn refuse_another(before: &DevState, wishes: &Wishes) -> Result {
    if let Some(pg) = wishes.pg.filter(|pg| *pg != before.major) {
        let major = before.major;
        return Err(Failure::said(format!(
            "the development cluster holds data of PostgreSQL {major}: `cargo xtask reset --pg {pg}` begins anew"
        )));
    }
    let standbys = before.nodes.len() - 1;
    if let Some(wanted) = wishes.standbys.filter(|wanted| *wanted != standbys) {
        return Err(Failure::said(format!(
            "the development cluster has {standbys} standbys: `cargo xtask reset --standbys {wanted}` begins anew"
        )));
    }
    Ok(())
}
