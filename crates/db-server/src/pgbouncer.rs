//! One PgBouncer on a loopback port, in front of one PostgreSQL server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::account::run_as;
use crate::find::is_done_without;
use crate::home::{Home, Medium};
use crate::password::write_private;
use crate::{Account, Error, Password, Result, Version, apt, ports, process, wait_until};

const START_LIMIT: Duration = Duration::from_secs(30);
const NAME: &str = "pgbouncer";
const USERS: &str = "users.txt";

/// The first version that follows prepared statements from one server connection to the next.
const FOLLOWS_STATEMENTS: Version = Version { major: 1, minor: 21 };

/// The program, and which version it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgBouncerProgram {
    /// Where it is.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

/// What is served by one server connection before it goes to the next client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// All that a client does until it disconnects.
    Session,
    /// One transaction.
    Transaction,
}

/// A server as PgBouncer logs in to it, whoever asks PgBouncer for a connection.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Password,
}

/// A running PgBouncer. Dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct PgBouncer {
    child: Child,
    port: u16,
    _home: Home,
}

impl PgBouncerProgram {
    /// Looks on PATH and where distributions put it.
    pub fn find() -> Result<PgBouncerProgram> {
        if is_done_without(NAME, &crate::environment) {
            return Err(Error::NoPgBouncer);
        }
        let path = crate::environment("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let found =
            std::env::split_paths(&path).chain(usual).map(|dir| dir.join(NAME)).find(|it| it.is_file());
        let path = found.ok_or(Error::NoPgBouncer)?;
        let output = process::run(Command::new(&path).arg("--version"))?;
        let said = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
        match Version::parse(&said) {
            Some(version) => Ok(PgBouncerProgram { path, version }),
            None => Err(Error::BadVersion { program: path, said }),
        }
    }

    /// Finds it, or tells `progress` that it installs it and does so with apt-get, where this process is root
    /// on a Debian.
    pub fn find_or_install(progress: &dyn Fn(&str)) -> Result<PgBouncerProgram> {
        if is_done_without(NAME, &crate::environment) {
            return Err(Error::NoPgBouncer);
        }
        apt::find_or_install("pgbouncer", PgBouncerProgram::find, progress)
    }

    /// Whether a statement that was prepared on one server connection can run on another (since 1.21).
    pub fn follows_prepared_statements(&self) -> bool {
        self.version >= FOLLOWS_STATEMENTS
    }
}

impl PgBouncer {
    /// Starts one that lets the server's user in with the server's password, into any database, and waits
    /// until it listens.
    ///
    /// It ignores the start-up parameters `extra_float_digits` and `options`, and follows prepared statements
    /// where it can. `more` are settings of its own section, and win.
    pub fn start(
        program: &PgBouncerProgram,
        server: &Upstream,
        mode: PoolMode,
        more: &[(String, String)],
    ) -> Result<PgBouncer> {
        for last in [false, false, false, true] {
            let port = ports::free_port()?;
            match PgBouncer::launch(
                program,
                &settings(program, server, mode, more, port),
                &users(server),
                port,
            ) {
                Err(Error::Ended { .. }) if !last => {}
                result => return result,
            }
        }
        Err(Error::NoPort { tried: 4 })
    }

    /// Its loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn launch(program: &PgBouncerProgram, settings: &str, users: &str, port: u16) -> Result<PgBouncer> {
        let account = Account::for_servers()?;
        let home = Home::throw_away(account.as_ref(), Medium::Fast)?;
        let dir = home.dir().join(NAME);
        fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
        let file = dir.join("pgbouncer.ini");
        write_private(&file, settings, account.as_ref())?;
        write_private(&dir.join(USERS), users, account.as_ref())?;
        if let Some(account) = &account {
            account.own(&dir)?;
        }
        let path = dir.join("log");
        let log = File::create(&path).map_err(Error::io("create", &path))?;
        let mut command = Command::new(&program.path);
        command.arg(&file).current_dir(&dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        run_as(account.as_ref(), &mut command);
        let child = process::spawn(&mut command)?;
        let mut bouncer = PgBouncer { child, port, _home: home };
        let mut ended = None;
        let ready = wait_until(START_LIMIT, || {
            ended = bouncer.child.try_wait().ok().flatten();
            ended.is_some() || listens(&path, port)
        });
        let tail = || process::last_lines(&fs::read_to_string(&path).unwrap_or_default(), 12);
        match ended {
            Some(status) => Err(Error::Ended { server: NAME.to_owned(), status, tail: tail(), log: path }),
            None if ready => Ok(bouncer),
            None => {
                Err(Error::NotReady { server: NAME.to_owned(), waited: START_LIMIT, tail: tail(), log: path })
            }
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether it says so itself: another program may have won the port.
fn listens(log: &Path, port: u16) -> bool {
    let said = fs::read_to_string(log).unwrap_or_default();
    said.lines().any(|line| line.ends_with(&format!("listening on 127.0.0.1:{port}")))
}

fn settings(
    program: &PgBouncerProgram,
    server: &Upstream,
    mode: PoolMode,
    more: &[(String, String)],
    port: u16,
) -> String {
    let Upstream { host, port: at, user, password } = server;
    let (user, password) = (quoted(user, '\''), quoted(password.reveal(), '\''));
    let mode = match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
    };
    let statements =
        if program.follows_prepared_statements() { "max_prepared_statements = 200\n" } else { "" };
    let more: String = more.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    format!(
        "[databases]\n* = host={host} port={at} user={user} password={password}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npidfile = pgbouncer.pid\n\
         auth_type = scram-sha-256\nauth_file = {USERS}\npool_mode = {mode}\nignore_startup_parameters = extra_float_digits,options\n\
         {statements}{more}"
    )
}

/// The list of those who may log in: the server's user, so that a client's URL differs in its port only.
fn users(server: &Upstream) -> String {
    format!("{} {}\n", quoted(&server.user, '"'), quoted(server.password.reveal(), '"'))
}

fn quoted(text: &str, mark: char) -> String {
    format!("{mark}{}{mark}", text.replace(mark, &format!("{mark}{mark}")))
}
