//! YAML as the files of container tools have it: texts, lists, mappings.
//!
//! Law: pure. Aliases and depth, by which a small file becomes a large one, are refused; errors name the line.

use saphyr_parser::{Event, Parser};

/// Lists and mappings that may stand inside one another; files of ours have four.
const DEPTH_MAX: usize = 16;

/// A value.
pub(crate) enum Node {
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// A list or mapping that has not ended; a mapping may have a key that waits for its value.
enum Open {
    List(Vec<Node>),
    Map(Vec<(String, Node)>, Option<String>),
}

/// The document in `text`; `None` where there is none.
pub(crate) fn tree(text: &str) -> Result<Option<Node>, String> {
    let mut stack: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        let fail = |what: &str| format!("line {}: {what}", span.start.line());
        let node = match event {
            Event::Scalar(text, ..) => match stack.last_mut() {
                Some(Open::Map(_, key @ None)) => {
                    *key = Some(text.into_owned());
                    continue;
                }
                _ => Node::Text(text.into_owned()),
            },
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if matches!(stack.last(), Some(Open::Map(_, None))) {
                    return Err(fail("a key must be a word"));
                }
                if stack.len() == DEPTH_MAX {
                    return Err(fail("nested too deep"));
                }
                let list = matches!(event, Event::SequenceStart(..));
                stack.push(if list { Open::List(Vec::new()) } else { Open::Map(Vec::new(), None) });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(Open::List(list)) => Node::List(list),
                Some(Open::Map(map, _)) => Node::Map(map),
                None => continue,
            },
            Event::Alias(_) => return Err(fail("aliases (*name) are not understood here")),
            _ => continue,
        };
        match stack.last_mut() {
            Some(Open::List(list)) => list.push(node),
            Some(Open::Map(map, key)) => map.push((key.take().unwrap_or_default(), node)),
            None => drop(root.get_or_insert(node)),
        }
    }
    Ok(root)
}

impl Node {
    /// Whether it says nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Node::Text(text) if matches!(text.as_str(), "" | "~" | "null"))
    }
}

/// What a mapping holds; nothing where nothing is said.
pub(crate) fn entries<'n>(value: &'n Node, what: &str) -> Result<&'n [(String, Node)], String> {
    match value {
        Node::Map(map) => Ok(map),
        null if null.is_null() => Ok(&[]),
        _ => Err(format!("{what} must be a mapping")),
    }
}

/// A text.
pub(crate) fn scalar(value: &Node, what: &str) -> Result<String, String> {
    match value {
        Node::Text(text) => Ok(text.clone()),
        _ => Err(format!("{what} must be text")),
    }
}
