//! Writes the manual pages into a directory: `man DIR DATE`. `cargo xtask man` runs it.
//!
//! Law: a page for each command under its first name; its other names are links to it. The same input gives the same bytes.

use std::error::Error;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

#[path = "../src/faces.rs"]
mod faces;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(dir), Some(date)) = (words.next(), words.next()) else { return Err("usage: man DIR DATE".into()) };
    std::fs::create_dir_all(&dir)?;
    pages(knarr_cli::tree::knarr(&faces::FACES), "knarr", Path::new(&dir), &date)
}

fn pages(command: Command, path: &str, dir: &Path, date: &str) -> Result<(), Box<dyn Error>> {
    let file = dir.join(format!("{}.1", dashed(path)));
    if let Some(first) = command.get_bin_name().filter(|first| *first != path && !command.has_subcommands()) {
        let _ = std::fs::remove_file(&file);
        return Ok(std::os::unix::fs::symlink(format!("{}.1", dashed(first)), file)?);
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set()) {
        pages(below.clone(), &format!("{path} {}", below.get_name()), dir, date)?;
    }
    std::fs::write(file, page(command, path, date)?)?;
    Ok(())
}

fn dashed(path: &str) -> String {
    path.replace(' ', "-")
}

fn page(command: Command, path: &str, date: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut command = command.name(&*dashed(path).leak()).display_name(dashed(path)).bin_name(path.to_owned());
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().trim_start_matches(path).trim().to_owned();
    command = command.override_usage(format!("{path} {usage}").trim().to_owned()).disable_version_flag(true);
    let parent = path.rsplit_once(' ').map(|(parent, _)| dashed(parent));
    let (options, commands) = (command.get_opts().count() > 0, command.has_subcommands());
    let man = Man::new(command).date(date).manual("Knarr").source(concat!("knarr ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if options {
        man.render_options_section(&mut text)?;
    }
    if commands {
        man.render_subcommands_section(&mut text)?;
    }
    // One empty line, where mandoc finds three requests for it too many.
    let mut text = String::from_utf8(text)?.replace("\n.br\n\n.br\n", "\n.sp\n").into_bytes();
    text.extend(as_it_stands(&after).into_bytes());
    if let Some(parent) = parent {
        text.extend(format!(".SH SEE ALSO\n.BR {} (1)\n", parent.replace('-', "\\-")).into_bytes());
    }
    Ok(text)
}

/// What the help says last: an example, and what else is to be known.
fn as_it_stands(after: &str) -> String {
    if after.is_empty() {
        return String::new();
    }
    let (heading, body) = match after.strip_prefix("Example:\n") {
        Some(example) => ("EXAMPLE", example),
        None => ("NOTES", after),
    };
    let line = |line: &str| format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-"));
    format!(".SH {heading}\n.nf\n{}.fi\n", body.lines().map(line).collect::<String>())
}
