//! Objects from YAML, for tests.

use speaker_config::manifest::{self, Content};
use speaker_config::objects::Object;

use crate::inputs::{Inputs, Touched};

/// The objects of a text, every one of which must be readable.
pub(crate) fn objects(text: &str) -> Vec<Object> {
    manifest::parse(text)
        .into_iter()
        .map(|document| match document.content {
            Content::Object(object) => object,
            other => panic!("line {}: {other:?}", document.line),
        })
        .collect()
}

/// Inputs with the objects of a text.
pub(crate) fn inputs(text: &str) -> Inputs {
    let mut inputs = Inputs::default();
    add(&mut inputs, text);
    inputs
}

/// More objects.
pub(crate) fn add(inputs: &mut Inputs, text: &str) -> Touched {
    let mut touched = Touched::default();
    for object in objects(text) {
        inputs.upsert(object, &mut touched);
    }
    touched
}
