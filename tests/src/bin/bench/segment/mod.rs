//! L2 announcements: ARP answers a second, the latency of one, and how long an address is without a holder. Us, then
//! MetalLB in our place: two nodes and a client on one segment, and a real API server.

mod contender;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use tests::lab::Node;
use tests::wait::eventually;

use self::contender::World;

use crate::report::{median, quantile, table, time};
use crate::{Options, heading};

const DEADLINE: Duration = Duration::from_secs(60);
const LEASE: &str = "3s";
/// How many requests may be unanswered.
const WINDOW: usize = 64;
const FLOOD: Duration = Duration::from_secs(5);
const FAILOVERS: usize = 10;
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How often in a row the same node alone has to answer before it counts as the holder.
const SETTLED: usize = 20;

/// Runs all of it and prints the tables.
pub(crate) fn run(options: &Options) {
    heading(&format!("L2: ARP, and failover {FAILOVERS} times each; leaseDuration {LEASE}"));
    let (mut arps, mut failovers) = (Vec::new(), Vec::new());
    for start in [contender::speaker, contender::metallb] {
        let mut world = World::new(start);
        let asker = Asker::new(&world.client, CLIENT);
        settled(&asker, &world);
        arps.push(arp(&asker, world.contender.name(), options));
        for orderly in [true, false] {
            failovers.push(failover(&mut world, &asker, orderly));
        }
    }
    table(
        &["", "answers a second", "nothing for 200 ms", "one at a time: median", "99 of 100", "longest"],
        &arps,
    );
    table(&["", "the holder goes", "shortest", "median", "longest"], &failovers);
}

/// A client of ARP on the one interface of its namespace.
struct Asker {
    socket: OwnedFd,
    link: LinkAddr,
    own: Ipv4Addr,
}

impl Asker {
    fn new(node: &Node, own: Ipv4Addr) -> Self {
        let (socket, link) = node.inside(|| {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)
                    .expect("packet socket");
            let patience = TimeVal::new(0, 200_000);
            setsockopt(&socket, sockopt::ReceiveTimeout, &patience).expect("SO_RCVTIMEO");
            let mut all = getifaddrs().expect("interfaces");
            let link = all.find_map(|one| {
                let address = one.address.filter(|_| one.interface_name == "eth0")?;
                address.as_link_addr().copied()
            });
            (socket, link.expect("eth0"))
        });
        Self { socket, link, own }
    }

    fn ask(&self) {
        let mac = self.link.addr().expect("Ethernet address");
        let mut frame = Vec::with_capacity(60);
        frame.extend([0xff; 6]);
        frame.extend(mac);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(mac);
        frame.extend(self.own.octets());
        frame.extend([0; 6]);
        frame.extend(VIP.octets());
        frame.resize(60, 0);
        sendto(self.socket.as_raw_fd(), &frame, &self.link, MsgFlags::empty()).expect("send");
    }

    /// Waits for an answer, 200 ms at most between any two frames.
    fn answered(&self) -> bool {
        self.answered_by().is_some()
    }

    /// Everybody who answers one request within a while.
    fn answerers(&self) -> BTreeSet<[u8; 6]> {
        let begun = Instant::now();
        self.ask();
        let mut all = BTreeSet::new();
        while begun.elapsed() < Duration::from_millis(20) {
            let mut frame = [0; 128];
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                Ok(n) => all.extend(answer(&frame, n)),
                Err(_) => std::thread::yield_now(),
            }
        }
        all
    }

    /// The same: whose Ethernet address it tells.
    fn answered_by(&self) -> Option<[u8; 6]> {
        let mut frame = [0; 128];
        loop {
            let n = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
            if let Some(by) = answer(&frame, n) {
                return Some(by);
            }
        }
    }
}

/// Who says in a frame of `n` octets that the address is his.
fn answer(frame: &[u8; 128], n: usize) -> Option<[u8; 6]> {
    let reply = n >= 42 && frame[12..14] == [8, 6] && frame[20..22] == [0, 2];
    let ours = reply && frame[28..32] == VIP.octets();
    ours.then(|| frame[22..28].try_into().ok()).flatten()
}

/// One node alone answers, for a while: which one.
fn settled(asker: &Asker, world: &World) -> usize {
    let (mut last, mut times) = (None, 0);
    eventually(DEADLINE, "one node alone answers", || {
        let by = asker.answerers();
        let holder = (by.len() == 1).then(|| by.first().and_then(|mac| world.node_of(*mac))).flatten();
        times = if holder.is_some() && holder == last { times + 1 } else { 0 };
        last = holder;
        holder.filter(|_| times >= SETTLED).ok_or_else(|| format!("{by:?}"))
    })
}

fn arp(asker: &Asker, name: &str, options: &Options) -> Vec<String> {
    let mut times = Vec::new();
    for _ in 0..options.samples.max(2000) {
        let begun = Instant::now();
        asker.ask();
        if asker.answered() {
            times.push(begun.elapsed());
        }
    }
    let (begun, mut answers, mut lost) = (Instant::now(), 0_u32, 0_u32);
    (0..WINDOW).for_each(|_| asker.ask());
    while begun.elapsed() < FLOOD {
        if asker.answered() {
            answers += 1;
        } else {
            lost += 1;
        }
        asker.ask();
    }
    let rate = f64::from(answers) / begun.elapsed().as_secs_f64();
    // What is still under way belongs to nothing that follows.
    while asker.answered() {}
    vec![
        name.to_owned(),
        format!("{rate:.0}"),
        lost.to_string(),
        time(median(&times)),
        time(quantile(&times, 0.99)),
        time(quantile(&times, 1.0)),
    ]
}

/// From the loss until the client is answered by the node that is left.
fn failover(world: &mut World, asker: &Asker, orderly: bool) -> Vec<String> {
    let mut times = Vec::new();
    for _ in 0..FAILOVERS {
        let holder = settled(asker, world);
        let process = world.contender.process(holder).clone();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if orderly {
                    process.terminate();
                } else {
                    process.kill();
                }
            });
            eventually(DEADLINE, "the other one answers", || {
                asker.ask();
                let by = asker.answered_by().and_then(|mac| world.node_of(mac));
                if by.is_some_and(|by| by != holder) { Ok(()) } else { Err(format!("{by:?}")) }
            });
            times.push(begun.elapsed());
        });
        world.contender.start_again(holder);
    }
    let how = if orderly { "orderly (SIGTERM)" } else { "crash (SIGKILL)" };
    vec![
        world.contender.name().to_owned(),
        how.to_owned(),
        time(quantile(&times, 0.0)),
        time(median(&times)),
        time(quantile(&times, 1.0)),
    ]
}
