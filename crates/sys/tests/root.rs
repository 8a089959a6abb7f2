//! What a [`Root`] promises, asked of the kernel's openat2 and of the emulation alike.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use knarr_sys::{Errno, InRoot, Mode, OFlags, Resolver, Root};

/// A tree with a secret beside it: `outside/secret` must never be read through `root`.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.root().join("etc/deep")).unwrap();
        fs::create_dir(tree.0.path().join("outside")).unwrap();
        fs::write(tree.0.path().join("outside/secret"), "secret").unwrap();
        fs::write(tree.root().join("etc/passwd"), "inside").unwrap();
        tree
    }

    fn root(&self) -> std::path::PathBuf {
        self.0.path().join("root")
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.root().join(name)).unwrap();
    }

    fn handles(&self) -> [Root; 2] {
        [Resolver::Kernel, Resolver::Emulated].map(|resolver| {
            let fd = OwnedFd::from(File::open(self.root()).unwrap());
            Root::with_resolver(fd, resolver)
        })
    }

    /// Reads `path` in both ways and expects the same answer of both.
    fn check(&self, path: &str, expect: Result<&str, Errno>) {
        for root in self.handles() {
            let found = read(&root, path);
            assert_eq!(found.as_deref().map_err(|errno| *errno), expect, "{path} with {root:?}");
        }
    }
}

fn path(text: &str) -> InRoot {
    InRoot::parse(text).unwrap()
}

fn read(root: &Root, name: &str) -> Result<String, Errno> {
    let fd = root.open_file(&path(name), OFlags::RDONLY, Mode::empty()).map_err(|error| error.errno)?;
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).unwrap();
    Ok(text)
}

#[test]
fn a_plain_path_opens() {
    Tree::new().check("etc/passwd", Ok("inside"));
    Tree::new().check("/etc/deep/../passwd", Ok("inside"));
    Tree::new().check("etc/shadow", Err(Errno::NOENT));
    Tree::new().check("etc/passwd/x", Err(Errno::NOTDIR));
}

#[test]
fn dot_dot_stops_at_the_root() {
    Tree::new().check("../outside/secret", Err(Errno::NOENT));
    Tree::new().check("etc/../../../../outside/secret", Err(Errno::NOENT));
    Tree::new().check("../../../etc/passwd", Ok("inside"));
}

#[test]
fn absolute_links_start_at_the_root() {
    let tree = Tree::new();
    tree.link(tree.0.path().join("outside/secret"), "host");
    tree.link("/etc/passwd", "absolute");
    tree.link("/", "slash");
    tree.check("host", Err(Errno::NOENT));
    tree.check("absolute", Ok("inside"));
    tree.check("slash/slash/etc/passwd", Ok("inside"));
}

#[test]
fn relative_links_climb_no_higher_than_the_root() {
    let tree = Tree::new();
    tree.link("../../../outside/secret", "etc/up");
    tree.link("../../../../etc/passwd", "etc/deep/up");
    tree.check("etc/up", Err(Errno::NOENT));
    tree.check("etc/deep/up", Ok("inside"));
}

#[test]
fn dot_dot_behind_a_link_is_taken_where_the_link_leads() {
    let tree = Tree::new();
    tree.link("etc/deep", "short");
    tree.check("short/../passwd", Ok("inside"));
}

#[test]
fn link_loops_end_in_eloop() {
    let tree = Tree::new();
    tree.link("b", "a");
    tree.link("a", "b");
    tree.link("self/self", "self");
    tree.check("a", Err(Errno::LOOP));
    tree.check("self/x", Err(Errno::LOOP));
}

#[test]
fn a_chain_of_forty_links_is_followed_and_forty_one_are_not() {
    let tree = Tree::new();
    tree.link("etc/passwd", "link1");
    for number in 2..=41 {
        tree.link(format!("link{}", number - 1), &format!("link{number}"));
    }
    tree.check("link40", Ok("inside"));
    tree.check("link41", Err(Errno::LOOP));
}

#[test]
fn nofollow_takes_the_link_itself() {
    let tree = Tree::new();
    tree.link("/etc/passwd", "link");
    for root in tree.handles() {
        let fd = root.open_path_nofollow(&path("link")).unwrap();
        let target = rustix::fs::readlinkat(&fd, c"", Vec::new()).unwrap();
        assert_eq!(target.as_bytes(), b"/etc/passwd");
        let refused = root.open_file(&path("link"), OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty());
        assert_eq!(refused.unwrap_err().errno, Errno::LOOP);
    }
}

#[test]
fn a_file_is_created_where_a_dangling_link_points_inside() {
    for number in 0..2 {
        let tree = Tree::new();
        tree.link("/etc/new", "link");
        let flags = OFlags::WRONLY | OFlags::CREATE;
        tree.handles()[number].open_file(&path("link"), flags, Mode::from(0o640)).unwrap();
        assert!(tree.root().join("etc/new").is_file());
        let exclusive = tree.handles()[number].open_file(&path("link"), flags | OFlags::EXCL, Mode::from(0o640));
        assert_eq!(exclusive.unwrap_err().errno, Errno::EXIST);
    }
}

