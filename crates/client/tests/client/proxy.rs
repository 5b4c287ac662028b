//! A TCP proxy that passes, swallows or cuts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of bytes.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub(crate) enum Mode {
    Pass = 0,
    /// What the server says after its hello is lost.
    LoseAnswers = 1,
    /// What the caller says after its hello is lost.
    LoseRequests = 2,
    /// The connection ends with the first answer after the hello.
    CutAtAnswer = 3,
    /// Connections are closed as soon as they are made.
    Refuse = 4,
}

pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    mode: Arc<AtomicU8>,
    lost: Arc<AtomicU32>,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let (mode, lost) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicU32::new(0)));
        let (m, l) = (Arc::clone(&mode), Arc::clone(&lost));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if m.load(Ordering::SeqCst) == Mode::Refuse as u8 {
                    continue;
                }
                let Ok(far) = TcpStream::connect(server).await else { continue };
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(pump(near_read, far_write, Mode::LoseRequests, Arc::clone(&m), Arc::clone(&l)));
                tokio::spawn(pump(far_read, near_write, Mode::LoseAnswers, Arc::clone(&m), Arc::clone(&l)));
            }
        });
        Self { addr, mode, lost }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// How often something was lost: the fault is shown to have happened.
    pub(crate) fn losses(&self) -> u32 {
        self.lost.load(Ordering::SeqCst)
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    loses: Mode,
    mode: Arc<AtomicU8>,
    lost: Arc<AtomicU32>,
) {
    let mut buffer = vec![0; 65_536];
    let mut hello = true;
    loop {
        let Ok(n @ 1..) = from.read(&mut buffer).await else { return };
        let now = mode.load(Ordering::SeqCst);
        let first = std::mem::replace(&mut hello, false);
        if !first && now == loses as u8 {
            lost.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        if !first && now == Mode::CutAtAnswer as u8 && loses == Mode::LoseAnswers {
            lost.fetch_add(1, Ordering::SeqCst);
            mode.store(Mode::Pass as u8, Ordering::SeqCst);
            return;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
