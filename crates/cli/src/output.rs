//! What goes to standard output: lists, inspected things, and plain text.

use std::io::{IsTerminal, Write};

use knarr_engine::terminal;
use serde_json::Value;

use crate::failure::Failure;
use crate::template::Template;

/// Inspected things: a JSON list, or a template per thing.
pub(crate) fn inspected(things: &[Value], format: Option<&str>) -> Result<String, Failure> {
    match format {
        None | Some("") => Ok(pretty(&things) + "\n"),
        Some("json") => Ok(things.iter().map(|thing| format!("{thing}\n")).collect()),
        Some(format) => {
            let template = Template::parse(&format.replace("\\t", "\t").replace("\\n", "\n"))?;
            things.iter().map(|thing| Ok(template.render(thing)? + "\n")).collect()
        }
    }
}

/// JSON with docker's indent of four.
pub(crate) fn pretty(things: &impl serde::Serialize) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(things, &mut serializer).expect("writing to memory");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Columns of the terminal that is written to; `None` where that is none: what others read is cut nowhere.
pub(crate) fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    let size = out.is_terminal().then(|| terminal::size(&out)).flatten();
    size.map(|(_, columns)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// Writes to standard output. A reader that has gone (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("write output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Does one thing for each of `names`: what worked is printed, what did not is said, and the others go on.
pub(crate) fn each(
    verb: &str,
    names: &[String],
    mut one: impl FnMut(&str) -> Result<String, Failure>,
) -> Result<u8, Failure> {
    let mut code = 0;
    for name in names {
        match one(name) {
            Ok(line) => print(&format!("{line}\n"))?,
            Err(failure) => {
                code = failure.code;
                failure.of(verb).print();
            }
        }
    }
    Ok(code)
}
