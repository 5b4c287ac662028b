//! The frames of the connection itself: hello, ping, goodbye.

use crate::frame::{
    FLAG_TOGETHER, FrameError, KIND_GOODBYE, KIND_HELLO, KIND_PING, REQUEST_HEADER_BYTES, RequestHeader,
    put_answer_header, seal,
};
use tegata_model::{Reader, Writer};

/// Namespaces that one hello may name.
pub const NAMESPACES_MAX: usize = 16;

/// Who calls.
///
/// ```text
/// 0 u16 version min | 2 u16 version max | 4 u32 gateway | 8 u8 role | 9 u8 auth method | 10 u16 namespaces
/// 12 u32 credits wanted | 16 [32] auth | 48 u32 × namespaces, padded to 8
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// Oldest protocol version the caller speaks.
    pub version_min: u16,
    /// Newest protocol version the caller speaks.
    pub version_max: u16,
    /// The gateway's number.
    pub gateway: u32,
    /// 1 gateway, 2 operator.
    pub role: u8,
    /// [`crate::AUTH_NONE`] or [`crate::AUTH_SECRET`].
    pub auth_method: u8,
    /// It understands refusals that come together. The flag [`FLAG_TOGETHER`] of the header; no proof covers it.
    pub together: bool,
    /// Requests it wants to have in flight; the answer says how many it may.
    pub credits: u32,
    /// Zero with method 0, else what [`crate::Exchange::sign`] gives.
    pub auth: [u8; 32],
    /// Whose keys it carries; empty: any that it may.
    pub namespaces: Vec<u32>,
}

impl Hello {
    /// Appends the frame.
    pub fn encode(&self, request_id: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let flags = if self.together { FLAG_TOGETHER } else { 0 };
        RequestHeader { kind: KIND_HELLO, flags, request_id, ..RequestHeader::default() }.put(out);
        let listed = &self.namespaces[..self.namespaces.len().min(NAMESPACES_MAX)];
        let mut w = Writer::new(out);
        w.u16(self.version_min).u16(self.version_max).u32(self.gateway).u8(self.role).u8(self.auth_method);
        w.u16(listed.len() as u16).u32(self.credits).bytes(&self.auth);
        for n in listed {
            w.u32(*n);
        }
        if listed.len() % 2 == 1 {
            w.u32(0);
        }
        seal(out, start);
    }

    pub(crate) fn decode(frame: &[u8], flags: u16) -> Result<Self, FrameError> {
        let mut r = Reader::new(frame.get(REQUEST_HEADER_BYTES..).ok_or(FrameError::Short)?);
        let (version_min, version_max, gateway) = (r.u16()?, r.u16()?, r.u32()?);
        let (role, auth_method, count, credits) = (r.u8()?, r.u8()?, r.u16()?, r.u32()?);
        let auth = r.array()?;
        if usize::from(count) > NAMESPACES_MAX {
            return Err(FrameError::Field { name: "namespaces" });
        }
        let namespaces = (0..count).map(|_| r.u32()).collect::<Result<Vec<u32>, _>>()?;
        if !r.rest_is_zero() {
            return Err(FrameError::Reserved);
        }
        let together = flags & FLAG_TOGETHER != 0;
        Ok(Self { version_min, version_max, gateway, role, auth_method, together, credits, auth, namespaces })
    }
}

/// What the server says to a hello.
///
/// ```text
/// 0 u16 version | 2 u16 code | 4 u32 frame bytes max | 8 u32 credits | 12 u32 idle limit ms
/// 16 i64 server time µs | 24 u64 position | 32 u64 features | 40 [16] store id
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HelloAnswer {
    /// The version that is spoken from here on.
    pub version: u16,
    /// 0, or why the server will close the connection.
    pub code: u16,
    /// The longest request frame.
    pub frame_bytes_max: u32,
    /// Requests that may be in flight.
    pub credits: u32,
    /// A connection that sends nothing for so long is closed, in ms.
    pub idle_limit_ms: u32,
    /// The server's clock, µs UTC.
    pub server_time: i64,
    /// Its applied position.
    pub position: u64,
    /// None is defined: zero.
    pub features: u64,
    /// The data folder's id.
    pub store_id: [u8; 16],
}

