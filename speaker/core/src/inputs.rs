//! The objects that every decision reads.

use std::collections::BTreeMap;

use speaker_config::objects::{EndpointSlice, Node, Object, ObjectKey, ObjectRef, Service};

use crate::pools::Pools;

/// All objects of all sources, by key.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Pools with their conflicts.
    pub pools: Pools,
    /// Services.
    pub services: BTreeMap<ObjectKey, Service>,
    /// EndpointSlices by the Service they belong to, then by their own key.
    pub endpoints: BTreeMap<ObjectKey, BTreeMap<ObjectKey, EndpointSlice>>,
    /// Nodes.
    pub nodes: BTreeMap<String, Node>,
    /// Which Service a slice was filed under, so that a slice that changes hands leaves its old Service.
    slice_owner: BTreeMap<ObjectKey, ObjectKey>,
}

/// What an event touched, by key: the beginning of every recomputation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Pools whose content or conflict changed.
    pub pools: std::collections::BTreeSet<String>,
    /// Pools of which the recorded status alone changed.
    pub pool_statuses: std::collections::BTreeSet<String>,
    /// Services whose object changed.
    pub services: std::collections::BTreeSet<ObjectKey>,
    /// Services whose endpoints changed.
    pub endpoints: std::collections::BTreeSet<ObjectKey>,
    /// Nodes.
    pub nodes: std::collections::BTreeSet<String>,
}

impl Inputs {
    /// Stores a new version of an object.
    pub fn upsert(&mut self, object: Object, touched: &mut Touched) {
        match object {
            Object::Pool(pool) => {
                if self.pools.get(&pool.name).is_some_and(|old| old.pool.conditions != pool.conditions) {
                    touched.pool_statuses.insert(pool.name.clone());
                }
                touched.pools.extend(self.pools.upsert(pool));
            }
            Object::Service(service) => {
                touched.services.insert(service.key.clone());
                self.services.insert(service.key.clone(), *service);
            }
            Object::EndpointSlice(slice) => {
                self.forget_slice(&slice.key, touched);
                if let Some(owner) = slice.service.clone() {
                    touched.endpoints.insert(owner.clone());
                    self.slice_owner.insert(slice.key.clone(), owner.clone());
                    self.endpoints.entry(owner).or_default().insert(slice.key.clone(), slice);
                }
            }
            Object::Node(node) => {
                touched.nodes.insert(node.name.clone());
                self.nodes.insert(node.name.clone(), node);
            }
        }
    }

    /// Removes an object.
    pub fn remove(&mut self, reference: &ObjectRef, touched: &mut Touched) {
        match reference {
            ObjectRef::Pool(name) => touched.pools.extend(self.pools.remove(name)),
            ObjectRef::Service(key) => {
                if self.services.remove(key).is_some() {
                    touched.services.insert(key.clone());
                }
            }
            ObjectRef::EndpointSlice(key) => self.forget_slice(key, touched),
            ObjectRef::Node(name) => {
                if self.nodes.remove(name).is_some() {
                    touched.nodes.insert(name.clone());
                }
            }
        }
    }

    fn forget_slice(&mut self, key: &ObjectKey, touched: &mut Touched) {
        let Some(owner) = self.slice_owner.remove(key) else { return };
        if let Some(slices) = self.endpoints.get_mut(&owner) {
            slices.remove(key);
            if slices.is_empty() {
                self.endpoints.remove(&owner);
            }
        }
        touched.endpoints.insert(owner);
    }

    /// The slices of a Service.
    pub fn slices(&self, service: &ObjectKey) -> impl Iterator<Item = &EndpointSlice> {
        self.endpoints.get(service).into_iter().flat_map(BTreeMap::values)
    }
}
