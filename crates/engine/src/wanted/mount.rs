//! `-v`, `--mount` and `--tmpfs` as docker reads them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ParseError, parse_size};

/// One mount a user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountWanted {
    /// Absolute path inside.
    pub target: String,
    /// No writing through it.
    pub read_only: bool,
    /// What is mounted there.
    #[serde(flatten)]
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum MountKind {
    /// A file or directory of the host.
    Bind(BindOptions),
    /// A volume; without a name a new anonymous one.
    Volume {
        /// The volume's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Do not fill a new volume with what the image has there.
        nocopy: bool,
    },
    /// Memory.
    Tmpfs {
        /// Mount options, as `size=64m`.
        options: Vec<String>,
    },
}

/// How a host path is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindOptions {
    /// Absolute host path.
    pub source: PathBuf,
    /// Make a directory where the source is missing, as `-v` does.
    pub create_source: bool,
    /// Leave out what is mounted below the source.
    pub non_recursive: bool,
    /// Which later mounts pass between host and container.
    pub propagation: Propagation,
}

/// Mount propagation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the kernel's own words")]
pub enum Propagation {
    #[default]
    Rprivate,
    Private,
    Rshared,
    Shared,
    Rslave,
    Slave,
}

impl Propagation {
    /// The mount option.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Rprivate => "rprivate",
            Propagation::Private => "private",
            Propagation::Rshared => "rshared",
            Propagation::Shared => "shared",
            Propagation::Rslave => "rslave",
            Propagation::Slave => "slave",
        }
    }

    fn parse(text: &str) -> Option<Propagation> {
        use Propagation::*;
        [Rprivate, Private, Rshared, Shared, Rslave, Slave].into_iter().find(|p| p.as_str() == text)
    }
}

impl MountWanted {
    /// One `-v` value: `[SOURCE:]TARGET[:OPTIONS]`. A source with a slash in front or `./` is a host path, resolved against `cwd`.
    pub fn parse_volume(text: &str, cwd: &Path) -> Result<MountWanted, ParseError> {
        let wrong = |why: &str| ParseError::new("volume", text, why);
        let (source, target, options) = match text.split(':').collect::<Vec<_>>()[..] {
            [target] => (None, target, ""),
            [source, target] => (Some(source), target, ""),
            [source, target, options] => (Some(source), target, options),
            _ => return Err(wrong("expected [SOURCE:]TARGET[:OPTIONS]")),
        };
        let mut draft = Draft::default();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            draft.short_option(option).ok_or_else(|| wrong(&format!("unknown option {option:?}")))?;
        }
        let kind = match source {
            None => MountKind::Volume { name: None, nocopy: draft.nocopy },
            Some("") => return Err(wrong("the source is empty")),
            Some(path) if path.starts_with('/') || path.starts_with("./") || path.starts_with("../") || path == "." => {
                MountKind::Bind(draft.bind(cwd.join(path), true))
            }
            Some(name) => MountKind::Volume { name: Some(checked_name("volume", name)?), nocopy: draft.nocopy },
        };
        Ok(MountWanted { target: checked_target("volume", target)?, read_only: draft.read_only, kind })
    }

    /// One `--mount` value: `type=…,source=…,target=…,…`.
    pub fn parse_mount(text: &str, cwd: &Path) -> Result<MountWanted, ParseError> {
        let wrong = |why: &str| ParseError::new("mount", text, why);
        let mut draft = Draft::default();
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            draft.long_option(key, value).ok_or_else(|| wrong(&format!("unknown or wrong field {field:?}")))?;
        }
        let target = draft.target.as_deref().ok_or_else(|| wrong("target is required"))?;
        let target = checked_target("mount", target)?;
        let kind = match (draft.kind.as_deref().unwrap_or("volume"), draft.source.clone()) {
            ("bind", None) => return Err(wrong("source is required for type=bind")),
            ("bind", Some(source)) => {
                let create = draft.create_source;
                MountKind::Bind(draft.bind(cwd.join(source), create))
            }
            ("volume", source) => {
                let name = source.filter(|name| !name.is_empty());
                let name = name.map(|name| checked_name("mount", &name)).transpose()?;
                MountKind::Volume { name, nocopy: draft.nocopy }
            }
            ("tmpfs", None) => MountKind::Tmpfs { options: draft.tmpfs },
            ("tmpfs", Some(_)) => return Err(wrong("type=tmpfs takes no source")),
            (other, _) => {
                return Err(wrong(&format!("type {other:?} is not supported yet: expected bind, volume or tmpfs")));
            }
        };
        Ok(MountWanted { target, read_only: draft.read_only, kind })
    }

    /// One `--tmpfs` value: `TARGET[:OPTIONS]`.
    pub fn parse_tmpfs(text: &str) -> Result<MountWanted, ParseError> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let mut read_only = false;
        let mut kept = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => read_only = true,
                "rw" => read_only = false,
                option if tmpfs_option_known(option) => kept.push(option.to_owned()),
                option => return Err(ParseError::new("tmpfs", text, format!("unknown option {option:?}"))),
            }
        }
        let target = checked_target("tmpfs", target)?;
        Ok(MountWanted { target, read_only, kind: MountKind::Tmpfs { options: kept } })
    }
}

