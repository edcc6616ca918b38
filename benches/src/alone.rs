//! One side of a comparison alone: what valgrind counts of it, and what it allocates.
//!
//! Instructions do not depend on the machine's mood, as times do. The program starts itself under valgrind
//! (`claims alone SIDE URL STATEMENTS`), twice with different counts; what the second needs more, divided by
//! the statements that it runs more, is a statement's cost without start and end. What the kernel does is not
//! counted.
#![expect(clippy::print_stdout, reason = "what was counted goes to standard output")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use db_platform::Db;
use diesel_async::AsyncPgConnection;
use tokio::runtime::Runtime;

use crate::server::{on_one_thread, one_thread};
use crate::statement::{bare, open, select_one};

const WARM_UP: u32 = 100;
const FEW: u32 = 200;
const MANY: u32 = 10_200;

/// Who runs `SELECT 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `Db::read`.
    Read,
    /// A diesel-async connection that nobody manages.
    Bare,
}

/// What one statement costs this process.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// By valgrind; none where it is not at hand.
    pub instructions: Option<f64>,
    /// How often memory is asked for.
    pub allocations: f64,
    /// How much of it.
    pub bytes: f64,
}

/// What a `SELECT 1` costs on this side.
pub fn cost(side: Side) -> Cost {
    on_one_thread(async |url| {
        let url = url.to_owned();
        tokio::task::spawn_blocking(move || {
            let (few, many) = (Counted::of(side, &url, FEW), Counted::of(side, &url, MANY));
            let each = |few: f64, many: f64| (many - few) / f64::from(MANY - FEW);
            let instructions = few.instructions.zip(many.instructions).map(|(few, many)| each(few, many));
            Cost {
                instructions,
                allocations: each(few.allocations, many.allocations),
                bytes: each(few.bytes, many.bytes),
            }
        })
        .await
        .unwrap()
    })
}

/// Runs what is to be counted, and prints what it allocated: the program was started as `claims alone SIDE
/// URL STATEMENTS`.
pub fn run(arguments: &[String]) -> ExitCode {
    let [side, url, statements] = arguments else { return ExitCode::from(2) };
    let side = if side == "read" { Side::Read } else { Side::Bare };
    let runtime = one_thread();
    let mut one = One::ready(side, url, &runtime);
    (0..WARM_UP).for_each(|_| one.statement(&runtime));
    let statements: u32 = statements.parse().unwrap();
    let allocated = allocation_counter::measure(|| (0..statements).for_each(|_| one.statement(&runtime)));
    println!("{} {}", allocated.count_total, allocated.bytes_total);
    ExitCode::SUCCESS
}

/// One side, ready to run.
enum One {
    Read(Db),
    Bare(AsyncPgConnection),
}

impl One {
    fn ready(side: Side, url: &str, runtime: &Runtime) -> Self {
        runtime.block_on(async {
            match side {
                Side::Read => One::Read(open(url).await),
                Side::Bare => One::Bare(bare(url).await),
            }
        })
    }

    fn statement(&mut self, runtime: &Runtime) {
        let one = runtime.block_on(async {
            match self {
                One::Read(db) => db.read(async |conn| select_one(conn).await).await.unwrap(),
                One::Bare(conn) => select_one(conn).await.unwrap(),
            }
        });
        assert_eq!(one, 1);
    }
}

/// What so many statements took.
struct Counted {
    instructions: Option<f64>,
    allocations: f64,
    bytes: f64,
}

impl Counted {
    fn of(side: Side, url: &str, statements: u32) -> Self {
        let counts = counts_file(statements);
        let valgrind = Command::new("valgrind").arg("--version").output();
        let has_valgrind = valgrind.is_ok_and(|said| said.status.success());
        let program = std::env::current_exe().unwrap();
        let mut alone = if has_valgrind {
            let mut valgrind = Command::new("valgrind");
            valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", counts.display()));
            valgrind.arg(program);
            valgrind
        } else {
            Command::new(program)
        };
        let side = if side == Side::Read { "read" } else { "bare" };
        let run = alone.args(["alone", side, url, &statements.to_string()]).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let said = String::from_utf8(run.stdout).unwrap();
        let mut allocated = said.split_whitespace().map(|number| number.parse::<f64>().unwrap());
        let (allocations, bytes) = (allocated.next().unwrap(), allocated.next().unwrap());
        Counted { instructions: has_valgrind.then(|| total(&counts)), allocations, bytes }
    }
}

/// The sum of callgrind's counts, whose file goes.
fn total(counts: &Path) -> f64 {
    let text = std::fs::read_to_string(counts).unwrap();
    std::fs::remove_file(counts).unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    total.trim().parse().unwrap()
}

fn counts_file(statements: u32) -> PathBuf {
    std::env::temp_dir().join(format!("db-benches-{}-{statements}.callgrind", std::process::id()))
}
