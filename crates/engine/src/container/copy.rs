//! `cp`: files into a container and out of it, whether it runs or not.
//!
//! Spec: docker's rules for what a target that is a directory, a file or nothing makes of a source; docker's words for what
//! cannot be. Law: every path of a container goes through a [`Root`], so that no link in it leads out; both sides meet in a
//! tar in a pipe, and nothing of a target is replaced by something of another kind.
//! Not here: splitting `container:path` (the face).

use std::ffi::{CString, OsStr};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use knarr_layer::{Compression, Limits, Owners, PackOptions, UnpackOptions, WhiteoutForm};
use knarr_layer::{archive, pack_one, unpack};
use knarr_monitor::Status;
use knarr_sys::at::{self, FileType};
use knarr_sys::{Errno, InRoot, Root};

use super::{find, tree, users};
use crate::image::problem::ImageProblem;
use crate::image::pull::unpack_options;
use crate::record::Container;
use crate::{Context, Error, Result};

/// Links that are followed one after the other, as the kernel does.
const LINKS_MAX: u32 = 40;

/// How to copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyWanted {
    /// Into a container: its user owns what is made. Out of it: owners are kept.
    pub archive: bool,
    /// A source that is a link is what it leads to.
    pub follow: bool,
}

/// A place in a tree: the root and the path below it as it was written.
struct Place<'p> {
    root: Root,
    path: &'p [u8],
    /// For messages.
    what: String,
}

/// What is to be copied, found.
enum Found {
    /// A directory, and whether only what it holds was meant.
    Dir(OwnedFd, bool),
    /// Anything else: the directory it stands in, and its name there.
    Other(OwnedFd, CString),
}

/// Copies `from` of this machine to `to` in the container. Returns the bytes of the tar.
pub fn copy_in(context: &Context, name: &str, to: &Path, from: &Path, wanted: CopyWanted) -> Result<u64> {
    let container = find(context, name)?;
    let source = host(from)?;
    let target = inside(context, &container, name, to.as_os_str().as_bytes(), true)?;
    let owners = match (wanted.archive, container.options.effective.user.as_str()) {
        (true, user) if !user.is_empty() => owner(context, &container, user)?,
        _ => Owners::Set,
    };
    between(context, &source, &target, wanted.follow, owners)
}

/// Copies `from` in the container to `to` on this machine. Returns the bytes of the tar.
pub fn copy_out(context: &Context, name: &str, from: &Path, to: &Path, wanted: CopyWanted) -> Result<u64> {
    let container = find(context, name)?;
    let source = inside(context, &container, name, from.as_os_str().as_bytes(), false)?;
    let owners = if wanted.archive { Owners::Set } else { Owners::Leave };
    between(context, &source, &host(to)?, wanted.follow, owners)
}

/// Unpacks a tar into the directory `to` of the container.
pub fn unpack_in(context: &Context, name: &str, to: &Path, tar: impl Read + Send, wanted: CopyWanted) -> Result<()> {
    let container = find(context, name)?;
    let target = inside(context, &container, name, to.as_os_str().as_bytes(), true)?;
    let dir = target.root.open_dir(&in_root(&target)?);
    let dir = dir.map_err(|_| problem(&target.what, "destination must be a directory"))?;
    let owners = match (wanted.archive, container.options.effective.user.as_str()) {
        (true, user) if !user.is_empty() => owner(context, &container, user)?,
        _ => Owners::Set,
    };
    receive(context, tar, &Root::from_fd(dir), owners, &target.what)
}

/// Writes `from` of the container as a tar.
pub fn pack_out(context: &Context, name: &str, from: &Path, out: impl Write, wanted: CopyWanted) -> Result<()> {
    let container = find(context, name)?;
    let source = inside(context, &container, name, from.as_os_str().as_bytes(), false)?;
    let found = look(&source, wanted.follow)?;
    let called = last_name(source.path).unwrap_or_default();
    send(context_ids(context), found, called, out, &source.what).map(drop)
}

/// The machine's own tree; a relative path begins at the caller's directory, which the face has put before it.
fn host(path: &Path) -> Result<Place<'_>> {
    let root = Root::open(Path::new("/")).map_err(Error::sys("open the root directory"))?;
    Ok(Place { root, path: path.as_os_str().as_bytes(), what: path.display().to_string() })
}

