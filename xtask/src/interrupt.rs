//! Ctrl-C, SIGTERM and SIGHUP: ends every child in its order, leaves nothing, exits with 130.
//!
//! Children run in process groups of their own, so a terminal's Ctrl-C reaches only this process. The load is
//! ended first and the servers after it: the other way round the load would report errors that are none.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Failure, Result};
use crate::{children, say};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Installs the handler, which works at any moment, whatever the main thread is doing.
pub(crate) fn install() -> Result {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            return;
        }
        say::note("interrupted: ending everything that was started");
        db_server::process::start_nothing_more();
        children::end_all();
        db_server::end_everything();
        std::process::exit(130);
    };
    ctrlc::set_handler(handler)
        .map_err(|error| Failure::said(format!("no signal handler could be set: {error}")))
}

/// Where the handler is at work, waits for it to end this process.
pub(crate) fn give_way() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