/// What options have said so far.
#[derive(Default)]
struct Draft {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    nocopy: bool,
    create_source: bool,
    non_recursive: bool,
    propagation: Propagation,
    tmpfs: Vec<String>,
}

impl Draft {
    fn bind(&self, source: PathBuf, create_source: bool) -> BindOptions {
        let (non_recursive, propagation) = (self.non_recursive, self.propagation);
        BindOptions { source, create_source, non_recursive, propagation }
    }

    fn short_option(&mut self, option: &str) -> Option<()> {
        match option {
            "ro" | "readonly" => self.read_only = true,
            "rw" => self.read_only = false,
            "nocopy" => self.nocopy = true,
            // SELinux relabelling and consistency have no meaning on hosts without them; docker accepts them everywhere.
            "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            other => self.propagation = Propagation::parse(other)?,
        }
        Some(())
    }

    fn long_option(&mut self, key: &str, value: &str) -> Option<()> {
        let flag = |value: &str| match value {
            "" | "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        };
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "destination" | "dst" => self.target = Some(value.to_owned()),
            "readonly" | "ro" => self.read_only = flag(value)?,
            "bind-propagation" => self.propagation = Propagation::parse(value)?,
            "bind-nonrecursive" => self.non_recursive = flag(value)?,
            "bind-recursive" => {
                self.non_recursive =
                    matches!(value, "disabled").then_some(true).or((value == "enabled").then_some(false))?
            }
            "bind-create-src" => self.create_source = flag(value)?,
            "volume-nocopy" => self.nocopy = flag(value)?,
            "volume-driver" if value == "local" => {}
            "consistency" => {}
            "tmpfs-size" => self.tmpfs.push(format!("size={}", parse_size("mount", value).ok()?)),
            "tmpfs-mode" if u32::from_str_radix(value, 8).is_ok() => self.tmpfs.push(format!("mode={value}")),
            _ => return None,
        }
        Some(())
    }
}

fn tmpfs_option_known(option: &str) -> bool {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    match key {
        "size" => value.ends_with('%') || parse_size("tmpfs", value).is_ok(),
        "mode" => u32::from_str_radix(value, 8).is_ok(),
        "uid" | "gid" | "nr_inodes" | "nr_blocks" => !value.is_empty(),
        "mpol" | "huge" => true,
        "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" | "sync" | "async" | "atime" | "noatime"
        | "diratime" | "nodiratime" | "relatime" | "norelatime" | "strictatime" | "nostrictatime" | "nosymfollow"
        | "noswap" => value.is_empty(),
        _ => false,
    }
}

fn checked_target(option: &'static str, target: &str) -> Result<String, ParseError> {
    if !target.starts_with('/') {
        return Err(ParseError::new(option, target, "the path inside must be absolute"));
    }
    if target.trim_matches('/').is_empty() {
        return Err(ParseError::new(option, target, "the path inside must not be the root directory"));
    }
    Ok(target.to_owned())
}

