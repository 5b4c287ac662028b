//! One connection's TLS, of either side, without a socket.

use crate::name;
use rustls::{ClientConnection, ServerConnection};
use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use tegata_wire::{Tunnel, TunnelError};

/// Plain bytes that are taken at once.
const CHUNK_BYTES: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) enum Tls {
    Server(Box<ServerConnection>),
    Client(Box<ClientConnection>),
}

macro_rules! both {
    ($tls:expr, $c:ident => $does:expr) => {
        match $tls {
            Tls::Server($c) => $does,
            Tls::Client($c) => $does,
        }
    };
}

fn failed(e: impl core::fmt::Display) -> TunnelError {
    TunnelError(format!("TLS: {e}"))
}

fn open<C, S>(c: &mut C, mut sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), TunnelError>
where
    C: DerefMut + Deref<Target = rustls::ConnectionCommon<S>>,
    S: rustls::SideData,
{
    let mut chunk = [0; CHUNK_BYTES];
    while !sealed.is_empty() {
        // All of it: what was taken is handed on before more is.
        c.read_tls(&mut sealed).map_err(failed)?;
        c.process_new_packets().map_err(failed)?;
        loop {
            match c.reader().read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => plain.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(failed(e)),
            }
        }
    }
    Ok(())
}

impl Tunnel for Tls {
    fn open(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), TunnelError> {
        both!(self, c => open(&mut **c, sealed, plain))
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), TunnelError> {
        both!(self, c => {
            c.writer().write_all(plain).map_err(failed)?;
            while c.wants_write() {
                c.write_tls(sealed).map_err(failed)?;
            }
            Ok(())
        })
    }

    fn is_opening(&self) -> bool {
        both!(self, c => c.is_handshaking())
    }

    fn peer(&self) -> Option<(u8, u32)> {
        // Until both sides have finished nothing is proven.
        if self.is_opening() {
            return None;
        }
        both!(self, c => c.peer_certificates().and_then(<[_]>::first).and_then(name::caller))
    }
}