/// Appends the answer to a hello.
pub fn encode_hello_answer(out: &mut Vec<u8>, request_id: u64, a: &HelloAnswer) {
    let start = out.len();
    put_answer_header(out, KIND_HELLO, 0, 0, request_id);
    let mut w = Writer::new(out);
    w.u16(a.version).u16(a.code).u32(a.frame_bytes_max).u32(a.credits).u32(a.idle_limit_ms);
    w.i64(a.server_time).u64(a.position).u64(a.features).bytes(&a.store_id);
    seal(out, start);
}

impl HelloAnswer {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut r = Reader::new(body);
        Ok(Self {
            version: r.u16()?,
            code: r.u16()?,
            frame_bytes_max: r.u32()?,
            credits: r.u32()?,
            idle_limit_ms: r.u32()?,
            server_time: r.i64()?,
            position: r.u64()?,
            features: r.u64()?,
            store_id: r.array()?,
        })
    }
}

/// Appends the answer to a ping: the server's clock, µs UTC.
pub fn encode_pong(out: &mut Vec<u8>, request_id: u64, server_time: i64) {
    let start = out.len();
    put_answer_header(out, KIND_PING, 0, 0, request_id);
    out.extend_from_slice(&server_time.to_le_bytes());
    seal(out, start);
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseReason {
    /// The server is stopping; what is in flight is still answered.
    Draining = 1,
    /// Nothing came for too long.
    Idle = 2,
    /// A frame broke a rule.
    ProtocolError = 3,
    /// A frame was longer than agreed.
    FrameTooLarge = 4,
    /// A frame's checksum did not hold.
    BadChecksum = 5,
    /// No version in common.
    Version = 6,
    /// Too many connections.
    Overload = 7,
    /// The journal failed; what is in flight is unknown.
    Failed = 8,
    /// The caller did not prove who it is, or is known no longer.
    Unauthenticated = 9,
}

impl CloseReason {
    /// From its number.
    #[must_use]
    pub fn from_u16(n: u16) -> Option<Self> {
        Some(match n {
            1 => Self::Draining,
            2 => Self::Idle,
            3 => Self::ProtocolError,
            4 => Self::FrameTooLarge,
            5 => Self::BadChecksum,
            6 => Self::Version,
            7 => Self::Overload,
            8 => Self::Failed,
            9 => Self::Unauthenticated,
            _ => return None,
        })
    }

    /// Its words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Draining => "the server is stopping",
            Self::Idle => "nothing came for too long",
            Self::ProtocolError => "a frame broke a rule of the protocol",
            Self::FrameTooLarge => "a frame was longer than agreed",
            Self::BadChecksum => "a frame's checksum did not hold",
            Self::Version => "no protocol version in common",
            Self::Overload => "too many connections",
            Self::Failed => "the journal failed; what is in flight is unknown",
            Self::Unauthenticated => "the caller did not prove who it is, or is known no longer",
        }
    }
}

/// The end of a connection: `0 u16 reason | 2 zero | 4 u32 retry after ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye {
    /// Why.
    pub reason: CloseReason,
    /// When to come back, in ms; 0: not said.
    pub retry_after_ms: u32,
}

/// Appends a goodbye of the server.
pub fn encode_goodbye(out: &mut Vec<u8>, reason: CloseReason, retry_after_ms: u32) {
    let start = out.len();
    put_answer_header(out, KIND_GOODBYE, 0, 0, 0);
    Writer::new(out).u16(reason as u16).u16(0).u32(retry_after_ms);
    seal(out, start);
}

impl Goodbye {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut r = Reader::new(body);
        let reason = CloseReason::from_u16(r.u16()?).ok_or(FrameError::Field { name: "reason" })?;
        let zero = r.u16()?;
        if zero != 0 { Err(FrameError::Reserved) } else { Ok(Self { reason, retry_after_ms: r.u32()? }) }
    }
}
