//! Objects, a store and an allocator to try things on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp_proto::types::Family;
use speaker_config::objects::{
    Block, IpFamilyPolicy, Object, ObjectKey, ObjectRef, Pool, Selector, Service, ServicePort, TrafficPolicy,
    UnixSeconds,
};

use super::super::{Ipam, IpamChanges, IpamEvent, IpamSettings, SATISFIED};
use crate::inputs::{Inputs, Touched};

pub(in crate::ipam) fn service(namespace: &str, name: &str) -> Service {
    Service {
        key: ObjectKey::new(namespace, name),
        created: 0,
        generation: 1,
        deleting: false,
        cleanup: Default::default(),
        ingress_ours: false,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        load_balancer: true,
        class: None,
        load_balancer_ip: None,
        external_ips: Vec::new(),
        cluster_ips: Vec::new(),
        ip_families: vec![Family::Ipv4Unicast],
        ip_family_policy: IpFamilyPolicy::SingleStack,
        external_traffic_policy: TrafficPolicy::Cluster,
        internal_traffic_policy: TrafficPolicy::Cluster,
        selector: BTreeMap::from([("app".to_owned(), name.to_owned())]),
        ports: vec![ServicePort { protocol: "TCP".into(), port: 80 }],
        ingress: Vec::new(),
        conditions: Vec::new(),
    }
}

pub(in crate::ipam) fn pool(name: &str, created: UnixSeconds, blocks: &[&str]) -> Pool {
    let blocks = blocks.iter().map(|text| match text.split_once('-') {
        Some((first, last)) => Block::Range { first: first.parse().unwrap(), last: last.parse().unwrap() },
        None => Block::Cidr(text.parse().unwrap()),
    });
    Pool {
        name: name.to_owned(),
        created,
        generation: 1,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        selector: None,
        blocks: blocks.collect(),
        reserve_first_last: false,
        disabled: false,
        faults: Vec::new(),
        conditions: Vec::new(),
    }
}

pub(in crate::ipam) fn selector(key: &str, value: &str) -> Selector {
    Selector {
        match_labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        match_expressions: Vec::new(),
    }
}

/// A store that records every status, and the allocator before it.
pub(in crate::ipam) struct Cluster {
    pub(in crate::ipam) inputs: Inputs,
    pub(in crate::ipam) ipam: Ipam,
    pub(in crate::ipam) settings: IpamSettings,
    pub(in crate::ipam) events: Vec<IpamEvent>,
    pub(in crate::ipam) now: UnixSeconds,
}

impl Cluster {
    pub(in crate::ipam) fn new() -> Self {
        Self::with(IpamSettings::default())
    }

    pub(in crate::ipam) fn with(settings: IpamSettings) -> Self {
        Self { inputs: Inputs::default(), ipam: Ipam::new(settings), settings, events: Vec::new(), now: 0 }
    }

    pub(in crate::ipam) fn put(&mut self, object: Object) {
        let mut touched = Touched::default();
        self.inputs.upsert(object, &mut touched);
        self.ipam.touch(&touched);
    }

    pub(in crate::ipam) fn put_pool(&mut self, mut pool: Pool) {
        if let Some(old) = self.inputs.pools.get(&pool.name) {
            pool.conditions.clone_from(&old.pool.conditions);
        }
        self.put(Object::Pool(pool));
        self.settle();
    }

    pub(in crate::ipam) fn edit_pool(&mut self, name: &str, edit: impl FnOnce(&mut Pool)) {
        let mut pool = self.inputs.pools.get(name).unwrap().pool.clone();
        edit(&mut pool);
        pool.generation += 1;
        self.put(Object::Pool(pool));
        self.settle();
    }

    pub(in crate::ipam) fn put_service(&mut self, service: Service) {
        self.put(Object::Service(Box::new(service)));
        self.settle();
    }

    pub(in crate::ipam) fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Service)) {
        let mut service = self.get(name).clone();
        edit(&mut service);
        service.generation += 1;
        self.put_service(service);
    }

    pub(in crate::ipam) fn delete(&mut self, reference: &ObjectRef) {
        let mut touched = Touched::default();
        self.inputs.remove(reference, &mut touched);
        self.ipam.touch(&touched);
        self.settle();
    }

    pub(in crate::ipam) fn delete_service(&mut self, name: &str) {
        self.delete(&ObjectRef::Service(ObjectKey::new("default", name)));
    }

    /// Writes what the allocator says into the objects, until it has nothing to say.
    pub(in crate::ipam) fn settle(&mut self) {
        let changes = self.turn();
        self.write(&changes);
        let again = self.turn();
        assert_eq!(again, IpamChanges::default(), "what is recorded is not said again");
    }

    pub(in crate::ipam) fn turn(&mut self) -> IpamChanges {
        self.now += 1;
        let changes = self.ipam.reconcile(&self.inputs, self.now);
        self.events.extend(changes.events.iter().cloned());
        changes
    }

    pub(in crate::ipam) fn write(&mut self, changes: &IpamChanges) {
        for status in &changes.services {
            let mut service = self.inputs.services.get(&status.key).unwrap().clone();
            status.apply(&mut service);
            self.put(Object::Service(Box::new(service)));
        }
        for status in &changes.pools {
            let mut pool = self.inputs.pools.get(&status.name).unwrap().pool.clone();
            status.apply(&mut pool);
            self.put(Object::Pool(pool));
        }
    }

    /// A new allocator that finds the objects as they are; nothing may change.
    pub(in crate::ipam) fn restart(&mut self) {
        let freed: Vec<_> = self.ipam.freed().collect();
        self.ipam = Ipam::with_freed(self.settings, freed);
        assert_eq!(self.turn(), IpamChanges::default(), "a restart changes nothing");
    }

    pub(in crate::ipam) fn get(&self, name: &str) -> &Service {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        &self.inputs.services[&ObjectKey::new(namespace, name)]
    }

    pub(in crate::ipam) fn ips(&self, name: &str) -> Vec<String> {
        self.get(name).ingress.iter().map(IpAddr::to_string).collect()
    }

    /// Status, reason and message of the Service's condition.
    pub(in crate::ipam) fn condition(&self, name: &str) -> Option<(&str, &str, &str)> {
        let found = self.get(name).conditions.iter().find(|condition| condition.kind == SATISFIED)?;
        Some((&found.status, &found.reason, &found.message))
    }

    pub(in crate::ipam) fn reason(&self, name: &str) -> &str {
        self.condition(name).unwrap().1
    }

    /// The message of a pool's condition, or its status where it has none.
    pub(in crate::ipam) fn pool_says(&self, name: &str, kind: &str) -> Option<&str> {
        let conditions = &self.inputs.pools.get(name).unwrap().pool.conditions;
        let found = conditions.iter().find(|condition| condition.kind == kind)?;
        Some(if found.message.is_empty() { &found.status } else { &found.message })
    }

    /// Total, available and used of a pool.
    pub(in crate::ipam) fn counts(&self, name: &str) -> [&str; 3] {
        use super::super::{IPS_AVAILABLE, IPS_TOTAL, IPS_USED};
        [IPS_TOTAL, IPS_AVAILABLE, IPS_USED].map(|kind| self.pool_says(name, kind).unwrap())
    }
}
