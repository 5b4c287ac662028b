//! Yardsticks: an echo that answers every frame after its bytes are durable in the same journal, on one thread, with no
//! engine behind it: what Tegata adds to this is what it does. And one that answers at once: what a generator can offer.

use rustix::event::epoll;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use tegata_journal::{BatchMeta, Options, Writer, open};
use tegata_wire::{self as wire, DecisionBody, HelloAnswer, Scan};

const LISTENER: u64 = u64::MAX;
const JOURNAL: u64 = u64::MAX - 1;
const STDIN: u64 = u64::MAX - 2;
/// Bytes read from a caller at once.
const READ_BYTES: usize = 64 << 10;
/// As the server's: a batch is sealed when nothing is in flight, or when so much has gathered.
const SEAL_BYTES: usize = 64 << 10;
const IN_FLIGHT_MAX: usize = 4;

struct Caller {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
}

struct Batch {
    last: u64,
    waiting: Vec<(usize, u64)>,
}

/// Answers what is durable, until standard input is closed.
pub fn serve_echo(data: &Path) -> io::Result<()> {
    let journal = open(Options::new(data)).map_err(io::Error::other)?;
    serve(Some(journal.into_writer().map_err(io::Error::other)?))
}

/// Answers at once, until standard input is closed.
pub(crate) fn serve_bare_echo() -> io::Result<()> {
    serve(None)
}

fn serve(mut writer: Option<Writer>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let add = |fd: &dyn AsFd, n| epoll::add(&poll, fd.as_fd(), epoll::EventData::new_u64(n), epoll::EventFlags::IN);
    add(&listener, LISTENER)?;
    add(&io::stdin(), STDIN)?;
    match writer.as_ref().map(Writer::completions) {
        Some(Some(fd)) => add(&fd, JOURNAL)?,
        Some(None) => return Err(io::Error::other("the echo needs io_uring")),
        None => {}
    }
    println!("ready addr={0} operate={0}", listener.local_addr()?);
    let mut callers: Vec<Caller> = Vec::new();
    let (mut open, mut body) = (Vec::new(), Vec::new());
    let mut in_flight: VecDeque<Batch> = VecDeque::new();
    let mut position = 0;
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            match event.data.u64() {
                STDIN => return writer.map_or(Ok(()), |w| w.close().map_err(io::Error::other)),
                JOURNAL => {}
                LISTENER => {
                    while let Ok((stream, _)) = listener.accept() {
                        stream.set_nonblocking(true)?;
                        stream.set_nodelay(true)?;
                        add(&stream, callers.len() as u64)?;
                        callers.push(Caller { stream, input: vec![0; READ_BYTES], filled: 0, output: Vec::new() });
                    }
                }
                n => take(&mut callers, n as usize, &mut open, &mut body)?,
            }
        }
        let Some(writer) = &mut writer else {
            answer(&mut callers, &Batch { last: 0, waiting: std::mem::take(&mut open) })?;
            body.clear();
            continue;
        };
        let flushed = writer.reap().map_err(io::Error::other)?;
        while in_flight.front().is_some_and(|b| b.last <= flushed) {
            if let Some(batch) = in_flight.pop_front() {
                answer(&mut callers, &batch)?;
            }
        }
        let full = body.len() >= SEAL_BYTES && in_flight.len() < IN_FLIGHT_MAX;
        if !open.is_empty() && (in_flight.is_empty() || full) && writer.has_room() {
            let batch = seal(writer, &mut position, std::mem::take(&mut open), &body)?;
            in_flight.push_back(batch);
            body.clear();
        }
    }
}

fn seal(w: &mut Writer, position: &mut u64, waiting: Vec<(usize, u64)>, body: &[u8]) -> io::Result<Batch> {
    let count = waiting.len() as u32;
    let meta = BatchMeta { first_position: *position + 1, count, at_us: 0, margin: [0; 64] };
    w.append(&meta, &[body]).map_err(io::Error::other)?;
    *position += u64::from(count);
    Ok(Batch { last: *position, waiting })
}

fn take(callers: &mut [Caller], n: usize, open: &mut Vec<(usize, u64)>, body: &mut Vec<u8>) -> io::Result<()> {
    let c = &mut callers[n];
    match c.stream.read(&mut c.input[c.filled..]) {
        Ok(0) => {
            let _ = c.stream.shutdown(std::net::Shutdown::Both);
            return Ok(());
        }
        Ok(n) => c.filled += n,
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(_) => return Ok(()),
    }
    let mut rest = &c.input[..c.filled];
    while let Scan::Frame { frame, rest: tail } = wire::scan(rest, wire::FRAME_BYTES_MAX) {
        wire::check_crc(frame).map_err(io::Error::other)?;
        let header = wire::request_header(frame).map_err(io::Error::other)?;
        if header.kind == wire::KIND_HELLO {
            let hello = HelloAnswer { version: 1, credits: 65_536, ..HelloAnswer::default() };
            wire::encode_hello_answer(&mut c.output, header.request_id, &hello);
        } else {
            body.extend_from_slice(&frame[8..]);
            open.push((n, header.request_id));
        }
        rest = tail;
    }
    let left = rest.len();
    c.input.copy_within(c.filled - left..c.filled, 0);
    c.filled = left;
    flush(c);
    Ok(())
}

fn answer(callers: &mut [Caller], batch: &Batch) -> io::Result<()> {
    let mut last = None;
    for (n, request) in &batch.waiting {
        let c = &mut callers[*n];
        wire::encode_decision_answer(&mut c.output, 4, 0, 1, *request, &DecisionBody::default());
        if let Some(l) = last.filter(|l| l != n) {
            flush(&mut callers[l]);
        }
        last = Some(*n);
    }
    if let Some(l) = last {
        flush(&mut callers[l]);
    }
    Ok(())
}

fn flush(c: &mut Caller) {
    let mut written = 0;
    while written < c.output.len() {
        match c.stream.write(&c.output[written..]) {
            Ok(n) => written += n,
            Err(_) => break,
        }
    }
    c.output.drain(..written);
}
