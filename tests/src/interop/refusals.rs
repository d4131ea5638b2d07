//! What the speaker refuses, and how it says so.

use super::{Bench, OUR_AS, SESSIONS, SOON, Setup};
use crate::bgp;
use crate::daemon::Kind;
use crate::daemon::features::{Feature, lack};
use crate::pair::nodes;
use crate::pcap::Capture;
use crate::wait::eventually;

/// Starts the bench and waits until the speaker has sent `code`/`subcode` on both sessions and said so in its
/// log with `words`. Read from the wire: the daemon may have closed before it reads.
#[track_caller]
fn refused(setup: &Setup, code: u8, subcode: u8, words: &[&str]) {
    let nodes = nodes();
    let capture = Capture::start(&nodes.0, &nodes.2, "eth0");
    let bench = setup.start_on(nodes);
    for (name, family) in SESSIONS {
        eventually(SOON, &format!("the speaker sends {code}/{subcode} on {name}"), || {
            let messages = bgp::messages(&capture.segments());
            let ours = messages.iter().filter(|m| m.from.ip() == Bench::ours(family));
            let sent: Vec<_> = ours.filter_map(bgp::Message::notification).collect();
            if sent.contains(&(code, subcode)) { Ok(()) } else { Err(format!("{sent:?}")) }
        });
        let words: Vec<&str> = [name].iter().chain(words).copied().collect();
        bench.speaker.wait_log(&words, SOON);
        assert_ne!(bench.speaker.peer(name)["state"], "Established");
    }
}

/// The daemon's AS is not the one that is configured for it: 2/2.
///
/// # Panics
/// If it is told anything else.
pub fn wrong_as(kind: Kind) {
    let setup = Setup { peer_keys: "asn: 64999".to_owned(), ..Setup::new(kind) };
    refused(&setup, 2, 2, &["Bad Peer AS", "64999", "64502"]);
}

/// Inside one AS the daemon has our identifier (RFC 6286): 2/3.
///
/// # Panics
/// If it is told anything else.
pub fn identifier_clash(kind: Kind) {
    let setup = Setup {
        router_as: OUR_AS,
        router_id: [10, 0, 0, 1],
        peer_keys: "asn: internal".to_owned(),
        ..Setup::new(kind)
    };
    refused(&setup, 2, 3, &["Bad BGP Identifier", "10.0.0.1"]);
}

/// Both sides say that they are the customer (RFC 9234 §4.2): 2/11. A daemon without roles is let in.
///
/// # Panics
/// If not.
pub fn role_clash(kind: Kind) {
    let peer_keys = "asn: 64502, role: customer".to_owned();
    if let Some(why) = lack(kind, Feature::Roles) {
        println!("{kind}: {why}");
        drop(Setup { peer_keys, ..Setup::new(kind) }.establish());
        return;
    }
    let setup = Setup { router_role: Some("customer"), peer_keys, ..Setup::new(kind) };
    refused(&setup, 2, 11, &["Role Mismatch"]);
}

/// The daemon insists on a role and we have none (strict mode, RFC 9234 §4.2): it refuses with 2/11, and that is what
/// operators are shown. A role of ours that corresponds mends it.
///
/// # Panics
/// If not.
pub fn role_required(kind: Kind) {
    let strict = match kind {
        Kind::Frr => "customer strict-mode",
        Kind::Bird => "customer; require roles yes",
        Kind::GoBgp | Kind::ExaBgp | Kind::OpenBgpd => return println!("{kind}: no strict mode"),
    };
    let setup = Setup { router_role: Some(strict), ..Setup::new(kind) };
    let bench = setup.start();
    for (name, _) in SESSIONS {
        eventually(SOON, &format!("{kind} refuses {name}"), || {
            let peer = bench.speaker.peer(name);
            let error = peer["lastError"]["text"].as_str().unwrap_or_default().to_owned();
            let right = error.contains("received") && error.contains("Role Mismatch (2/11)");
            if right && peer["state"] != "Established" { Ok(()) } else { Err(peer.to_string()) }
        });
        bench.speaker.wait_log(&[name, "compare `role` with its configuration"], SOON);
    }
    let mended = Setup { peer_keys: "asn: 64502, role: provider".to_owned(), ..setup };
    bench.speaker.write_config(&mended.config());
    bench.wait_established();
}
