//! What connections to the kernel's notifications are not woken for: a full table of learned routes is a million of them.
//!
//! Programs for the socket (BPF), so that what they drop neither displaces anything else nor costs this process anything.

use std::io;
use std::os::fd::AsFd;

use socket2::{SockFilter, SockRef};
use speaker_core::datapath::PROTOCOL;

/// RT_TABLE_MAIN.
const MAIN: u32 = 254;

/// BPF_LD with BPF_ABS, of BPF_B, BPF_H and BPF_W; BPF_JMP with BPF_JEQ; BPF_RET (linux/bpf_common.h).
const LOAD_8: u16 = 0x30;
const LOAD_16: u16 = 0x28;
const LOAD_32: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const KEEP: SockFilter = SockFilter::new(RETURN, 0, 0, u32::MAX);
const DROP: SockFilter = SockFilter::new(RETURN, 0, 0, 0);

/// Where fields stand: nlmsg_type, nlmsg_pid, rtm_table, rtm_protocol (linux/netlink.h, linux/rtnetlink.h).
mod at {
    pub(super) const TYPE: u32 = 4;
    pub(super) const PORT: u32 = 12;
    pub(super) const TABLE: u32 = 20;
    pub(super) const PROTOCOL: u32 = 21;
}

/// Types of messages about routes, as the program reads them: in the order of the network, where netlink writes in that
/// of the host.
fn route_types() -> [u32; 2] {
    [libc::RTM_NEWROUTE, libc::RTM_DELROUTE].map(|kind| u32::from(kind.to_be()))
}

/// Without changes of routes that were made by the socket with this netlink port.
pub(super) fn without_own(socket: impl AsFd, port: u32) -> io::Result<()> {
    let [new, gone] = route_types();
    // The numbers of a comparison say how many lines are passed over where it holds, and where it does not.
    SockRef::from(&socket).attach_filter(&[
        SockFilter::new(LOAD_16, 0, 0, at::TYPE),
        SockFilter::new(IF_EQUAL, 1, 0, new),
        SockFilter::new(IF_EQUAL, 0, 2, gone),
        SockFilter::new(LOAD_32, 0, 0, at::PORT),
        SockFilter::new(IF_EQUAL, 1, 0, port.to_be()),
        KEEP,
        DROP,
    ])
}

/// Without learned routes: those of our protocol in the main table, whoever changes them.
pub(super) fn without_learned(socket: impl AsFd) -> io::Result<()> {
    let [new, gone] = route_types();
    SockRef::from(&socket).attach_filter(&[
        SockFilter::new(LOAD_16, 0, 0, at::TYPE),
        SockFilter::new(IF_EQUAL, 1, 0, new),
        SockFilter::new(IF_EQUAL, 0, 4, gone),
        SockFilter::new(LOAD_8, 0, 0, at::PROTOCOL),
        SockFilter::new(IF_EQUAL, 0, 2, PROTOCOL.into()),
        SockFilter::new(LOAD_8, 0, 0, at::TABLE),
        SockFilter::new(IF_EQUAL, 1, 0, MAIN),
        KEEP,
        DROP,
    ])
}
