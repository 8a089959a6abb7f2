//! `cp`.

use std::io::{BufWriter, IsTerminal};
use std::path::{Path, PathBuf};

use knarr_engine::Context;
use knarr_engine::container::copy::{CopyWanted, copy_in, copy_out, pack_out, unpack_in};
use knarr_engine::container::is_running;

use crate::failure::Failure;
use crate::units::size;
use crate::verb::Verb;
use crate::world::{World, current_dir};

/// Copy files into a container or out of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Cp {
    /// Into a container: its user owns what is made. Out of it: owners are kept
    #[arg(long, short = 'a')]
    archive: bool,
    /// Follow a source that is a link
    #[arg(long, short = 'L')]
    follow_link: bool,
    /// Say nothing
    #[arg(long, short = 'q')]
    quiet: bool,
    /// CONTAINER:PATH, a path, or `-` for a tar on standard input
    #[arg(value_name = "SOURCE")]
    source: String,
    /// CONTAINER:PATH, a path, or `-` for a tar on standard output
    #[arg(value_name = "TARGET")]
    target: String,
}

/// One side of the copy.
enum Side<'w> {
    Container(&'w str, &'w str),
    Here(&'w str),
    Stream,
}

/// `container:path`; what begins with a dot or a slash is a path, whatever colons it has.
fn side(text: &str) -> Side<'_> {
    match text.split_once(':') {
        _ if text == "-" => Side::Stream,
        Some((name, path)) if !text.starts_with(['.', '/']) && !name.is_empty() => Side::Container(name, path),
        _ => Side::Here(text),
    }
}

impl Verb for Cp {
    const NAMES: &'static [&'static str] = &["cp", "container cp"];
    const ABOUT: &'static str = "Copy files into a container or out of it";
    const EXAMPLE: &'static str = "knarr cp web:/etc/hosts .";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let wanted = CopyWanted { archive: self.archive, follow: self.follow_link };
        let bytes = match (side(&self.source), side(&self.target)) {
            (Side::Container(..), Side::Container(..)) => {
                return Err(Failure::usage("copying between containers is not supported"));
            }
            (Side::Container(name, path), Side::Here(to)) => {
                let to = absolute(to);
                copy_out(&context(world, name)?, name, Path::new(path), &to, wanted).map(Some)
            }
            (Side::Here(from), Side::Container(name, path)) => {
                let from = absolute(from);
                copy_in(&context(world, name)?, name, Path::new(path), &from, wanted).map(Some)
            }
            (Side::Container(name, path), Side::Stream) => {
                if std::io::stdout().is_terminal() {
                    return Err(Failure::usage("cowardly refusing to save to a terminal"));
                }
                let out = BufWriter::new(std::io::stdout());
                pack_out(&context(world, name)?, name, Path::new(path), out, wanted).map(|()| None)
            }
            (Side::Stream, Side::Container(name, path)) => {
                unpack_in(&context(world, name)?, name, Path::new(path), std::io::stdin(), wanted).map(|()| None)
            }
            _ => return Err(Failure::usage("must specify at least one container source").hint(Self::EXAMPLE)),
        }?;
        if let Some(bytes) = bytes.filter(|_| !self.quiet) {
            anstream::eprintln!("Successfully copied {} to {}", size(bytes, 3), self.target);
        }
        Ok(0)
    }
}

/// Of a running container an ordinary user joins the namespace; for one at rest there is none yet.
fn context(world: &World, name: &str) -> Result<Context, Failure> {
    let context = world.reading()?;
    let id = context.store.container(name).map_err(knarr_engine::Error::from)?.id;
    if is_running(&context, &id)? {
        Ok(context)
    } else {
        drop(context);
        world.rooted()
    }
}

/// With the end as it was written: `x/` and `x/.` are not `x`.
fn absolute(path: &str) -> PathBuf {
    if path.starts_with('/') {
        return path.into();
    }
    let mut whole = current_dir().into_os_string();
    whole.push("/");
    whole.push(path);
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_behind_a_name_means_a_container() {
        assert!(matches!(side("web:/x"), Side::Container("web", "/x")));
        assert!(matches!(side("./web:x"), Side::Here("./web:x")));
        assert!(matches!(side("/a:b"), Side::Here("/a:b")));
        assert!(matches!(side("x"), Side::Here("x")));
        assert!(matches!(side("-"), Side::Stream));
    }
}
