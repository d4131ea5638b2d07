//! YAML as a tree that keeps the place of every key and value, which serde does not.
//!
//! Scalars stay text until a reader asks for a type: `asn: 1.10` is an asdot number and not 1.1, and
//! `community: 64501:100` is never a number of base 60.

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::diagnostic::Position;

/// Deeper nesting is refused: no key of ours is that deep, and a tree is dropped by recursion.
const MAX_DEPTH: usize = 32;

/// A value and where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key with its value. Duplicate keys are kept; whoever reads the mapping reports them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) value: Node,
}

/// Why a text gives no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) at: Position,
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

impl Node {
    /// Nothing, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What kind of value this is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// A collection whose end has not been read yet.
enum Open {
    Sequence(Position, Vec<Node>),
    Mapping { at: Position, entries: Vec<Entry>, key: Option<(String, Position)> },
}

/// Reads the first document of `text`; `None` where there is none. A second document is an error.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, SyntaxError> {
    let mut stack: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut documents = 0;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| SyntaxError {
            at: Position { line: error.marker().line(), column: error.marker().col() + 1 },
            message: format!("not YAML: {}", error.info()),
            help: "look at the indentation, quotes and brackets here and just above",
        })?;
        let at = Position { line: span.start.line(), column: span.start.col() + 1 };
        let refuse = |message: &str, help| Err(SyntaxError { at, message: message.to_owned(), help });
        let done = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return refuse("a second document begins", "keep one document; remove the `---` line");
                }
                None
            }
            Event::Alias(_) => {
                return refuse(
                    "an alias (`*name`) stands here, and aliases are not read",
                    "write the value out, or put what peers share into peerGroups",
                );
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return refuse("a tag (`!name`) stands here, and tags are not read", "remove the tag");
            }
            Event::Scalar(text, style, _, None) => {
                let plain = style == ScalarStyle::Plain;
                // The scanner makes room for 128 octets; a file may have as many words as there are routes.
                let mut text = text.into_owned();
                text.shrink_to_fit();
                Some(Node { at, value: Value::Scalar { text, plain } })
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if stack.len() >= MAX_DEPTH => {
                return refuse("the nesting is too deep", "no key needs more than a few levels");
            }
            Event::SequenceStart(_, None) => {
                stack.push(Open::Sequence(at, Vec::new()));
                None
            }
            Event::MappingStart(_, None) => {
                stack.push(Open::Mapping { at, entries: Vec::new(), key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => stack.pop().map(close),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
        };
        if let Some(node) = done {
            match stack.last_mut() {
                None => root = Some(node),
                Some(parent) => add(parent, node)?,
            }
        }
    }
    Ok(root)
}

fn close(open: Open) -> Node {
    match open {
        Open::Sequence(at, items) => Node { at, value: Value::Sequence(items) },
        Open::Mapping { at, entries, .. } => Node { at, value: Value::Mapping(entries) },
    }
}

fn add(parent: &mut Open, node: Node) -> Result<(), SyntaxError> {
    match parent {
        Open::Sequence(_, items) => items.push(node),
        Open::Mapping { entries, key, .. } => match key.take() {
            Some((key, at)) => entries.push(Entry { key, at, value: node }),
            None => match node.value {
                Value::Scalar { text, .. } => *key = Some((text, node.at)),
                _ => {
                    return Err(SyntaxError {
                        at: node.at,
                        message: "a list or mapping stands where a key is wanted".to_owned(),
                        help: "a key is a word with a colon behind it",
                    });
                }
            },
        },
    }
    Ok(())
}

/// The place of the value at `path` (`items[0].spec.ports[1].port`), or of the nearest thing above it that
/// is there. The path is that of `serde_path_to_error`.
pub(crate) fn locate(root: &Node, path: &str) -> Position {
    let mut node = root;
    let steps = path.split('.').flat_map(|part| part.split('[').map(|step| step.trim_end_matches(']')));
    for step in steps.filter(|step| !step.is_empty()) {
        let next = match &node.value {
            Value::Mapping(entries) => entries.iter().find(|e| e.key == step).map(|entry| &entry.value),
            Value::Sequence(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            Value::Scalar { .. } => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node.at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(line: usize, column: usize) -> Position {
        Position { line, column }
    }

    #[test]
    fn keeps_the_place_of_keys_and_values() {
        let root = parse("# c\nrouter:\n  asn: 1.10\npeers:\n- {name: a}\n").unwrap().unwrap();
        let Value::Mapping(entries) = &root.value else { panic!("{root:?}") };
        assert_eq!(entries[0].at, position(2, 1));
        assert_eq!(entries[0].value.at, position(3, 3));
        let Value::Mapping(router) = &entries[0].value.value else { panic!("{root:?}") };
        assert_eq!(router[0].value.at, position(3, 8));
        assert_eq!(router[0].value.value, Value::Scalar { text: "1.10".to_owned(), plain: true });
        assert_eq!(locate(&root, "peers[0].name"), position(5, 10));
        assert_eq!(locate(&root, "peers[7].name"), position(5, 3));
        assert_eq!(locate(&root, "peers[0].port"), position(5, 3));
    }

    #[test]
    fn refuses_what_it_does_not_read() {
        for (text, line, column, part) in [
            ("a: [1\nb: 2", 2, 1, "not YAML"),
            ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
            ("a: &x 1\nb: *x\n", 2, 4, "alias"),
            ("a: !!str 1\n", 1, 4, "tag"),
            ("[1]: 2\n", 1, 1, "key"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(part), "{text:?} {error:?}");
            assert_eq!(error.at.line, line, "{text:?} {error:?}");
            assert!(error.at.column >= column, "{text:?} {error:?}");
        }
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(parse(&deep).unwrap_err().message.contains("deep"));
    }

    #[test]
    fn an_empty_text_has_no_document() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("\u{feff}# only a comment\n"), Ok(None));
    }
}
