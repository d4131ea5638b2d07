//! The thread's place in the scheduler.
#![expect(unsafe_code, reason = "one system call that no safe crate has; it says why it is sound")]

use std::io;

/// Asks for the lowest real-time priority: above everything that is not, below the kernel's own. Needs
/// CAP_SYS_NICE.
pub(super) fn real_time() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 1 };
    // Children, of which there are none, would not inherit it.
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread; the pointer is to a live parameter, which the kernel only reads.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