/// The tree of the container that `path` is in: its own, or a volume's where it does not run and nothing is mounted.
fn inside<'p>(context: &Context, container: &Container, name: &str, path: &'p [u8], write: bool) -> Result<Place<'p>> {
    let what = format!("{name}:{}", String::from_utf8_lossy(path));
    let denied = |why: &str| Error::from(ImageProblem::Path { what: what.clone(), why: why.to_owned() });
    let clean: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    let below = |target: &str| {
        let target: Vec<&[u8]> =
            target.as_bytes().split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
        clean.starts_with(&target).then_some(target.len())
    };
    let mounts = container.options.mounts.iter().filter_map(|mount| Some((below(&mount.target)?, mount)));
    let mount = mounts.max_by_key(|(depth, _)| *depth).map(|(_, mount)| mount);
    if write && mount.is_some_and(|mount| mount.read_only) {
        return Err(denied("mounted volume is marked read-only"));
    }
    if write && mount.is_none() && container.options.wanted.read_only {
        return Err(denied("container rootfs is marked read-only"));
    }
    match mount.filter(|mount| container.state.status != Status::Running && mount.source.is_dir()) {
        Some(mount) => {
            let root = Root::open(&mount.source).map_err(Error::sys("open a volume"))?;
            Ok(Place { root, path: behind(path, &mount.target), what })
        }
        None if write || container.state.status == Status::Running => {
            Ok(Place { root: tree::writable(context, container)?, path, what })
        }
        None => Ok(Place { root: tree::read_only(context, container)?, path, what }),
    }
}

/// What of a path comes behind the components of `target`.
fn behind<'p>(path: &'p [u8], target: &str) -> &'p [u8] {
    let mut rest = path;
    for _ in target.split('/').filter(|name| !name.is_empty()) {
        loop {
            rest = &rest[rest.iter().position(|&byte| byte != b'/').unwrap_or(rest.len())..];
            let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let name;
            (name, rest) = rest.split_at(end);
            if name != b"." {
                break;
            }
        }
    }
    rest
}

fn owner(context: &Context, container: &Container, user: &str) -> Result<Owners> {
    let mounts = context.store.root_mounts(&container.record.id)?;
    let user = users::in_layers(&mounts, user, &[])?;
    Ok(Owners::Give(user.uid, user.gid))
}

fn problem(what: &str, why: &str) -> Error {
    ImageProblem::Path { what: what.to_owned(), why: why.to_owned() }.into()
}

fn in_root(place: &Place<'_>) -> Result<InRoot> {
    InRoot::parse(OsStr::from_bytes(place.path)).map_err(|error| problem(&place.what, &error.to_string()))
}

/// Whether a path says by its end that it is a directory: `x/` and `x/.`.
fn ends_as_dir(path: &[u8]) -> bool {
    path.is_empty() || path.ends_with(b"/") || path == b"." || path.ends_with(b"/.")
}

/// The last name of a path that is one.
fn last_name(path: &[u8]) -> Option<&[u8]> {
    path.split(|&byte| byte == b'/').rfind(|name| !matches!(*name, b"" | b".")).filter(|name| *name != b"..")
}

fn is_dir(fd: &OwnedFd) -> Result<bool> {
    let stat = at::fstat(fd).map_err(Error::sys("look at a file"))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Finds the source.
fn look(place: &Place<'_>, follow: bool) -> Result<Found> {
    let missing = |error: knarr_sys::Error| match error.errno {
        Errno::NOENT => problem(&place.what, "no such file or directory"),
        Errno::NOTDIR => problem(&place.what, "not a directory"),
        _ => Error::sys("look at a file")(error),
    };
    let mut path = in_root(place)?;
    for _ in 0..LINKS_MAX {
        let only_contents = place.path.ends_with(b"/.") || place.path == b".";
        let through = follow || ends_as_dir(place.path);
        if path.is_top() {
            return place.root.open_dir(&path).map(|dir| Found::Dir(dir, only_contents)).map_err(missing);
        }
        let (dir, name) = place.root.parent(&path).map_err(missing)?;
        let name = CString::new(name.as_bytes()).expect("part of a path");
        let stat = at::stat(&dir, &name).map_err(missing)?;
        let stat = stat.ok_or_else(|| problem(&place.what, "no such file or directory"))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                return at::open_dir(&dir, &name).map(|dir| Found::Dir(dir, only_contents)).map_err(missing);
            }
            FileType::Symlink if through => {
                let target = at::read_link(&dir, &name).map_err(missing)?;
                let parent = path.split_last().map(|(parent, _)| parent).unwrap_or_else(InRoot::top);
                let target = target.to_bytes();
                let joined = match target.starts_with(b"/") {
                    true => target.to_vec(),
                    false => [parent.as_bytes(), b"/", target].concat(),
                };
                path = InRoot::parse(OsStr::from_bytes(&joined))
                    .map_err(|error| problem(&place.what, &error.to_string()))?;
            }
            _ if ends_as_dir(place.path) => return Err(problem(&place.what, "not a directory")),
            _ => return Ok(Found::Other(dir, name)),
        }
    }
    Err(problem(&place.what, "too many levels of symbolic links"))
}

