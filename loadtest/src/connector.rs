//! Makes connections for a generator's thread, which must not wait for them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{Scope, sleep};
use std::time::Duration;
use tegata_client::Link;

/// How long a server may take to greet.
pub(crate) const GREETING: Duration = Duration::from_secs(2);
/// How long to wait before a server that refused a connection is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// A connection that was wanted under this number, made and greeted.
pub(crate) type Made = (usize, Link);

/// The generator's end. The connector ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Connector {
    wanted: Sender<usize>,
    made: Receiver<Made>,
}

impl Connector {
    /// Starts one.
    pub(crate) fn start<'s>(scope: &'s Scope<'s, '_>, addr: SocketAddr) -> Self {
        let (wanted, to_make) = channel();
        let (done, made) = channel();
        scope.spawn(move || connect(addr, &to_make, &done));
        Self { wanted, made }
    }

    /// Asks for a connection: it is tried until it is there.
    pub(crate) fn want(&self, n: usize) {
        // The connector lives as long as this end.
        let _ = self.wanted.send(n);
    }

    /// One that is there.
    pub(crate) fn made(&self) -> Option<Made> {
        self.made.try_recv().ok()
    }

    /// Waits for one.
    pub(crate) fn wait(&self) -> Result<Made, RecvTimeoutError> {
        self.made.recv_timeout(GREETING)
    }
}

fn connect(addr: SocketAddr, wanted: &Receiver<usize>, made: &Sender<Made>) {
    let mut waiting = VecDeque::new();
    loop {
        match if waiting.is_empty() { wanted.recv().map_err(|_| TryRecvError::Disconnected) } else { wanted.try_recv() }
        {
            Ok(n) => {
                waiting.push_back(n);
                continue;
            }
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        match Link::open_together(addr, GREETING) {
            Ok(link) => {
                let n = waiting.pop_front().expect("something is waited for");
                if made.send((n, link)).is_err() {
                    return;
                }
            }
            Err(_) => sleep(AGAIN),
        }
    }
}
