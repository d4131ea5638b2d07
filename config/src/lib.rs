//! The speaker's whole configuration vocabulary.
//!
//! * [`model`]: what `speaker.yaml` says, checked.
//! * [`objects`]: what Kubernetes objects say, pruned to what the speaker reads.
//!
//! * [`speaker`]: the former from its text.
//! * [`manifest`] and [`kubernetes`]: files and typed objects to the latter.
//! * [`crd`]: the CustomResourceDefinitions.
//! * [`diagnostic`]: what is wrong with a file, and where.
//!
//! Both come from text by way of functions that read no file: errors name the line and the key.

pub mod crd;
pub mod diagnostic;
pub mod kubernetes;
pub mod manifest;
pub mod model;
pub mod objects;
pub mod speaker;
pub mod yaml;

mod selector;
mod tree;

pub use selector::selector_query;
