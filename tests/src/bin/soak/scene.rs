//! The speaker and its routers.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tests::daemon::{self, Family, Kind, PeerSpec, Router, Spec};
use tests::interop::manifests;
use tests::lab::Lab;
use tests::pair::address;
use tests::speaker::Speaker;
use tests::wait::{eventually, pause};

use crate::churn::{Change, Churn};
use crate::vitals::Vitals;

const ROUTERS: [Kind; 2] = [Kind::Frr, Kind::Bird];
/// Long enough for a hold timer, an idle hold and a session.
const SOON: Duration = Duration::from_secs(120);

/// What of the log is a matter of course under such churn.
const EXPECTED: [&str; 10] = [
    "the connection ended",
    "the peer ended the session: received NOTIFICATION Cease",
    "ended the session: stopped; sent NOTIFICATION Cease/Administrative Reset",
    "Hold Timer Expired",
    "broken.yaml",
    "cannot connect",
    // A router that is killed in the middle of a handshake.
    "no connection: Connection reset by peer",
    "Connection Rejected",
    "Connection Collision",
    "faulty UPDATE",
];

pub(crate) struct Scene {
    speaker: Speaker,
    routers: Vec<Box<dyn Router>>,
    /// Last, so that it goes last.
    _lab: Lab,
}

fn name(router: usize, family: Family) -> String {
    format!("{}{}", ROUTERS[router].name(), family.word())
}

fn config(churn: &Churn) -> String {
    let mut peers = String::new();
    for router in 0..ROUTERS.len() {
        for family in [Family::V4, Family::V6] {
            let peer = address(family, u8::try_from(router).unwrap_or_default() + 2);
            peers.push_str(&format!(
                "  - {{name: {}, address: \"{peer}\", asn: {}, families: [{}-unicast], \
                 timers: {{hold: {}s, connectRetry: 1s}}}}\n",
                name(router, family),
                64502 + router,
                family.word(),
                churn.hold
            ));
        }
    }
    format!(
        "node: {{name: n1}}\n\
         router: {{asn: 64501, routerId: 10.0.0.1, listen: [\"0.0.0.0:179\", \"[::]:179\"]}}\n\
         sources: {{manifests: [manifests]}}\nipam: {{stateDir: state}}\npeers:\n{peers}\
         advertisements:\n  - name: all\n    poolPrefix: {{when: allocated}}\n    \
         serviceRoutes: {{which: all, when: ready}}\n    \
         attributes: {{communities: [\"64501:{}\"], med: {}}}\n\
         datapath: {{loops: none}}\napi: {{socket: api.sock}}\n",
        churn.community, churn.med
    )
}

fn manifest(number: u8, ready: bool) -> String {
    let [v4, v6] = manifests::SERVICE_ADDRESSES;
    manifests::service(&format!("s{number}"), ready)
        .replace(v4, &format!("203.0.113.{number}"))
        .replace(v6, &format!("2001:db8:1::{number:x}"))
}

impl Scene {
    pub(crate) fn start() -> Self {
        let lab = Lab::new();
        let switch = lab.switch("switch");
        let nodes: Vec<_> = ["speaker", "frr", "bird"].map(|name| lab.node(name)).into_iter().collect();
        for (node, n) in nodes.iter().zip(1_u8..) {
            lab.plug(&switch, node, "eth0");
            node.address("eth0", &format!("10.0.0.{n}/24"));
            node.address("eth0", &format!("fd00::{n}/64"));
        }
        let routers = ROUTERS.iter().zip(&nodes[1..]).zip(2_u8..).map(|((kind, node), n)| {
            let peers = [Family::V4, Family::V6].map(|family| {
                let mut peer = PeerSpec::new(address(family, n), address(family, 1), 64501);
                peer.families = vec![family];
                peer
            });
            let spec =
                Spec { asn: 64500 + u32::from(n), router_id: [10, 0, 0, n].into(), peers: peers.to_vec() };
            daemon::start(*kind, node, &spec)
        });
        let routers = routers.collect();
        let churn = Churn::new(crate::churn::Random::new(0));
        let pool = [("pool.yaml", manifests::POOL.to_owned())];
        let speaker = Speaker::start(&nodes[0], &config(&churn), &pool);
        Self { speaker, routers, _lab: lab }
    }

