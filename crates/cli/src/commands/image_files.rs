//! `image files` and `image cat`: what an image holds, wherever it is.

use std::io::{IsTerminal, Write};

use knarr_distribution::Place;
use knarr_distribution::files::{self, Files, Kind, LayerRead, Listed};
use knarr_engine::{Context, time};
use serde_json::{Value, json};

use super::image_copy::{only_side, place};
use crate::access::{self, OneSide, Tool};
use crate::failure::Failure;
use crate::listing::{Columns, render};
use crate::units::size;
use crate::verb::Verb;
use crate::world::World;

/// List the files of an image, wherever it is.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageFiles {
    /// Modes, owners, sizes and times too
    #[arg(long, short = 'l')]
    long: bool,
    /// Read whole layers, whatever their tables of contents say
    #[arg(long)]
    whole: bool,
    /// A Go template or `json`
    #[arg(long, value_name = "FORMAT", conflicts_with = "long")]
    format: Option<String>,
    /// Do not say how the layers were read
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    side: OneSide,
    #[command(flatten)]
    tool: Tool,
    /// Name or id; docker://NAME, oci:DIR … for what is elsewhere
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Only these, and what stands below them
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
}

/// Print a file of an image, wherever it is.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageCat {
    #[command(flatten)]
    side: OneSide,
    #[command(flatten)]
    tool: Tool,
    /// Name or id; docker://NAME, oci:DIR … for what is elsewhere
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The file
    #[arg(value_name = "PATH")]
    path: String,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Mode", "MODE"),
        ("Owner", "OWNER"),
        ("Size", "SIZE"),
        ("Modified", "MODIFIED"),
        ("Path", "PATH"),
        ("Type", "TYPE"),
        ("Link", "LINK"),
        ("Layer", "LAYER"),
        ("Digest", "DIGEST"),
        ("Name", "NAME"),
    ],
    default: "{{.Mode}}\t{{.Owner}}\t{{.Size}}\t{{.Modified}}\t{{.Name}}",
    quiet: "Path",
    raw: "",
    texts: &[],
};

/// Where an image is, and the store if it is there.
fn opened(world: &World, image: &str) -> Result<(Place, Option<Context>), Failure> {
    let place = match Place::has_transport(image) {
        true => place(image)?,
        false => Place::Local(image.to_owned()),
    };
    let context = matches!(place, Place::Local(_)).then(|| world.reading()).transpose()?;
    Ok((place, context))
}

impl Verb for ImageFiles {
    const NAMES: &'static [&'static str] = &["image files"];
    const ABOUT: &'static str = "List the files of an image, wherever it is";
    const EXAMPLE: &'static str = "knarr image files -l docker://registry.example/app:1 /etc";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let (place, context) = opened(world, &self.image)?;
        let store = context.as_ref().map(|context| &context.store);
        let files =
            files::list(store, &place, self.whole, &only_side(&self.side, &self.tool)?).map_err(access::failure)?;
        let shown = files.entries.values().filter(|(_, file)| self.wants(&file.path));
        if let (None, false) = (&self.format, self.long) {
            let lines = shown.flat_map(|(_, file)| [&b"/"[..], &file.path, b"\n"].concat());
            raw(&lines.collect::<Vec<u8>>())?;
        } else {
            let rows: Vec<Value> = shown.map(|(layer, file)| row(file, &files.layers[*layer])).collect();
            raw(render(&COLUMNS, self.format.as_deref(), false, &rows, None)?.as_bytes())?;
        }
        if !self.quiet {
            tell(world, &files);
        }
        Ok(0)
    }
}

impl ImageFiles {
    fn wants(&self, path: &[u8]) -> bool {
        let below = |wanted: &String| {
            let wanted = wanted.trim_matches('/').as_bytes();
            let rest = path.strip_prefix(wanted);
            wanted.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.paths.is_empty() || self.paths.iter().any(below)
    }
}

impl Verb for ImageCat {
    const NAMES: &'static [&'static str] = &["image cat"];
    const ABOUT: &'static str = "Print a file of an image, wherever it is";
    const EXAMPLE: &'static str = "knarr image cat docker://registry.example/app:1 /etc/os-release";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let (place, context) = opened(world, &self.image)?;
        let store = context.as_ref().map(|context| &context.store);
        let options = only_side(&self.side, &self.tool)?;
        let mut out = std::io::stdout().lock();
        files::read(store, &place, self.path.as_bytes(), &options, &mut out).map_err(access::failure)?;
        flushed(out.flush())?;
        Ok(0)
    }
}