fn checked_name(option: &'static str, name: &str) -> Result<String, ParseError> {
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.len() >= 2 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(rest) {
        return Ok(name.to_owned());
    }
    let why = "a volume name is [a-zA-Z0-9][a-zA-Z0-9_.-]+; a host path begins with / or ./";
    Err(ParseError::new(option, name, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CWD: &str = "/work";

    fn bind(source: &str) -> BindOptions {
        let propagation = Propagation::Rprivate;
        BindOptions { source: source.into(), create_source: true, non_recursive: false, propagation }
    }

    fn check(text: &str, target: &str, read_only: bool, kind: MountKind) {
        let got = MountWanted::parse_volume(text, Path::new(CWD)).unwrap();
        assert_eq!(got, MountWanted { target: target.into(), read_only, kind });
    }

    fn check_mount(text: &str, target: &str, read_only: bool, kind: MountKind) {
        let got = MountWanted::parse_mount(text, Path::new(CWD)).unwrap();
        assert_eq!(got, MountWanted { target: target.into(), read_only, kind });
    }

    #[test]
    fn an_absolute_source_is_a_bind_that_creates_it() {
        check("/a:/b", "/b", false, MountKind::Bind(bind("/a")));
        check("./a:/b:ro,z", "/b", true, MountKind::Bind(bind("/work/./a")));
        let shared = BindOptions { propagation: Propagation::Rshared, ..bind("/a") };
        check("/a:/b:rshared", "/b", false, MountKind::Bind(shared));
    }

    #[test]
    fn a_name_is_a_volume_and_nothing_an_anonymous_one() {
        check("data:/b:nocopy", "/b", false, MountKind::Volume { name: Some("data".into()), nocopy: true });
        check("/b", "/b", false, MountKind::Volume { name: None, nocopy: false });
    }

    #[test]
    fn a_mount_of_type_bind_does_not_create_its_source() {
        let plain = BindOptions { create_source: false, ..bind("/a") };
        check_mount("type=bind,src=/a,dst=/b,ro", "/b", true, MountKind::Bind(plain));
        let alone = BindOptions { create_source: false, non_recursive: true, ..bind("/a") };
        check_mount("type=bind,source=/a,target=/b,bind-recursive=disabled", "/b", false, MountKind::Bind(alone));
    }

    #[test]
    fn a_mount_without_type_is_a_volume() {
        check_mount(
            "src=data,dst=/b,readonly=true",
            "/b",
            true,
            MountKind::Volume { name: Some("data".into()), nocopy: false },
        );
    }

    #[test]
    fn tmpfs_takes_sizes_and_modes() {
        let options = vec!["size=65536".to_owned(), "mode=1777".to_owned()];
        check_mount("type=tmpfs,dst=/t,tmpfs-size=64k,tmpfs-mode=1777", "/t", false, MountKind::Tmpfs { options });
        let got = MountWanted::parse_tmpfs("/t:ro,size=1m,noexec").unwrap();
        let options = vec!["size=1m".to_owned(), "noexec".to_owned()];
        assert_eq!(got, MountWanted { target: "/t".into(), read_only: true, kind: MountKind::Tmpfs { options } });
    }

    #[test]
    fn wrong_forms_are_refused() {
        for text in ["", "a", "a:b", "/a:/", ":/b", "/a:/b:x", "/a:/b:ro:rw", "-x:/b", "a/b:/c"] {
            assert!(MountWanted::parse_volume(text, Path::new(CWD)).is_err(), "{text:?}");
        }
        for text in [
            "",
            "type=bind,dst=/b",
            "type=npipe,dst=/b,src=x",
            "dst=b",
            "src=a",
            "type=tmpfs,src=a,dst=/b",
            "dst=/b,x=y",
        ] {
            assert!(MountWanted::parse_mount(text, Path::new(CWD)).is_err(), "{text:?}");
        }
        assert!(MountWanted::parse_tmpfs("/t:lowerdir=/").is_err());
    }
}
