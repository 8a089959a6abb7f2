//! The log that engines read after a failure: logrus' text or JSON lines.

use std::{fs::OpenOptions, io::Write};

use super::{commands::Globals, time};

/// One line of level `error` in the log, and on standard error.
pub(crate) fn error(globals: &Globals, text: &str, terminal: &mut dyn FnMut(&str)) {
    line(globals, "error", text);
    if globals.log.is_none() && globals.log_json {
        terminal(&json("error", text));
    } else {
        // crun's form, without a date: engines show it to people.
        terminal(&format!("{text}\n"));
    }
}

/// One line of level `warning`, in the log only: what is written to standard error here can end up in a container's output.
pub(crate) fn warning(globals: &Globals, text: &str) {
    line(globals, "warning", text);
}

/// A log that cannot be written is no reason to stop a container.
fn line(globals: &Globals, level: &str, text: &str) {
    let Some(path) = &globals.log else { return };
    let line = if globals.log_json { json(level, text) } else { plain(level, text) };
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(line.as_bytes());
    }
}

fn json(level: &str, text: &str) -> String {
    format!("{}\n", serde_json::json!({ "level": level, "msg": text, "time": time::now() }))
}

fn plain(level: &str, text: &str) -> String {
    format!("time={:?} level={level} msg={text:?}\n", time::now())
}
