//! `knarr --help` and `knarr --version`, without a parser.

use crate::commands::{GROUPS, verbs};
use crate::failure::Failure;
use crate::output::print;

/// So that most headings have their columns one below the other.
const NAME_WIDTH_MIN: usize = 16;

pub(crate) fn print_version() -> Result<u8, Failure> {
    print(concat!("knarr version ", env!("CARGO_PKG_VERSION"), "\n"))?;
    Ok(0)
}

pub(crate) fn print_all() -> Result<u8, Failure> {
    print(&all())?;
    Ok(0)
}

/// What `knarr image --help` says.
pub(crate) fn print_group(noun: &str) -> Result<u8, Failure> {
    let mut text = format!("Usage: knarr {noun} COMMAND\n\nCommands:\n");
    text += &columns(&verbs(noun).collect::<Vec<_>>());
    text += &format!("\nSee `knarr {noun} COMMAND --help` for one command\n");
    print(&text)?;
    Ok(0)
}

fn all() -> String {
    let mut text = String::from(
        "Build, ship and run containers without a daemon\n\nUsage: knarr [OPTIONS] COMMAND\n\nFirst: knarr run knarr/hello\n",
    );
    for (heading, entries) in GROUPS {
        text += &format!("\n{heading}:\n");
        let told = entries.iter().filter(|entry| !entry.about.is_empty());
        text += &columns(&told.map(|entry| (entry.name(), entry.about)).collect::<Vec<_>>());
    }
    text += "\nFaces of their own:
  registry         Serve a registry, check it, export it; see `knarr registry --help`
  runtime          The OCI runtime, as runc is called; see `knarr runtime --help`\n";
    text += "\nOptions:
  --root DIR     Where images, volumes and records are kept [/var/lib/knarr, ~/.local/share/knarr]
  --runroot DIR  Where running containers have their sockets [/run/knarr, $XDG_RUNTIME_DIR/knarr]
  -h, --help     Print help; `knarr COMMAND --help` or `knarr help COMMAND` for one command
  -v, --version  Print version\n";
    text
}

/// What each does, in a column.
fn columns(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(NAME_WIDTH_MIN);
    rows.iter().map(|(name, about)| format!("  {name:<width$} {about}\n")).collect()
}
