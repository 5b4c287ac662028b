//! What needs the kernel's own interfaces: a file system that is shut down, and a system call that is forbidden.
#![allow(unsafe_code, reason = "neither has a safe wrapper among the dependencies")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `_IOR('X', 125, u32)`: the same for ext4 and xfs.
const SHUTDOWN: libc::c_ulong = 0x8004_587D;
/// Nothing is flushed first, not even the file system's own log.
const NO_LOG_FLUSH: u32 = 2;

/// Shuts the file system of a folder down, as it is: from now on all of it fails, and what was not flushed is lost.
pub(crate) fn shut_down(folder: &Path) -> io::Result<()> {
    let folder = File::open(folder)?;
    // SAFETY: the call reads one u32 at the given address, and the descriptor is open.
    match unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN, &NO_LOG_FLUSH) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Loads the number of the system call.
const LOAD_NUMBER: libc::sock_filter = filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0);

const fn filter(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// From now on, in this process and what it starts, `io_uring_setup` is not permitted.
pub(crate) fn forbid_io_uring() -> io::Result<()> {
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut program = [
        LOAD_NUMBER,
        filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        filter(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
        filter(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: both calls take numbers, and the second one reads the program, which lives until it returns.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    if set { Ok(()) } else { Err(io::Error::last_os_error()) }
}
