//! `dbctl top` on a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use diesel_async::SimpleAsyncConnection;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{Ends, SECRET, planted};
use crate::run::{dbctl, program};

/// A terminal, and everything that was written on it.
struct Terminal {
    keys: File,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> (Terminal, File) {
        let controller: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let screen = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        tcsetwinsize(&screen, Winsize { ws_row: 30, ws_col: 140, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let keys = File::from(controller);
        let (mut from, written) = (keys.try_clone().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
        let into = Arc::clone(&written);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It ends with an error where nobody has the terminal any more.
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                into.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        (Terminal { keys, written }, screen)
    }

    fn shows(&self, words: &str) -> bool {
        String::from_utf8_lossy(&self.written.lock().unwrap()).contains(words)
    }

    async fn wait_for(&self, words: &str) {
        db_testkit::until(words, async || self.shows(words)).await;
    }

    fn press(&mut self, key: &str) {
        self.written.lock().unwrap().clear();
        self.keys.write_all(key.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn the_screen_shows_who_runs_waits_and_blocks() {
    let database = planted().await;
    let mut blocker = database.connect().await.unwrap();
    blocker.batch_execute("SET application_name = 'holds-it'; BEGIN; LOCK TABLE notes").await.unwrap();
    let mut waiting = database.connect().await.unwrap();
    let waits = tokio::spawn(async move {
        let statement =
            format!("SET application_name = 'LINGER'; SELECT id FROM notes WHERE body = '{SECRET}'");
        waiting.batch_execute(&statement).await
    });
    let mut running = database.connect().await.unwrap();
    let runs = tokio::spawn(async move {
        running.batch_execute("SET application_name = 'works'; SELECT pg_sleep(600)").await
    });
    // Only what differs is drawn anew, so the names have no letter in the same place.
    let (mut terminal, screen) = Terminal::open();
    let mut command = program(&[("DATABASE_URL", database.url())], &["top", "--every", "200ms"]);
    command.stdin(screen.try_clone().unwrap()).stdout(screen.try_clone().unwrap()).stderr(screen);
    let mut child = Ends(command.spawn().unwrap());
    drop(command);
    terminal.wait_for("works").await;
    terminal.press("2");
    terminal.wait_for("LINGER").await;
    terminal.press("3");
    terminal.wait_for("holds-it").await;
    terminal.wait_for("1 wait for it").await;
    assert!(!terminal.shows(SECRET));
    terminal.press("q");
    let status = tokio::task::spawn_blocking(move || child.0.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status}");
    // The terminal is as it was: the other screen is left.
    terminal.wait_for("\u{1b}[?1049l").await;
    runs.abort();
    blocker.batch_execute("ROLLBACK").await.unwrap();
    waits.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_no_terminal_gets_no_screen() {
    let refused = dbctl(&[("DATABASE_URL", "postgres://127.0.0.1:1/x")], &["top"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("dbctl report"), "{}", refused.err);
}
