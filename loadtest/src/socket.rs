//! One connection of the generator. It never blocks: answers are taken one by one from what was read, and what is to be
//! sent gathers until it is flushed.

use rustix::event::epoll;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use tegata_client::{Link, LinkError};
use tegata_wire::{self as wire, DecisionBody, Scan};

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// A connection that is greeted and watched.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// What an event on it carries.
    name: u64,
    input: Input,
    /// Frames that are to be sent.
    pub(crate) output: Vec<u8>,
    written: usize,
    writable_wanted: bool,
    /// The highest count of an answer that was seen; the next request acknowledges up to it.
    pub(crate) acked: u32,
}

/// What was read, from which answers are taken.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
    /// Refusals that came together and were not taken yet.
    refusals: VecDeque<(u64, DecisionBody)>,
}

/// An answer with a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    /// The request's number.
    pub(crate) request: u64,
    /// The server's count of answers on this connection.
    pub(crate) count: u32,
    pub(crate) decision: DecisionBody,
}

impl Socket {
    /// Takes a greeted connection over. Events on it carry `name`.
    pub(crate) fn new(link: Link, poll: &OwnedFd, name: u64) -> io::Result<Self> {
        let stream = link.into_stream();
        stream.set_nonblocking(true)?;
        epoll::add(poll, &stream, epoll::EventData::new_u64(name), epoll::EventFlags::IN)?;
        let input = Input { bytes: vec![0; READ_BYTES], ..Input::default() };
        Ok(Self { stream, name, input, output: Vec::new(), written: 0, writable_wanted: false, acked: 0 })
    }

    /// Reads once. Nothing: there was nothing. The input is to be given back. An error: the connection is gone.
    pub(crate) fn read(&mut self) -> io::Result<Option<Input>> {
        match self.stream.read(&mut self.input.bytes[self.input.to..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.input.to += n;
                Ok(Some(std::mem::take(&mut self.input)))
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// After [`Socket::read`]: the beginning of a frame stays.
    pub(crate) fn give_back(&mut self, mut input: Input) {
        input.bytes.copy_within(input.from..input.to, 0);
        (input.from, input.to) = (0, input.to - input.from);
        self.input = input;
    }

    /// Writes as much as there is room for; the rest when there is room again.
    pub(crate) fn flush(&mut self, poll: &OwnedFd) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        let blocked = self.written < self.output.len();
        if !blocked {
            self.output.clear();
            self.written = 0;
        }
        if blocked != self.writable_wanted {
            self.writable_wanted = blocked;
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, blocked);
            epoll::modify(poll, &self.stream, epoll::EventData::new_u64(self.name), flags)?;
        }
        Ok(())
    }
}

impl Input {
    /// The next decision; everything else that a server says is passed over.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Heard>, LinkError> {
        loop {
            if let Some((request, decision)) = self.refusals.pop_front() {
                return Ok(Some(Heard { request, count: 0, decision }));
            }
            let frame = match wire::scan(&self.bytes[self.from..self.to], wire::ANSWER_BYTES_MAX) {
                Scan::Frame { frame, .. } => frame,
                Scan::Incomplete { .. } => return Ok(None),
                Scan::Bad(e) => return Err(e.into()),
            };
            wire::check_crc(frame)?;
            let (header, body) = wire::answer_header(frame)?;
            self.from += frame.len();
            if header.kind <= wire::KIND_COMMAND_MAX {
                let decision = DecisionBody::decode(body)?;
                return Ok(Some(Heard { request: header.request_id, count: header.number, decision }));
            }
            if header.kind == wire::KIND_REFUSALS {
                self.refusals.extend(wire::refusals(body)?);
            }
        }
    }
}
