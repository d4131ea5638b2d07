//! A store with resource versions before an operator: it takes patches, refuses stale ones, and echoes.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use bgp_proto::types::{Family, Timestamp};
use speaker_config::objects::{
    BgpInstance, Block, Condition, IpFamilyPolicy, Object, ObjectKey, ObjectRef, Pool, Selector, Service,
    ServicePort, TrafficPolicy,
};

use super::super::*;
use crate::cilium::operator::NodeConfigWrite;
use crate::ipam::POOL_CONDITIONS;

pub(super) fn service(name: &str) -> Service {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
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

pub(super) fn pool(name: &str, created: UnixSeconds, blocks: &[&str]) -> Pool {
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

pub(super) fn selector(key: &str, value: &str) -> Selector {
    Selector { match_labels: BTreeMap::from([(key.to_owned(), value.to_owned())]), ..Selector::default() }
}

pub(super) fn foreign_condition() -> Condition {
    Condition {
        kind: "example.com/Other".into(),
        status: "True".into(),
        reason: "x".into(),
        message: String::new(),
        observed_generation: 1,
        since: 7,
    }
}

pub(super) fn settings() -> OperatorSettings {
    OperatorSettings { ipam: Some(IpamSettings::default()), l2_policies: true, ..OperatorSettings::default() }
}

/// What becomes of instances in the store.
fn stored(instances: &[BgpInstance], prunes: bool) -> Vec<BgpInstance> {
    let mut instances = instances.to_vec();
    for peer in instances.iter_mut().flat_map(|one| &mut one.peers).filter(|_| prunes) {
        peer.asn = None;
    }
    instances
}

/// The store. Answers and echoes wait until they are asked for, unless `prompt`.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) settings: OperatorSettings,
    pub(super) operator: Operator,
    pub(super) objects: BTreeMap<ObjectRef, (Object, u64)>,
    version: u64,
    pub(super) now: Timestamp,
    pub(super) wall: UnixSeconds,
    /// Not shown by the watch yet.
    pub(super) echoes: VecDeque<(ObjectRef, Option<(Object, u64)>)>,
    pub(super) patches: VecDeque<Patch>,
    /// Stored writes of each object.
    pub(super) stored: BTreeMap<ObjectRef, usize>,
    pub(super) notes: Vec<String>,
    /// It drops the ASN of peers.
    pub(super) prunes: bool,
}

impl Api {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: OperatorSettings) -> Self {
        Self {
            operator: Operator::new(settings.clone(), BTreeSet::new()),
            settings,
            objects: BTreeMap::new(),
            version: 0,
            now: Timestamp::ZERO + Duration::from_secs(1000),
            wall: 100,
            echoes: VecDeque::new(),
            patches: VecDeque::new(),
            stored: BTreeMap::new(),
            notes: Vec::new(),
            prunes: false,
        }
    }

    /// Somebody writes an object.
    pub(super) fn put(&mut self, object: Object) {
        self.version += 1;
        let reference = object.reference();
        self.objects.insert(reference.clone(), (object.clone(), self.version));
        self.echoes.push_back((reference, Some((object, self.version))));
    }

    pub(super) fn serve(&mut self, service: Service) {
        self.put(Object::Service(Box::new(service)));
        self.settle();
    }

    pub(super) fn put_pool(&mut self, pool: Pool) {
        self.put(Object::Pool(pool));
        self.settle();
    }

    pub(super) fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Service)) {
        let mut service = self.get(name).clone();
        edit(&mut service);
        service.generation += 1;
        self.serve(service);
    }

    pub(super) fn edit_pool(&mut self, name: &str, edit: impl FnOnce(&mut Pool)) {
        let mut pool = self.pool(name).clone();
        edit(&mut pool);
        pool.generation += 1;
        self.put_pool(pool);
    }

    pub(super) fn remove(&mut self, reference: &ObjectRef) {
        self.version += 1;
        self.objects.remove(reference);
        self.echoes.push_back((reference.clone(), None));
    }

    pub(super) fn delete(&mut self, name: &str) {
        let reference = self.get(name).key.clone();
        self.remove(&ObjectRef::Service(reference));
        self.settle();
    }

    /// The watch shows one thing.
    pub(super) fn echo(&mut self) -> bool {
        let Some((reference, shown)) = self.echoes.pop_front() else { return false };
        match shown {
            Some((object, version)) => {
                let version =
                    Version { uid: format!("uid of {reference}"), resource_version: version.to_string() };
                self.operator.upsert(object, version);
            }
            None => self.operator.delete(&reference),
        }
        true
    }

    /// One turn of the operator; patches go into the queue.
    pub(super) fn turn(&mut self) {
        let orders = self.operator.settle(self.now, self.wall);
        self.patches.extend(orders.patches);
        self.notes
            .extend(orders.notes.iter().map(|note| format!("{} {} {}", note.object, note.reason, note.text)));
        assert!(self.patches.len() <= WRITES_AT_ONCE, "{} writes under way", self.patches.len());
    }

    /// The server takes a patch.
    pub(super) fn store(&mut self, patch: &Patch) -> Outcome {
        if let Change::Create(wanted) = &patch.change {
            return self.create(&patch.target, wanted);
        }
        let Some((object, version)) = self.objects.get(&patch.target) else { return Outcome::Conflict };
        if version.to_string() != patch.version.resource_version {
            return Outcome::Conflict;
        }
        if patch.change == Change::Delete {
            assert_eq!(patch.version.uid, format!("uid of {}", patch.target));
            self.remove(&patch.target);
            return Outcome::Written { resource_version: String::new() };
        }
        let before = object.clone();
        let mut after = object.clone();
        match (&patch.change, &mut after) {
            (Change::Service { ingress, set, remove }, Object::Service(service)) => {
                if let Some(ingress) = ingress {
                    service.ingress.clone_from(ingress);
                    service.ingress_ours = true;
                }
                service.conditions.retain(|one| !remove.contains(&&*one.kind));
                service.conditions.retain(|one| set.iter().all(|other| other.kind != one.kind));
                service.conditions.extend(set.iter().cloned());
            }
            (Change::Finalizer { set }, Object::Service(service)) => {
                assert!(
                    !(*set && service.deleting),
                    "the API server refuses a finalizer on what is being deleted"
                );
                service.cleanup = if *set { Cleanup::Ours } else { Cleanup::None };
            }
            (Change::Conditions { conditions }, Object::Pool(pool)) => {
                pool.conditions.retain(|one| !POOL_CONDITIONS.contains(&&*one.kind));
                pool.conditions.extend(conditions.iter().cloned());
            }
            (Change::Conditions { conditions }, Object::BgpClusterConfig(one)) => {
                one.conditions.clone_from(conditions);
            }
            (Change::Conditions { conditions }, Object::BgpPeerConfig(one)) => {
                one.conditions.clone_from(conditions);
            }
            (Change::Spec(wanted), Object::BgpNodeConfig(one)) => {
                one.owner = Some(wanted.owner.clone());
                one.instances = stored(&wanted.instances, self.prunes);
                one.generation += 1;
            }
            (Change::Conditions { conditions }, Object::L2AnnouncementPolicy(policy)) => {
                policy.conditions.clone_from(conditions);
            }
            other => panic!("{other:?}"),
        }
        assert_ne!(before, after, "a write that changes nothing: {patch:?}");
        let last = matches!(&after, Object::Service(one) if one.deleting && one.cleanup == Cleanup::None);
        if last {
            self.remove(&patch.target);
        } else {
            self.put(after);
        }
        *self.stored.entry(patch.target.clone()).or_default() += 1;
        Outcome::Written { resource_version: self.version.to_string() }
    }

    fn create(&mut self, target: &ObjectRef, wanted: &NodeConfigWrite) -> Outcome {
        if self.objects.contains_key(target) {
            return Outcome::Conflict;
        }
        let body = serde_json::to_value(wanted.object()).unwrap();
        let mut config = speaker_config::kubernetes::bgp_node_config(&body).unwrap();
        config.instances = stored(&config.instances, self.prunes);
        config.generation = 1;
        self.put(Object::BgpNodeConfig(config));
        *self.stored.entry(target.clone()).or_default() += 1;
        Outcome::Written { resource_version: self.version.to_string() }
    }

    /// Takes the first patch that waits, answers it.
    pub(super) fn answer(&mut self) -> bool {
        let Some(patch) = self.patches.pop_front() else { return false };
        let outcome = self.store(&patch);
        self.operator.ended(&patch.target, &outcome, self.now);
        true
    }

    /// Until nothing moves any more, time included.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            while self.echo() {}
            self.turn();
            if self.answer() || !self.echoes.is_empty() {
                continue;
            }
            match self.operator.deadline() {
                Some(deadline) => {
                    assert!(deadline > self.now, "nothing is done at the deadline");
                    self.now = deadline;
                }
                None => return,
            }
        }
        panic!("it does not come to rest");
    }

    /// Another process takes over: it finds the objects alone.
    pub(super) fn fail_over(&mut self) {
        let mut sources = BTreeSet::from(["all".to_owned()]);
        self.operator = Operator::new(self.settings.clone(), std::mem::take(&mut sources));
        self.operator.waiting.insert("all".to_owned());
        self.patches.clear();
        self.echoes.clear();
        for (reference, (object, version)) in &self.objects {
            self.echoes.push_back((reference.clone(), Some((object.clone(), *version))));
        }
        while self.echo() {
            self.turn();
            assert!(self.patches.is_empty(), "silence before knowledge");
        }
        self.operator.synced("all");
    }

    pub(super) fn get(&self, name: &str) -> &Service {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        match &self.objects[&ObjectRef::Service(ObjectKey::new(namespace, name))].0 {
            Object::Service(service) => service,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn pool(&self, name: &str) -> &Pool {
        match &self.objects[&ObjectRef::Pool(name.to_owned())].0 {
            Object::Pool(pool) => pool,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn ips(&self, name: &str) -> Vec<String> {
        self.get(name).ingress.iter().map(IpAddr::to_string).collect()
    }

    /// Status, reason and message of the Service's condition.
    pub(super) fn says(&self, name: &str) -> Option<(&str, &str, &str)> {
        let found = self.get(name).conditions.iter().find(|condition| condition.kind == SATISFIED)?;
        Some((&found.status, &found.reason, &found.message))
    }

    /// Conflicting, total, available and used of a pool.
    pub(super) fn counts(&self, name: &str) -> [&str; 4] {
        let find = |kind: &str| self.pool(name).conditions.iter().find(|one| one.kind == kind).unwrap();
        let count = |kind| find(kind).message.as_str();
        use crate::ipam::{IPS_AVAILABLE, IPS_TOTAL, IPS_USED, POOL_CONFLICT};
        [&find(POOL_CONFLICT).status, count(IPS_TOTAL), count(IPS_AVAILABLE), count(IPS_USED)]
    }

    pub(super) fn writes(&self, name: &str) -> usize {
        let key = self.get(name).key.clone();
        self.stored.get(&ObjectRef::Service(key)).copied().unwrap_or_default()
    }
}
