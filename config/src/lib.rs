//! The speaker's whole configuration vocabulary.
//!
//! * [`model`]: what `speaker.yaml` says, checked.
//! * [`objects`]: what Kubernetes objects say, pruned to what the speaker reads.
//!
//! Both come from text by way of functions that read no file: errors name the line and the key.

pub mod model;
pub mod objects;