    pub(crate) fn vitals(&self) -> Vitals {
        Vitals::of(self.speaker.process().pid())
    }

    pub(crate) fn apply(&mut self, change: &Change, churn: &Churn) {
        assert!(
            self.speaker.process().running(),
            "the speaker has ended: {}",
            self.speaker.process().log_tail(40)
        );
        match change {
            Change::Service(number) => self.write(*number, churn),
            Change::Reload => self.speaker.write_config(&config(churn)),
            Change::Restart { router, kill } => {
                let router = &mut self.routers[*router];
                if *kill {
                    router.process().kill();
                } else {
                    router.process().terminate();
                }
                router.start_again();
            }
            Change::Pause { router, millis } => {
                let process = self.routers[*router].process();
                process.pause();
                let end = std::time::Instant::now() + Duration::from_millis(*millis);
                while std::time::Instant::now() < end {
                    pause();
                }
                process.resume();
            }
            Change::Clear => drop(self.speaker.cli(&["clear", "all"])),
            Change::Soft => drop(self.speaker.cli(&["clear", "all", "soft"])),
            Change::Broken(true) => self.speaker.write_manifest("broken.yaml", "kind: {"),
            Change::Broken(false) => self.speaker.remove_manifest("broken.yaml"),
        }
        // So that some changes come one by one, and some together.
        if churn.made().is_multiple_of(3) {
            pause();
        }
    }

    fn write(&self, number: u8, churn: &Churn) {
        let file = format!("s{number}.yaml");
        match churn.services.get(&number) {
            Some(service) => self.speaker.write_manifest(&file, &manifest(number, service.ready)),
            None => self.speaker.remove_manifest(&file),
        }
    }

    /// Everything that should be there.
    pub(crate) fn write_all(&self, churn: &Churn) {
        for number in churn.services.keys() {
            self.write(*number, churn);
        }
        if !churn.is_broken() && self.speaker.dir().join("manifests/broken.yaml").exists() {
            self.speaker.remove_manifest("broken.yaml");
        }
    }

    /// Waits until every router has exactly what it should have, with the attributes that it should have.
    pub(crate) fn check(&self, churn: &Churn, when: &str) {
        for (index, router) in self.routers.iter().enumerate() {
            for family in [Family::V4, Family::V6] {
                let us: IpAddr = address(family, 1);
                let wanted = churn.prefixes(family == Family::V6);
                let what = format!("{when}: {} has exactly the wanted table", name(index, family));
                eventually(SOON, &what, || {
                    if !router.established(us) {
                        return Err(format!("its session is {}", router.state(us)));
                    }
                    let routes = router.received(us, family);
                    let have: BTreeSet<String> =
                        routes.iter().map(|route| route.prefix.to_string()).collect();
                    if have != wanted {
                        let missing: Vec<_> = wanted.difference(&have).collect();
                        let beyond: Vec<_> = have.difference(&wanted).collect();
                        return Err(format!("missing {missing:?}, beyond {beyond:?}"));
                    }
                    let community = format!("64501:{}", churn.community);
                    let wrong = routes.iter().find(|route| {
                        route.med != Some(churn.med) || route.communities != [community.as_str()]
                    });
                    wrong.map_or(Ok(()), |route| Err(format!("MED {} and {community}: {route:?}", churn.med)))
                });
            }
        }
    }

    /// No line of the log is one that nobody expects.
    pub(crate) fn check_log(&self) {
        let log = self.speaker.process().log();
        let odd: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(" ERROR ") || line.contains(" WARN ") || line.contains("panicked"))
            .filter(|line| !EXPECTED.iter().any(|text| line.contains(text)))
            .collect();
        assert!(odd.is_empty(), "{} lines that nobody expects:\n{}", odd.len(), odd.join("\n"));
    }
}
