//! One connection through the proxy, from accept to end.

use super::Shared;
use super::plan::{Direction, Mode, Plan};
use super::pump::{End, Pump, Talk};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Serves one client until its connection ends.
pub(super) async fn serve(mut client: TcpStream, shared: &Shared, mut plan: watch::Receiver<Plan>) {
    let born = *plan.borrow_and_update();
    let _ = client.set_nodelay(true);
    if !admitted(&mut client, &mut plan, born.cuts).await {
        return reset(&client);
    }
    let connected = tokio::select! {
        stream = TcpStream::connect(shared.target()) => stream,
        () = cut(&mut plan, born.cuts) => return reset(&client),
    };
    let Ok(mut server) = connected else {
        return reset(&client);
    };
    let _ = server.set_nodelay(true);

    match carry(&mut client, &mut server, shared, &mut plan, born).await {
        End::Closed => {}
        End::Reset => {
            reset(&server);
            reset(&client);
        }
        End::AtCommit => {
            reset(&client);
            drop(client);
            // Unread answers would turn this close into a reset, and a reset could overtake the COMMIT.
            let _ = server.shutdown().await;
            swallow(&mut server).await;
        }
        End::HalfOpen => {
            drop(server);
            tokio::select! {
                () = cut(&mut plan, born.cuts) => {}
                () = swallow(&mut client) => {}
            }
            reset(&client);
        }
    }
}

/// Holds a new connection back while it must get no answer; false when it must die.
async fn admitted(client: &mut TcpStream, plan: &mut watch::Receiver<Plan>, cuts: u64) -> bool {
    let mut swallowed = false;
    let mut buffer = [0; 4096];
    loop {
        let now = *plan.borrow_and_update();
        match now.mode {
            _ if now.cuts != cuts => return false,
            Mode::Blackhole => {
                tokio::select! {
                    changed = plan.changed() => if changed.is_err() { return false },
                    read = client.read(&mut buffer) => match read {
                        Ok(0) | Err(_) => return false,
                        Ok(_) => swallowed = true,
                    },
                }
            }
            _ if swallowed => return false,
            Mode::Stall => {
                if plan.changed().await.is_err() {
                    return false;
                }
            }
            Mode::Pass | Mode::Refuse => return true,
        }
    }
}

async fn carry(
    client: &mut TcpStream,
    server: &mut TcpStream,
    shared: &Shared,
    plan: &mut watch::Receiver<Plan>,
    born: Plan,
) -> End {
    let talk = Mutex::new(Talk::written_down_by(shared.follower()));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let pump = |direction| Pump { shared, plan: plan.clone(), talk: &talk, direction, cuts: born.cuts };
    let up = pump(Direction::ToServer).run(from_client, to_server);
    let down = pump(Direction::ToClient).run(from_server, to_client);
    tokio::pin!(up, down);
    let (mut up_open, mut down_open) = (true, true);
    while up_open || down_open {
        let end = tokio::select! {
            end = &mut up, if up_open => { up_open = false; end }
            end = &mut down, if down_open => { down_open = false; end }
            changed = plan.changed() => {
                let now = *plan.borrow_and_update();
                if changed.is_err() || now.cuts != born.cuts {
                    Some(End::Reset)
                } else if now.half_opens != born.half_opens {
                    Some(End::HalfOpen)
                } else {
                    None
                }
            }
        };
        if let Some(end) = end {
            return end;
        }
    }
    End::Closed
}

/// Waits for the next cut.
async fn cut(plan: &mut watch::Receiver<Plan>, cuts: u64) {
    let _ = plan.wait_for(|plan| plan.cuts != cuts).await;
}

async fn swallow(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
}

/// Makes the coming close a reset.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}
