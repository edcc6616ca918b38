//! This test binary run again as another process, which a test may kill.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use db_testkit::{Cluster, PgBouncer, PoolMode, Proxy, TestDatabase, cancel_at_each_poll};
use diesel_async::SimpleAsyncConnection;

const ROLE: &str = "DB_TESTKIT_TEST_ROLE";
const NOTES: &str = "DB_TESTKIT_TEST_NOTES";

/// Not a test by itself: the other tests here run it as a process of its own.
#[test]
#[ignore = "run by the other tests"]
fn a_child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "cluster" => {
                let cluster = Cluster::builder().standbys(1).start().await.unwrap();
                let _proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
                say(&format!("{} {}", uid_of(cluster.pid(0).unwrap().unwrap()), cluster.dir().display()));
                hold();
            }
            "cluster, then panic" => {
                let cluster = Cluster::builder().standbys(1).start().await.unwrap();
                say(&format!("{} {}", uid_of(cluster.pid(0).unwrap().unwrap()), cluster.dir().display()));
                hold();
                panic!("the owner panics");
            }
            "pooler" => {
                let nowhere = "postgres://nobody@127.0.0.1:1/none";
                let pooler = PgBouncer::start(nowhere, PoolMode::Session, &[]).await.unwrap();
                say(&pooler.port().to_string());
                hold();
            }
            "database" => {
                let database = TestDatabase::empty().await.unwrap();
                let mut conn = database.connect().await.unwrap();
                conn.batch_execute("CREATE TABLE t ()").await.unwrap();
                say(&format!("{} {}", database.name(), data_directory(&database).await));
                hold();
            }
            "abandoned clones" => {
                let first = TestDatabase::empty().await.unwrap();
                let polls =
                    cancel_at_each_poll(async || drop(TestDatabase::empty().await.unwrap()), async |_| {});
                assert!(polls.await.unwrap() > 1);
                say(first.name().rsplit_once('_').unwrap().0);
                drop(first);
                hold();
            }
            "template" => {
                let notes = std::env::var(NOTES).unwrap();
                let notes = Path::new(&notes);
                let database = TestDatabase::from_template("the same for all", async |conn| {
                    note(notes, "began");
                    conn.batch_execute("CREATE TABLE half ()").await?;
                    if !notes.with_extension("go").exists() {
                        say("filling");
                        hold();
                    }
                    conn.batch_execute("CREATE TABLE whole ()").await
                })
                .await
                .unwrap();
                let mut conn = database.connect().await.unwrap();
                conn.batch_execute("SELECT FROM half, whole").await.unwrap();
                say(&format!("cloned {}", database.name()));
                hold();
            }
            other => panic!("no role {other:?}"),
        }
    });
}

fn say(line: &str) {
    eprintln!("child: {line}");
}

/// Blocks until the parent closes the pipe or dies.
fn hold() {
    let _ = std::io::stdin().read(&mut [0]);
}

fn note(path: &Path, line: &str) {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

async fn data_directory(database: &TestDatabase) -> String {
    let client = crate::connect(database.url()).await.unwrap();
    crate::one(&client, "SHOW data_directory").await
}

pub(crate) fn uid_of(pid: u32) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}")).unwrap().uid()
}

/// A running child; killed with its value.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    _stdout: Option<ChildStdout>,
}

/// Starts this binary in a role, with `DB_TESTKIT_URL` set or unset.
pub(crate) fn start(role: &str, url: Option<&str>, notes: Option<&Path>) -> Running {
    start_through(Command::new(std::env::current_exe().unwrap()), role, url, notes)
}

/// The same, through a command that ends with this binary's path.
pub(crate) fn start_through(
    mut command: Command,
    role: &str,
    url: Option<&str>,
    notes: Option<&Path>,
) -> Running {
    command.args(["--exact", "children::a_child", "--ignored", "--nocapture"]).env(ROLE, role);
    command.env_remove("DB_TESTKIT_URL").envs(url.map(|url| ("DB_TESTKIT_URL", url)));
    command.envs(notes.map(|notes| (NOTES, notes)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (stdin, _stdout) = (child.stdin.take(), child.stdout.take());
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    Running { child, stdin, lines, _stdout }
}

impl Running {
    /// The next thing that the child says.
    pub(crate) fn heard(&mut self) -> String {
        let mut other = String::new();
        for line in self.lines.by_ref().map_while(Result::ok) {
            if let Some(said) = line.strip_prefix("child: ") {
                return said.to_owned();
            }
            other.push_str(&line);
            other.push('\n');
        }
        panic!("the child ended without a word:\n{other}");
    }

    /// Lets the child go on past the point where it holds.
    pub(crate) fn go_on(&mut self) {
        self.stdin = None;
    }

    /// Kills the child with signal 9 and waits for its end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