/// Bytes that need be no text, as they are; for a terminal without what would command it, since anybody may have named these files. A
/// reader that has gone is no error.
fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = match out.is_terminal() {
        true => out.write_all(harmless(&String::from_utf8_lossy(bytes)).as_bytes()),
        false => out.write_all(bytes),
    };
    flushed(written.and_then(|()| out.flush()))
}

/// Control characters but the ends of lines and columns as escapes.
fn harmless(text: &str) -> String {
    let escaped = |letter: char| match letter.is_control() && !matches!(letter, '\n' | '\t') {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(escaped).collect()
}

fn flushed(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("write output: {error}")))
        }
        _ => Ok(()),
    }
}

/// How the layers were read: what was saved, and which tables were not believed.
fn tell(world: &World, files: &Files) {
    for layer in &files.layers {
        if let Some(why) = &layer.distrust {
            world.note(&format!("layer {}: read whole: {why}", layer.digest));
        }
    }
    let tables = files.layers.iter().filter(|layer| layer.table.is_some()).count();
    if tables > 0 {
        let sum = |of: fn(&LayerRead) -> u64| files.layers.iter().map(of).sum();
        let (read, all) = (sum(|layer| layer.bytes_read), sum(|layer| layer.bytes));
        let layers = files.layers.len();
        world.note(&format!(
            "read {} of {}: {tables} of {layers} layers have a table of contents",
            size(read, 3),
            size(all, 3)
        ));
    }
}

fn row(file: &Listed, layer: &LayerRead) -> Value {
    let (letter, kind) = match file.kind {
        Kind::File => ('-', "file"),
        Kind::HardLink => ('-', "hardlink"),
        Kind::Symlink => ('l', "symlink"),
        Kind::CharDevice => ('c', "char"),
        Kind::BlockDevice => ('b', "block"),
        Kind::Directory => ('d', "dir"),
        Kind::Fifo => ('p', "fifo"),
    };
    let path = format!("/{}", String::from_utf8_lossy(&file.path));
    let link = String::from_utf8_lossy(&file.link);
    let name = match file.kind {
        Kind::Symlink => format!("{path} -> {link}"),
        Kind::HardLink => format!("{path} link to /{}", String::from_utf8_lossy(&file.data_path())),
        _ => path.clone(),
    };
    let modified = u64::try_from(file.modified_s).ok().and_then(|seconds| seconds.checked_mul(1_000_000_000));
    json!({
        "Mode": format!("{letter}{}", bits(file.mode)),
        "Owner": format!("{}:{}", file.uid, file.gid),
        "Size": file.bytes,
        "Modified": modified.map_or_else(|| file.modified_s.to_string(), time::rfc3339),
        "Path": path,
        "Type": kind,
        "Link": link,
        "Layer": layer.digest.to_string(),
        "Digest": file.content.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
        "Name": name,
    })
}

/// `rwxr-xr-x`, as ls has it.
fn bits(mode: u32) -> String {
    let mut text: Vec<u8> = Vec::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, b's'), (3, 0o2000, b's'), (0, 0o1000, b't')] {
        let three = mode >> shift;
        text.push(if three & 4 != 0 { b'r' } else { b'-' });
        text.push(if three & 2 != 0 { b'w' } else { b'-' });
        text.push(match (three & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => b'x',
            (false, false) => b'-',
        });
    }
    String::from_utf8(text).expect("letters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_command_a_terminal() {
        assert_eq!(harmless("/a\u{1b}[2J\u{9b}x\t\u{e9}\n"), "/a\\u{1b}[2J\\u{9b}x\t\u{e9}\n");
    }

    #[test]
    fn modes_are_shown_as_ls_shows_them() {
        for (mode, expect) in
            [(0o755, "rwxr-xr-x"), (0o4711, "rws--x--x"), (0o2640, "rw-r-S---"), (0o1777, "rwxrwxrwt")]
        {
            assert_eq!(bits(mode), expect);
        }
    }
}
