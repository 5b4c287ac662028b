//! The sockets that callers are accepted on.

use crate::start::ServeError;
use std::net::{SocketAddr, TcpListener};

/// Connections that wait to be accepted: a gateway's whole pool comes back at once.
const BACKLOG: i32 = 4_096;

/// Bytes for what a connection sent and nobody read yet: as many small segments as a caller has credits, a kibibyte of the
/// kernel's memory each. What the kernel begins with is used up by far fewer; then it throws its work away and stops the
/// caller, who asks again 200 ms later.
const RECEIVE_BYTES: usize = 1 << 20;

/// Whether the kernel grants so much.
fn is_granted() -> bool {
    let max = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok().and_then(|max| max.trim().parse().ok());
    max.is_some_and(|max: usize| max >= RECEIVE_BYTES)
}

/// Who is accepted inherits it. Where it is not granted, the kernel is left to grow what it gives by itself.
fn widen(listener: &TcpListener) {
    if is_granted() {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(listener, RECEIVE_BYTES);
    }
}

pub(crate) fn listen(addr: SocketAddr) -> Result<TcpListener, ServeError> {
    let failed = |error| ServeError::Listen { addr, error };
    let listener = TcpListener::bind(addr).map_err(failed)?;
    widen(&listener);
    // Of more than wait at once the kernel drops the first packet, and a caller tries again a second later.
    rustix::net::listen(&listener, BACKLOG).map_err(|e| failed(e.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_accepted_has_room_for_all_that_it_may_send() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        listener.set_nonblocking(false).expect("it waits");
        let addr = listener.local_addr().expect("an address");
        let _caller = std::net::TcpStream::connect(addr).expect("a connection");
        let (accepted, _) = listener.accept().expect("a caller");
        let room = rustix::net::sockopt::socket_recv_buffer_size(&accepted).expect("a size");
        assert_eq!(room >= RECEIVE_BYTES, is_granted(), "{room} bytes");
    }
}