/// Copies what is at one place to another, by docker's rules.
fn between(context: &Context, source: &Place<'_>, target: &Place<'_>, follow: bool, owners: Owners) -> Result<u64> {
    let found = look(source, follow)?;
    let source_is_dir = matches!(found, Found::Dir(..));
    let path = in_root(target)?;
    let (dir, called) = match target.root.open_path(&path) {
        Ok(there) if is_dir(&there)? => {
            let dir = target.root.open_dir(&path).map_err(Error::sys("open the target"))?;
            let contents = matches!(found, Found::Dir(_, true));
            (dir, if contents { Vec::new() } else { last_name(source.path).unwrap_or_default().to_vec() })
        }
        Ok(_) if source_is_dir => return Err(problem(&target.what, "cannot copy directory")),
        Ok(_) if ends_as_dir(target.path) => return Err(problem(&target.what, "not a directory")),
        Err(error) if error.errno == Errno::NOENT && !source_is_dir && ends_as_dir(target.path) => {
            return Err(problem(&target.what, "no such directory"));
        }
        Err(error) if error.errno != Errno::NOENT => return Err(Error::sys("look at the target")(error)),
        _ => {
            let parent = path.split_last().map(|(parent, _)| parent).unwrap_or_else(InRoot::top);
            let dir = target.root.open_dir(&parent);
            let dir = dir.map_err(|_| problem(&target.what, "no such directory"))?;
            (dir, last_name(target.path).unwrap_or_default().to_vec())
        }
    };
    let dir = Root::from_fd(dir);
    let (reader, writer) = std::io::pipe().map_err(Error::io("make a pipe for", Path::new(&target.what)))?;
    let (ids, called, what) = (context_ids(context), &called, &source.what);
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || send(ids, found, called, writer, what));
        let received = receive(context, reader, &dir, owners, &target.what);
        let sent = sending.join().expect("a packer does not panic");
        match (sent, received) {
            // The reader went away first: what it says is the reason.
            (Err(_), Err(error))
                if !matches!(error, Error::Layer { source: knarr_layer::Error::Header { .. }, .. }) =>
            {
                Err(error)
            }
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(bytes), Ok(())) => Ok(bytes),
        }
    })
}

/// Writes what was found as a tar in which it is called `called`; without a name only what a directory holds.
fn send(ids: knarr_layer::IdMap, found: Found, called: &[u8], out: impl Write, what: &str) -> Result<u64> {
    let options = PackOptions { compression: Compression::None, ids, any_names: true, ..PackOptions::default() };
    let packed = match found {
        Found::Dir(dir, _) => {
            let prefix = if called.is_empty() { Vec::new() } else { [called, b"/"].concat() };
            archive(&Root::from_fd(dir), out, &PackOptions { prefix, ..options })
        }
        Found::Other(dir, name) => {
            let called = if called.is_empty() { name.to_bytes() } else { called };
            pack_one(&Root::from_fd(dir), &name, called, out, &options)
        }
    };
    let packed = packed.map_err(|source| Error::Layer { what: format!("copy {what}"), source })?;
    Ok(packed.tar_bytes)
}

fn receive(context: &Context, tar: impl Read + Send, into: &Root, owners: Owners, what: &str) -> Result<()> {
    let options = UnpackOptions {
        compression: None,
        whiteouts: WhiteoutForm::Literal,
        ids: context_ids(context),
        owners,
        limits: Limits::default(),
        rootless: context.rootless(),
        pipeline: false,
    };
    let unpacked = unpack(tar, into, &options);
    unpacked.map(drop).map_err(|source| Error::Layer { what: format!("copy to {what}"), source })
}

fn context_ids(context: &Context) -> knarr_layer::IdMap {
    unpack_options(context).ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_behind_a_mount_is_relative_to_it() {
        for (path, target, expect) in [
            ("/data/x", "/data", "/x"),
            ("data/x/", "/data", "/x/"),
            ("//a/./b/c/.", "/a/b", "/c/."),
            ("/data", "/data", ""),
        ] {
            assert_eq!(behind(path.as_bytes(), target), expect.as_bytes(), "{path}");
        }
    }

    #[test]
    fn the_last_name_is_no_dot() {
        for (path, expect) in
            [("/a/b", Some("b")), ("/a/b/", Some("b")), ("/a/b/.", Some("b")), ("/", None), ("..", None)]
        {
            assert_eq!(last_name(path.as_bytes()), expect.map(str::as_bytes), "{path}");
        }
    }
}