#[test]
fn the_parent_is_resolved_and_the_last_name_is_not() {
    let tree = Tree::new();
    tree.link("/etc", "conf");
    tree.link("/etc/passwd", "etc/link");
    for root in tree.handles() {
        let (fd, name) = root.parent(&path("conf/link")).unwrap();
        assert_eq!(name, "link");
        assert!(rustix::fs::readlinkat(&fd, name.as_os_str(), Vec::new()).is_ok());
        assert_eq!(root.parent(&path("/")).unwrap_err().errno, Errno::INVAL);
        assert_eq!(root.parent(&path("etc/..")).unwrap_err().errno, Errno::INVAL);
    }
}

#[test]
fn directories_are_made_inside_whatever_the_links_say() {
    for number in 0..2 {
        let tree = Tree::new();
        tree.link("/../../outside", "out");
        tree.link("etc", "conf");
        fs::create_dir(tree.root().join("outside")).unwrap();
        let root = &tree.handles()[number];
        let mode = Mode::from(0o755);
        root.make_dirs(&path("a/b/c"), mode).unwrap();
        root.make_dirs(&path("a/b/c"), mode).unwrap();
        root.make_dirs(&path("conf/made"), mode).unwrap();
        root.make_dirs(&path("out/made"), mode).unwrap();
        assert!(tree.root().join("a/b/c").is_dir());
        assert!(tree.root().join("etc/made").is_dir());
        assert!(tree.root().join("outside/made").is_dir());
        assert!(!tree.0.path().join("outside/made").exists());
    }
}

#[test]
fn make_dirs_refuses_files_dangling_links_and_dot_dot_behind_nothing() {
    let tree = Tree::new();
    tree.link("nowhere", "dangling");
    for root in tree.handles() {
        let refusal = |text: &str| root.make_dirs(&path(text), Mode::from(0o755)).unwrap_err().errno;
        assert_eq!(refusal("etc/passwd/x"), Errno::NOTDIR);
        assert_eq!(refusal("dangling/x"), Errno::NOTDIR);
        assert_eq!(refusal("missing/../x"), Errno::NOENT);
    }
}

#[test]
fn magic_links_do_not_lead_out() {
    for resolver in [Resolver::Kernel, Resolver::Emulated] {
        let proc = Root::with_resolver(OwnedFd::from(File::open("/proc").unwrap()), resolver);
        assert!(proc.open_path(&path("self/root/etc/passwd")).is_err());
        assert!(proc.open_path(&path("self/cwd")).is_err());
        assert!(proc.open_path(&path("self/status")).is_ok());
    }
}

#[test]
fn a_failure_names_root_path_and_flags() {
    let tree = Tree::new();
    let error = tree.handles()[0].open_path(&path("missing")).unwrap_err().to_string();
    assert!(error.starts_with("openat2("), "{error}");
    assert!(error.contains("/root>, \"missing\", O_PATH|RESOLVE_IN_ROOT) = ENOENT (No such file"), "{error}");
}

/// Ends the attacker's loop also where an assertion fails, so that a failure is a failure and not a hang.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `swapped` flips between a directory with a harmless file and a link to the secret's directory, without pause, while
/// both resolvers read through it: they see the harmless file or an error, never the secret.
#[test]
fn a_link_swapped_while_resolving_never_leads_out() {
    let tree = Tree::new();
    fs::create_dir_all(tree.root().join("dir")).unwrap();
    fs::write(tree.root().join("dir/secret"), "harmless").unwrap();
    tree.link(tree.0.path().join("outside"), "absolute");
    tree.link("../../../../../../outside", "relative");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let at = |name: &str| tree.root().join(name);
            while !stop.load(Ordering::Relaxed) {
                for other in ["absolute", "relative"] {
                    fs::rename(at("dir"), at("swapped")).unwrap();
                    fs::rename(at("swapped"), at("dir")).unwrap();
                    fs::rename(at(other), at("swapped")).unwrap();
                    fs::rename(at("swapped"), at(other)).unwrap();
                }
            }
        });
        let _stop = StopOnDrop(&stop);
        let mut harmless = 0;
        for _ in 0..4000 {
            for root in tree.handles() {
                for name in ["swapped/secret", "etc/deep/../../swapped/secret", "swapped/../swapped/secret"] {
                    match read(&root, name) {
                        Ok(text) => {
                            assert_eq!(text, "harmless");
                            harmless += 1;
                        }
                        Err(errno) => assert!(
                            matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::AGAIN),
                            "{errno:?}"
                        ),
                    }
                }
            }
        }
        eprintln!("{harmless} reads met the directory");
    });
}

/// A directory moved up while a walk stands in it: `..` from there must not climb beside the root.
#[test]
fn a_directory_moved_out_of_its_depth_does_not_carry_the_walk_out() {
    let tree = Tree::new();
    fs::create_dir_all(tree.root().join("a/b/c")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(tree.root().join("a/b/c"), tree.root().join("c")).unwrap();
                fs::rename(tree.root().join("c"), tree.root().join("a/b/c")).unwrap();
            }
        });
        let _stop = StopOnDrop(&stop);
        for _ in 0..4000 {
            for root in tree.handles() {
                assert_ne!(read(&root, "a/b/c/../../../../outside/secret").as_deref(), Ok("secret"));
            }
        }
    });
}
