//! L2 announcements: ARP answers a second, the latency of one, and how long an address is without a holder. Us, then
//! MetalLB in our place: two nodes and a client on one segment, and a real API server.

mod contender;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tests::asker::Asker;
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

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// The same where the moment counts at which there is an answer again: the next request follows.
const OFTEN: Duration = Duration::from_millis(2);

/// How often in a row the same node alone has to answer before it counts as the holder.
const SETTLED: usize = 20;

/// Runs all of it and prints the tables.
pub(crate) fn run(options: &Options) {
    heading(&format!("L2: ARP, and failover {FAILOVERS} times each; leaseDuration {LEASE}"));
    let (mut arps, mut failovers) = (Vec::new(), Vec::new());
    for start in [contender::speaker, contender::metallb] {
        let mut world = World::new(start);
        let asker = Asker::new(&world.client, CLIENT, VIP, PATIENCE);
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

/// One node alone answers, for a while: which one.
fn settled(asker: &Asker, world: &World) -> usize {
    let (mut last, mut times) = (None, 0);
    eventually(DEADLINE, "one node alone answers", || {
        let by = asker.answerers(Duration::from_millis(20));
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
        if asker.answered_by().is_some() {
            times.push(begun.elapsed());
        }
    }
    let (begun, mut answers, mut lost) = (Instant::now(), 0_u32, 0_u32);
    (0..WINDOW).for_each(|_| asker.ask());
    while begun.elapsed() < FLOOD {
        if asker.answered_by().is_some() {
            answers += 1;
        } else {
            lost += 1;
        }
        asker.ask();
    }
    let rate = f64::from(answers) / begun.elapsed().as_secs_f64();
    // What is still under way belongs to nothing that follows.
    while asker.answered_by().is_some() {}
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
        // One that has heard nothing of what was before.
        let often = Asker::new(&world.client, CLIENT, VIP, OFTEN);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if orderly {
                    process.terminate();
                } else {
                    process.kill();
                }
            });
            // Requests every few milliseconds: one that is not answered must not hide that the next one would be.
            loop {
                often.ask();
                let by = often.answered_by().and_then(|mac| world.node_of(mac));
                if by.is_some_and(|by| by != holder) {
                    break;
                }
                assert!(begun.elapsed() < DEADLINE, "the other one does not answer: {by:?}");
            }
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
