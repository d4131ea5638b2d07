//! Which of the addresses that this node may hold it can serve: those that its kube-proxy has set up (ADR 0013).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use speaker_config::objects::ObjectKey;

use super::planner::Unit;

/// Addresses that this node may hold, and those among them that wait for its kube-proxy.
#[derive(Debug, Default)]
pub(super) struct Fitness {
    /// By the Service that owns them.
    eligible: BTreeMap<ObjectKey, BTreeSet<IpAddr>>,
    /// With the question whose answer they wait for, and the Service.
    waiting: BTreeMap<IpAddr, (u64, ObjectKey)>,
}

impl Fitness {
    /// Units changed, came or went. An address that this node may hold and could not before waits for the answer to the
    /// question that `ask` names, if it names one.
    pub(super) fn follow(
        &mut self,
        changed: &BTreeSet<ObjectKey>,
        units: &BTreeMap<ObjectKey, Unit>,
        node: &str,
        ask: impl FnOnce() -> Option<u64>,
    ) {
        let mut before = BTreeSet::new();
        let mut now = BTreeMap::new();
        for key in changed {
            before.extend(self.eligible.remove(key).unwrap_or_default());
            let Some(unit) = units.get(key).filter(|unit| unit.candidates.contains(node)) else { continue };
            let here = unit.addresses.iter().filter(|(_, links)| !links.is_empty());
            let here: BTreeSet<IpAddr> = here.map(|(address, _)| *address).collect();
            now.extend(here.iter().map(|address| (*address, key.clone())));
            self.eligible.insert(key.clone(), here);
        }
        for address in before.iter().filter(|address| !now.contains_key(address)) {
            self.waiting.remove(address);
        }
        // An address that moves to another unit goes on waiting for what it waits for, or for nothing.
        let (stay, came): (Vec<_>, Vec<_>) =
            now.into_iter().partition(|(address, _)| before.contains(address));
        for (address, key) in stay {
            if let Some((_, owner)) = self.waiting.get_mut(&address) {
                *owner = key;
            }
        }
        if !came.is_empty()
            && let Some(ticket) = ask()
        {
            self.waiting.extend(came.into_iter().map(|(address, key)| (address, (ticket, key))));
        }
    }

    /// Questions up to this one are answered: the Services of the addresses that no longer wait.
    pub(super) fn answered(&mut self, ticket: u64) -> BTreeSet<ObjectKey> {
        let mut services = BTreeSet::new();
        self.waiting.retain(|_, (waits_for, key)| {
            let waits = *waits_for > ticket;
            if !waits {
                services.insert(key.clone());
            }
            waits
        });
        services
    }

    /// Whether an address waits.
    pub(super) fn waits(&self, address: IpAddr) -> bool {
        self.waiting.contains_key(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "192.0.2.1";
    const TWO: &str = "192.0.2.2";

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    /// Units with addresses on `eth0`, which `n1` may hold where it is said so.
    fn units(all: &[(&str, &[&str], bool)]) -> BTreeMap<ObjectKey, Unit> {
        let unit = |(name, addresses, here): &(&str, &[&str], bool)| {
            let links = BTreeSet::from(["eth0".to_owned()]);
            let addresses = addresses.iter().map(|one| (one.parse().unwrap(), links.clone()));
            let node = if *here { "n1" } else { "n2" };
            let candidates = BTreeSet::from([node.to_owned()]);
            (key(name), Unit { service: key(name), addresses: addresses.collect(), candidates })
        };
        all.iter().map(unit).collect()
    }

    fn waiting(fitness: &Fitness) -> Vec<&'static str> {
        [ONE, TWO].into_iter().filter(|one| fitness.waits(one.parse().unwrap())).collect()
    }

    #[test]
    fn what_comes_to_this_node_waits_for_its_own_question() {
        let mut fitness = Fitness::default();
        let follow = |fitness: &mut Fitness, all: &[(&str, &[&str], bool)], ticket: Option<u64>| {
            let mut asked = false;
            let changed = [key("a"), key("b")].into();
            fitness.follow(&changed, &units(all), "n1", || {
                asked = true;
                ticket
            });
            asked
        };
        assert!(follow(&mut fitness, &[("a", &[ONE], true)], Some(3)));
        assert_eq!(waiting(&fitness), [ONE]);
        assert!(!follow(&mut fitness, &[("a", &[ONE], true)], Some(4)), "nothing is new");
        assert!(follow(&mut fitness, &[("a", &[ONE], true), ("b", &[TWO], true)], Some(5)));
        assert_eq!(fitness.answered(2), [].into());
        assert_eq!(fitness.answered(4), [key("a")].into());
        assert_eq!(waiting(&fitness), [TWO]);
        // It moves to another Service while it waits, and another one that does not wait moves too.
        assert!(!follow(&mut fitness, &[("a", &[TWO], true), ("b", &[ONE], true)], Some(6)));
        assert_eq!(waiting(&fitness), [TWO]);
        assert_eq!(fitness.answered(5), [key("a")].into());
        // Its last ready endpoint here goes, and one comes again: kube-proxy has it to set up anew.
        assert!(!follow(&mut fitness, &[("a", &[TWO], false), ("b", &[ONE], true)], Some(7)));
        assert!(follow(&mut fitness, &[("a", &[TWO], true), ("b", &[ONE], true)], Some(7)));
        assert_eq!(waiting(&fitness), [TWO]);
        assert!(!follow(&mut fitness, &[], Some(8)));
        assert_eq!((waiting(&fitness), fitness.answered(9)), (vec![], [].into()));
        // Where nobody asks, nothing waits.
        assert!(follow(&mut fitness, &[("a", &[ONE], true)], None));
        assert_eq!(waiting(&fitness), [""; 0]);
    }
}
