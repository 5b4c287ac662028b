//! A proxy between clients and server, for what happens to connections on the way: they are cut, they fall silent, answers
//! get lost. Tests put liars into it, to see that the harness finds them out.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tegata_wire::{self as wire, Scan};

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// The longest frame of either direction.
const FRAME_BYTES_MAX: usize = 65_536;

/// What becomes of a frame. `back` goes to whoever sent it.
pub type Lie = dyn Fn(Way, &[u8], &mut Vec<u8>, &mut Vec<u8>) + Send + Sync;

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a client.
    ToServer,
    /// From the server.
    ToClient,
}

/// Bytes that a proxy has let go nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// In both directions, while it was silent.
    pub swallowed: u64,
    /// Of answers that it dropped.
    pub dropped: u64,
}

/// A client's connection and the one to the server that it was given.
struct Pair {
    sockets: [TcpStream; 2],
    /// Until either side has closed.
    open: Arc<AtomicBool>,
}

struct Shared {
    target: SocketAddr,
    pairs: Mutex<Vec<Pair>>,
    silent: AtomicBool,
    drops_answers: AtomicBool,
    /// As [`Lost`] says.
    swallowed: AtomicU64,
    dropped: AtomicU64,
    over: AtomicBool,
    lie: Option<Box<Lie>>,
}

/// A running proxy. It ends when it is dropped.
pub struct Proxy {
    /// Where clients connect.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

impl core::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Proxy {{ {} -> {} }}", self.addr, self.shared.target)
    }
}

impl Proxy {
    /// In front of `target`, with a liar in it or without.
    pub fn start(target: SocketAddr, lie: Option<Box<Lie>>) -> io::Result<Self> {
        let listener = TcpListener::bind((target.ip(), 0))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            pairs: Mutex::new(Vec::new()),
            silent: AtomicBool::new(false),
            drops_answers: AtomicBool::new(false),
            swallowed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            over: AtomicBool::new(false),
            lie,
        });
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new().name("proxy".into()).spawn(move || {
            for client in listener.incoming() {
                if accepting.over.load(Ordering::Relaxed) {
                    break;
                }
                // Where the server is not there, neither is the proxy.
                if let Ok(client) = client
                    && let Ok(server) = TcpStream::connect(accepting.target)
                {
                    let _ = accepting.join(&client, &server);
                }
            }
        })?;
        Ok(Self { addr, shared })
    }

    /// Cuts every connection; returns how many there were.
    pub fn cut(&self) -> usize {
        let cut = std::mem::take(&mut *self.pairs());
        for s in cut.iter().flat_map(|p| &p.sockets) {
            // It may have been closed meanwhile.
            let _ = s.shutdown(Shutdown::Both);
        }
        cut.len()
    }

    /// How many connections there are.
    #[must_use]
    pub fn open(&self) -> usize {
        self.pairs().len()
    }

    fn pairs(&self) -> MutexGuard<'_, Vec<Pair>> {
        let mut pairs = self.shared.pairs.lock().expect("nobody panics with the connections in hand");
        pairs.retain(|p| p.open.load(Ordering::Relaxed));
        pairs
    }

    /// From now on, or no more, everything is swallowed in both directions and nobody is told.
    pub fn fall_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }

    /// From now on, or no more, requests arrive and answers do not.
    pub fn drop_answers(&self, drops: bool) {
        self.shared.drops_answers.store(drops, Ordering::Relaxed);
    }

    /// What went nowhere so far.
    #[must_use]
    pub fn lost(&self) -> Lost {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Lost { swallowed: load(&self.shared.swallowed), dropped: load(&self.shared.dropped) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn join(self: &Arc<Self>, client: &TcpStream, server: &TcpStream) -> io::Result<()> {
        let open = Arc::new(AtomicBool::new(true));
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let sockets = [client.try_clone()?, server.try_clone()?];
        let pair = Pair { sockets, open: Arc::clone(&open) };
        self.pairs.lock().expect("nobody panics with the connections in hand").push(pair);
        for (way, from, to) in [(Way::ToServer, client, server), (Way::ToClient, server, client)] {
            let (shared, mut from, mut to) = (Arc::clone(self), from.try_clone()?, to.try_clone()?);
            let open = Arc::clone(&open);
            std::thread::Builder::new().name("proxy-pump".into()).spawn(move || {
                let _ = shared.pump(way, &mut from, &mut to);
                open.store(false, Ordering::Relaxed);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            })?;
        }
        Ok(())
    }

    fn pump(&self, way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
        let (mut input, mut on, mut back) = (Vec::new(), Vec::new(), Vec::new());
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let n = from.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            if self.silent.load(Ordering::Relaxed) {
                self.swallowed.fetch_add(n as u64, Ordering::Relaxed);
                continue;
            }
            if way == Way::ToClient && self.drops_answers.load(Ordering::Relaxed) {
                self.dropped.fetch_add(n as u64, Ordering::Relaxed);
                continue;
            }
            let Some(lie) = &self.lie else {
                to.write_all(&buffer[..n])?;
                continue;
            };
            input.extend_from_slice(&buffer[..n]);
            let mut rest = input.as_slice();
            while let Scan::Frame { frame, rest: tail } = wire::scan(rest, FRAME_BYTES_MAX) {
                lie(way, frame, &mut on, &mut back);
                rest = tail;
            }
            let left = rest.len();
            input.drain(..input.len() - left);
            to.write_all(&on)?;
            from.write_all(&back)?;
            on.clear();
            back.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends everything back.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for mut s in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut b = [0; 64];
                    while let Ok(n @ 1..) = s.read(&mut b) {
                        if s.write_all(&b[..n]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        addr
    }

    fn ask(s: &mut TcpStream) -> io::Result<[u8; 4]> {
        s.write_all(b"ping")?;
        let mut b = [0; 4];
        s.read_exact(&mut b).map(|()| b)
    }

    #[test]
    fn connections_are_cut_fall_silent_and_lose_answers() {
        let proxy = Proxy::start(echo(), None).expect("a proxy");
        let connect = || {
            let s = TcpStream::connect(proxy.addr).expect("connected");
            s.set_read_timeout(Some(std::time::Duration::from_millis(200))).expect("set");
            s
        };
        let mut s = connect();
        assert_eq!(&ask(&mut s).expect("an answer"), b"ping");
        assert_eq!(proxy.cut(), 1);
        assert!(ask(&mut s).is_err(), "cut");
        let mut s = connect();
        proxy.drop_answers(true);
        assert!(ask(&mut s).is_err(), "the answer is lost");
        proxy.drop_answers(false);
        assert_eq!(&ask(&mut s).expect("an answer"), b"ping");
        proxy.fall_silent(true);
        assert!(ask(&mut s).is_err(), "silent");
        assert_eq!(proxy.lost(), Lost { swallowed: 4, dropped: 4 });
    }
}
