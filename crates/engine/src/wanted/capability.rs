//! Capability names and docker's arithmetic of `--cap-add` and `--cap-drop`.

use super::ParseError;

/// All capabilities of Linux 6.x by number, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities as a bit mask by kernel number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySet(pub u64);

/// The names of every capability, by number.
pub fn all_capabilities() -> &'static [&'static str] {
    &NAMES
}

impl CapabilitySet {
    /// Every capability known here.
    pub const ALL: CapabilitySet = CapabilitySet((1 << NAMES.len()) - 1);

    /// Docker's default set.
    pub fn docker_default() -> CapabilitySet {
        CapabilitySet(DEFAULT.iter().fold(0, |set, name| set | bit(name).expect("a name of the table")))
    }

    /// The set after additions and drops, as docker computes it: `ALL` on either side is the base, the other names are the
    /// exceptions, and a drop outweighs an addition of the same name.
    pub fn adjusted(self, add: &[String], drop: &[String]) -> Result<CapabilitySet, ParseError> {
        let has_all = |list: &[String]| list.iter().any(|name| name.eq_ignore_ascii_case("all"));
        let (added, dropped) = (named("cap-add", add)?, named("cap-drop", drop)?);
        let base = match (has_all(add), has_all(drop)) {
            (_, true) => CapabilitySet(0),
            (true, false) => CapabilitySet::ALL,
            (false, false) => self,
        };
        Ok(CapabilitySet((base.0 | added.0) & !dropped.0))
    }

    /// The names in it, by number.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(number, _)| self.0 >> number & 1 == 1).map(|(_, name)| *name)
    }
}

fn named(option: &'static str, list: &[String]) -> Result<CapabilitySet, ParseError> {
    let names = list.iter().filter(|name| !name.eq_ignore_ascii_case("all"));
    let mut set = 0;
    for name in names {
        set |= bit(name).ok_or_else(|| ParseError::new(option, name, "no such capability"))?;
    }
    Ok(CapabilitySet(set))
}

fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).map(|number| 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expect: Option<&[&str]>) {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let base = CapabilitySet(bit("KILL").unwrap() | bit("CHOWN").unwrap());
        let got = base.adjusted(&own(add), &own(drop)).ok().map(|set| set.names().collect::<Vec<_>>());
        assert_eq!(got.as_deref(), expect);
    }

    #[test]
    fn names_may_carry_their_prefix_and_any_case() {
        check(&["cap_net_admin"], &["Kill"], Some(&["CHOWN", "NET_ADMIN"]));
    }

    #[test]
    fn drop_all_leaves_only_what_is_added() {
        check(&["NET_RAW"], &["ALL"], Some(&["NET_RAW"]));
    }

    #[test]
    fn add_all_leaves_out_only_what_is_dropped() {
        let all = CapabilitySet::docker_default().adjusted(&["all".into()], &["MKNOD".into()]).unwrap();
        assert_eq!(all.names().count(), NAMES.len() - 1);
    }

    #[test]
    fn an_unknown_name_is_refused() {
        check(&["FLY"], &[], None);
    }

    #[test]
    fn the_default_set_has_dockers_mask() {
        assert_eq!(CapabilitySet::docker_default().0, 0xa80425fb);
    }
}
