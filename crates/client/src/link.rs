//! A plain connection for seeding and questions: requests out, answers in, no retries.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tegata_wire::{self as wire, Answer, AnswerBody, FrameError, Hello, Scan};

/// How long a server may take to greet.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may say nothing to who asks: the whole log is read before a history's first entry may match.
const ANSWER_PATIENCE: Duration = Duration::from_secs(300);

/// What can go wrong on a link.
#[derive(Debug)]
pub enum LinkError {
    /// The socket.
    Io(io::Error),
    /// A frame.
    Frame(FrameError),
    /// The server refused the hello with this code, or chose a version that was not offered.
    Hello {
        /// `docs/codes.md`; 0 where the version is what is wrong.
        code: u16,
        /// The version that the server speaks.
        version: u16,
    },
    /// The server said something else than was expected.
    Unexpected(Box<AnswerBody>),
}

impl core::fmt::Display for LinkError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Frame(e) => e.fmt(f),
            Self::Hello { code: 0, version } => {
                write!(f, "it speaks version {version} of the protocol, and not {}", wire::VERSION)
            }
            Self::Hello { code, version } => {
                write!(f, "it refused the hello with code {code}; it speaks version {version} of the protocol")
            }
            Self::Unexpected(a) => write!(f, "unexpected answer {a:?}"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<io::Error> for LinkError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<FrameError> for LinkError {
    fn from(e: FrameError) -> Self {
        Self::Frame(e)
    }
}

/// A connection after its hello.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    /// What the server said to the hello.
    pub hello: wire::HelloAnswer,
}

impl Link {
    /// Connects and greets; gives up after [`PATIENCE`].
    pub fn open(addr: SocketAddr, operator: bool) -> Result<Self, LinkError> {
        Self::open_within(addr, operator, PATIENCE)
    }

    /// Connects and greets; gives up when either takes longer than `patience`.
    pub fn open_within(addr: SocketAddr, operator: bool, patience: Duration) -> Result<Self, LinkError> {
        Self::greet(addr, Hello { gateway: 1, role: if operator { 2 } else { 1 }, ..Hello::default() }, patience)
    }

    /// As a gateway that understands refusals which come together: [`Link::receive`] gives them as they came.
    pub fn open_together(addr: SocketAddr, patience: Duration) -> Result<Self, LinkError> {
        Self::greet(addr, Hello { gateway: 1, role: 1, together: true, ..Hello::default() }, patience)
    }

    /// As the gateway of this number.
    pub fn open_as(addr: SocketAddr, gateway: u32, patience: Duration) -> Result<Self, LinkError> {
        Self::greet(addr, Hello { gateway, role: 1, ..Hello::default() }, patience)
    }

    fn greet(addr: SocketAddr, hello: Hello, patience: Duration) -> Result<Self, LinkError> {
        let stream = TcpStream::connect_timeout(&addr, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        let mut link = Self { stream, buffer: Vec::new(), start: 0, hello: wire::HelloAnswer::default() };
        let mut out = Vec::new();
        let version = u16::from(wire::VERSION);
        Hello { version_min: version, version_max: version, ..hello }.encode(0, &mut out);
        link.send(&out)?;
        match link.receive()?.body {
            AnswerBody::Hello(hello) if hello.code == 0 && hello.version == version => link.hello = hello,
            AnswerBody::Hello(wire::HelloAnswer { code, version, .. }) => {
                return Err(LinkError::Hello { code, version });
            }
            other => return Err(LinkError::Unexpected(Box::new(other))),
        }
        link.answer_within(ANSWER_PATIENCE)?;
        Ok(link)
    }

    /// [`Link::receive`] fails when nothing comes for so long; 300 s where it is not said.
    pub fn answer_within(&self, patience: Duration) -> Result<(), LinkError> {
        Ok(self.stream.set_read_timeout(Some(patience))?)
    }

    /// Sends whole frames.
    pub fn send(&mut self, frames: &[u8]) -> Result<(), LinkError> {
        Ok(self.stream.write_all(frames)?)
    }

    /// The next answer.
    pub fn receive(&mut self) -> Result<Answer, LinkError> {
        loop {
            match wire::scan(&self.buffer[self.start..], wire::ANSWER_BYTES_MAX) {
                Scan::Frame { frame, .. } => {
                    wire::check_crc(frame)?;
                    let answer = wire::decode_answer(frame)?;
                    self.start += frame.len();
                    return Ok(answer);
                }
                Scan::Bad(e) => return Err(e.into()),
                Scan::Incomplete { .. } => {}
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk)? {
                0 => return Err(LinkError::Io(io::ErrorKind::UnexpectedEof.into())),
                n => self.buffer.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// The socket, to drive without blocking. Nothing of an answer has been read ahead.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_server_that_greets_and_then_says_nothing_is_not_waited_for_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut caller, _) = listener.accept().expect("a caller");
            let mut hello = [0; 4_096];
            assert!(caller.read(&mut hello).expect("a hello") > 0);
            let mut out = Vec::new();
            let answer = wire::HelloAnswer { version: u16::from(wire::VERSION), ..wire::HelloAnswer::default() };
            wire::encode_hello_answer(&mut out, 0, &answer);
            caller.write_all(&out).expect("it is read");
            // Nothing else comes from either side until the caller has gone.
            assert_eq!(caller.read(&mut hello).expect("an end"), 0);
        });
        let mut link = Link::open(addr, false).expect("a greeting");
        assert_eq!(link.stream.read_timeout().expect("a socket"), Some(ANSWER_PATIENCE));
        link.answer_within(Duration::from_millis(20)).expect("a socket");
        assert!(matches!(link.receive(), Err(LinkError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock));
        drop(link);
        server.join().expect("it saw the end");
    }
}
