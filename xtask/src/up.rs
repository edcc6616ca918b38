//! `up`: starts the development cluster and prints its URLs.

use db_server::{Cluster, DevCluster, DevData, DevState, Finder, Place, RedisProgram};
use lexopt::Arg;

use crate::command::{Command, Options, unexpected};
use crate::failure::{Failure, Result};
use crate::{dev, say};

pub(crate) const COMMAND: Command = Command {
    name: "up",
    line: "start the development cluster (it stays) and print its URLs",
    help: "
cargo xtask up [--pg 14|15|16|17|18|19] [--standbys N] [--no-redis]

Starts PostgreSQL (one primary, two standbys unless --standbys says otherwise) and Redis on free loopback ports, and
prints DATABASE_URL, DATABASE_READ_URLS and REDIS_URL in .env form:

    cargo xtask up > .env

The servers outlive this command and keep their data below target/. Up again is harmless: it prints the same URLs.
The passwords in them are random, and of this cluster alone: the printed lines are secrets. Redis is the one on PATH, else
one that is fetched; where neither can be, it goes on without. `down` stops, `reset` forgets the data. The data live without
fsync: a crash of the machine may cost them.",
    run,
};

/// What `up` and `reset` are called with.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pg: Option<u16>,
    standbys: Option<usize>,
    no_redis: bool,
}

pub(crate) fn read(options: &mut Options) -> Result<Wishes> {
    let mut wishes = Wishes::default();
    while let Some(arg) = options.next()? {
        match arg {
            Arg::Long("pg") => wishes.pg = Some(options.number()?),
            Arg::Long("standbys") => wishes.standbys = Some(options.number()?),
            Arg::Long("no-redis") => wishes.no_redis = true,
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
    let running = cluster.state()?.filter(DevState::is_up);
    let data = cluster.data()?;
    if let Some(data) = &data {
        refuse_another(data, wishes)?;
    }
    if let Some(state) = running {
        say::note("the development cluster runs already");
        dev::print(&state);
        return Ok(());
    }
    let progress = |line: &str| say::note(&format!("  … {line}"));
    let major = data.as_ref().map(|data| data.major).or(wishes.pg);
    let install = Finder::new(place.clone()).find(major, &progress)?;
    say::note(&format!("PostgreSQL {} ({}, {})", install.version, install.origin, install.bin.display()));
    let redis = if wishes.no_redis { None } else { redis(&progress)? };
    let standbys = data.as_ref().map_or(wishes.standbys.unwrap_or(2), |data| data.standbys);
    let builder = Cluster::builder(install).standbys(standbys).place(place);
    let state = say::step("development cluster", || cluster.up(builder, redis.as_ref(), &progress))?;
    dev::print(&state);
    Ok(())
}

/// Redis, found or fetched; where it is not to be had, that is said.
pub(crate) fn redis(progress: &dyn Fn(&str)) -> Result<Option<RedisProgram>> {
    match db_server::find_redis(progress) {
        Ok(found) => Ok(Some(found)),
        Err(missing) if missing.is_for_want_of_a_program() => {
            say::note(&format!("going on without Redis: {missing}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn refuse_another(data: &DevData, wishes: &Wishes) -> Result {
    let major = data.major;
    if let Some(pg) = wishes.pg.filter(|pg| *pg != major) {
        return Err(Failure::said(format!(
            "the development cluster holds data of PostgreSQL {major}: `cargo xtask reset --pg {pg}` begins anew"
        )));
    }
    let standbys = data.standbys;
    if let Some(wanted) = wishes.standbys.filter(|wanted| *wanted != standbys) {
        return Err(Failure::said(format!(
            "the development cluster has {standbys} standbys: `cargo xtask reset --standbys {wanted}` begins anew"
        )));
    }
    Ok(())
}
