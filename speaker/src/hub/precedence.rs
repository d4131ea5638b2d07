//! An object that stands both in a manifest and in the API server: the API server's counts.

use std::collections::{BTreeMap, BTreeSet};

use speaker_config::objects::{Object, ObjectRef};
use speaker_core::inputs::Inputs;

use crate::io::manifests;
use crate::io::source::ObjectChange;

/// What manifests have, where there is another source beside them.
#[derive(Debug, Default)]
pub(super) struct Precedence {
    active: bool,
    manifests: BTreeMap<ObjectRef, Object>,
    /// Those that the API server has too.
    hidden: BTreeSet<ObjectRef>,
}

impl Precedence {
    /// `several`: there is more than one source.
    pub(super) fn new(several: bool) -> Self {
        Self { active: several, ..Self::default() }
    }

    /// What a source's change means to the world; `None` where it means nothing.
    pub(super) fn admit(
        &mut self,
        source: &str,
        change: ObjectChange,
        inputs: &Inputs,
    ) -> Option<ObjectChange> {
        if !self.active {
            return Some(change);
        }
        match (source == manifests::SOURCE, change) {
            (true, ObjectChange::Upsert(object)) => {
                let reference = object.reference();
                if !self.manifests.contains_key(&reference) && inputs.contains(&reference) {
                    self.hidden.insert(reference.clone());
                }
                self.manifests.insert(reference.clone(), object.clone());
                (!self.hidden.contains(&reference)).then_some(ObjectChange::Upsert(object))
            }
            (true, ObjectChange::Delete(reference)) => {
                self.manifests.remove(&reference);
                (!self.hidden.remove(&reference)).then_some(ObjectChange::Delete(reference))
            }
            (false, ObjectChange::Upsert(object)) => {
                let reference = object.reference();
                if self.manifests.contains_key(&reference) {
                    self.hidden.insert(reference);
                }
                Some(ObjectChange::Upsert(object))
            }
            (false, ObjectChange::Delete(reference)) => {
                self.hidden.remove(&reference);
                Some(match self.manifests.get(&reference) {
                    Some(object) => ObjectChange::Upsert(object.clone()),
                    None => ObjectChange::Delete(reference),
                })
            }
        }
    }

    /// Manifests that do not count, in words.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        self.hidden
            .iter()
            .map(|object| format!("{object} of a manifest does not count: the API server has it too"))
    }
}

#[cfg(test)]
mod tests {
    use speaker_config::objects::Node;
    use speaker_core::inputs::Touched;

    use super::*;

    fn node(rack: &str) -> Object {
        let labels = [("rack".to_owned(), rack.to_owned())].into();
        Object::Node(Node { name: "n1".to_owned(), labels, ..Node::default() })
    }

    /// Applies what is admitted, and says which rack the world has afterwards.
    fn apply(precedence: &mut Precedence, inputs: &mut Inputs, source: &str, change: ObjectChange) -> String {
        match precedence.admit(source, change, inputs) {
            Some(ObjectChange::Upsert(object)) => inputs.upsert(object, &mut Touched::default()),
            Some(ObjectChange::Delete(reference)) => inputs.remove(&reference, &mut Touched::default()),
            None => {}
        }
        inputs.nodes.get("n1").map(|node| node.labels["rack"].clone()).unwrap_or_default()
    }

    #[test]
    fn the_api_servers_object_counts_whoever_comes_first() {
        let gone = || ObjectChange::Delete(ObjectRef::Node("n1".to_owned()));
        let has = |rack| ObjectChange::Upsert(node(rack));
        for manifest_first in [true, false] {
            let (mut all, mut inputs) = (Precedence::new(true), Inputs::default());
            let mut say = |source, change| apply(&mut all, &mut inputs, source, change);
            if manifest_first {
                assert_eq!(say("manifests", has("file")), "file");
                assert_eq!(say("nodes", has("api")), "api");
            } else {
                assert_eq!(say("nodes", has("api")), "api");
                assert_eq!(say("manifests", has("file")), "api");
            }
            assert_eq!(say("manifests", has("file2")), "api");
            assert_eq!(say("nodes", gone()), "file2", "what is left");
            assert_eq!(say("nodes", has("api2")), "api2");
            assert_eq!(all.faults().count(), 1);
            let mut say = |source, change| apply(&mut all, &mut inputs, source, change);
            assert_eq!(say("manifests", gone()), "api2");
            assert_eq!(say("nodes", gone()), "");
            assert_eq!(all.faults().count(), 0);
        }
    }
}
