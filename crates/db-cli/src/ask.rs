//! Asks a person at the terminal; where there is none, nothing is agreed to.

use std::io::{IsTerminal, Write};

use tokio::sync::oneshot;

/// Whether a person is there to answer.
pub(crate) fn somebody() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// What a person types after `question`, without blanks around it.
pub(crate) async fn text(question: &str) -> String {
    eprint!("{question}");
    let _ = std::io::stderr().flush();
    line().await.trim().to_owned()
}

/// Whether it was agreed to: by a flag, or by a person at the terminal.
pub(crate) async fn agreed(flag: bool, question: &str) -> bool {
    flag || (somebody() && yes(question).await)
}

/// Whether a person types `yes`.
async fn yes(question: &str) -> bool {
    text(&format!("{question} Type yes: ")).await == "yes"
}

/// A line from the terminal. It is read on a thread that nobody waits for at the end, so that Ctrl-C ends the
/// command.
pub(crate) async fn line() -> String {
    let (said, heard) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // What cannot be read confirms nothing.
        let _ = std::io::stdin().read_line(&mut line);
        let _ = said.send(line);
    });
    heard.await.unwrap_or_default()
}
