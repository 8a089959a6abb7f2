//! What unlocks a key: in a file, or asked for without being shown.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;

use knarr_engine::terminal::NoEcho;

use crate::failure::Failure;

/// The content of a file but for the end of its line.
pub(crate) fn of_file(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::new(format!("read {}: {error}", path.display())))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// Asks at the terminal; who is none has to name a file.
pub(crate) fn ask(what: &str, instead: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("cannot ask for a passphrase: standard input is no terminal")
            .hint(format!("say {instead} FILE")));
    }
    line(what)
}

/// A line of standard input that is not shown.
pub(crate) fn line(what: &str) -> Result<String, Failure> {
    anstream::eprint!("{what}: ");
    let mut text = String::new();
    {
        let stdin = std::io::stdin();
        let _silent = NoEcho::enter(stdin.as_fd()).map_err(|error| Failure::new(error.to_string()))?;
        stdin.read_line(&mut text).map_err(|error| Failure::new(format!("read standard input: {error}")))?;
    }
    anstream::eprintln!();
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
