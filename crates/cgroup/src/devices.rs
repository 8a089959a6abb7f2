//! Which device nodes may be used: version 1 has files for it, version 2 a BPF program.
//!
//! Spec: runtime-spec, config-linux.md "Allowed Device list"; kernel: admin-guide/cgroup-v1/devices.rst.
//! Law: rules apply in order, the last that names a device wins, separately for reading, writing and making it. The devices every
//! container must have are allowed whatever the list says.

use knarr_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::Error;

/// `BPF_DEVCG_ACC_*`, and their letters in the document.
const ACCESS: [(char, u32); 3] = [('m', 1), ('r', 2), ('w', 4)];
const ACCESS_ALL: u32 = 7;

/// One checked rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    allow: bool,
    /// `None`: character and block devices.
    kind: Option<Kind>,
    /// `None`: every number.
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `BPF_DEVCG_DEV_BLOCK`
    Block = 1,
    /// `BPF_DEVCG_DEV_CHAR`
    Char = 2,
}

const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u32) -> Rule {
    Rule { allow: true, kind: Some(kind), major, minor, access }
}

/// Making any node is harmless where using it is not allowed; the rest are the spec's default devices, ptmx and terminals.
const ALWAYS: [Rule; 10] = [
    allow(Kind::Char, None, None, 1),
    allow(Kind::Block, None, None, 1),
    allow(Kind::Char, Some(1), Some(3), ACCESS_ALL),
    allow(Kind::Char, Some(1), Some(5), ACCESS_ALL),
    allow(Kind::Char, Some(1), Some(7), ACCESS_ALL),
    allow(Kind::Char, Some(1), Some(8), ACCESS_ALL),
    allow(Kind::Char, Some(1), Some(9), ACCESS_ALL),
    allow(Kind::Char, Some(5), Some(0), ACCESS_ALL),
    allow(Kind::Char, Some(5), Some(2), ACCESS_ALL),
    allow(Kind::Char, Some(136), None, ACCESS_ALL),
];

/// Checks the list and adds what is always allowed. Rules that a later one covers wholly (the usual first "deny all") stay: they
/// are where the evaluation ends.
pub(crate) fn rules(list: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, Error> {
    let mut rules = list.iter().map(rule).collect::<Result<Vec<Rule>, Error>>()?;
    let all = rules.iter().rposition(Rule::is_everything).unwrap_or(0);
    rules.drain(..all);
    if rules.last().is_none_or(|rule| !(rule.allow && rule.is_everything())) {
        rules.extend(ALWAYS);
    }
    Ok(rules)
}

/// Who has a major number, by `/proc/devices`.
fn driver(proc_devices: &str, kind: Kind, major: u32) -> Option<&str> {
    let title = if kind == Kind::Char { "Character devices:" } else { "Block devices:" };
    let lines = proc_devices.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.trim().split_once(' '))
        .find(|(number, _)| number.parse() == Ok(major))
        .map(|(_, name)| name)
}

fn rule(rule: &LinuxDeviceCgroup) -> Result<Rule, Error> {
    const WHAT: &str = "linux.resources.devices";
    let wrong = |why| Error::Invalid { what: WHAT, value: rule.to_string(), why };
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Char),
        Some(LinuxDeviceType::B) => Some(Kind::Block),
        Some(LinuxDeviceType::P) => return Err(wrong("pipes have no device numbers")),
    };
    // -1 is how older documents write "every number".
    let number = |value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(value) => i32::try_from(value)
            .ok()
            .and_then(|v| u32::try_from(v).ok())
            .map(Some)
            .ok_or_else(|| wrong("is no device number")),
    };
    let text = rule.access().as_deref().filter(|text| !text.is_empty());
    let mut access = if text.is_none() { ACCESS_ALL } else { 0 };
    // runc passes over an "a", and documents that were written for it have some.
    for letter in text.unwrap_or_default().chars().filter(|letter| *letter != 'a') {
        let known =
            ACCESS.iter().find(|(known, _)| *known == letter).ok_or_else(|| wrong("access is made of r, w and m"))?;
        access |= known.1;
    }
    Ok(Rule { allow: rule.allow(), kind, major: number(rule.major())?, minor: number(rule.minor())?, access })
}

/// What is allowed, as systemd's `DeviceAllow` has it; `None`: everything. A rule that takes something away again is left to the files
/// and the program, which hold beside it.
pub(crate) fn allow_list(rules: &[Rule], proc_devices: &str) -> Option<Vec<(String, String)>> {
    if rules.first().is_none_or(|rule| rule.allow && rule.is_everything()) {
        return None;
    }
    let allowed = rules.iter().filter(|rule| rule.allow);
    Some(allowed.flat_map(|rule| rule.systemd_lines(proc_devices)).collect())
}

impl Rule {
    /// A node by its numbers, a driver by its name, or all of a kind.
    fn systemd_lines(&self, proc_devices: &str) -> Vec<(String, String)> {
        let kinds = self.kind.map_or(vec![Kind::Block, Kind::Char], |kind| vec![kind]);
        let access: String =
            ACCESS.iter().filter(|(_, bit)| self.access & bit != 0).map(|(letter, _)| letter).collect();
        let name = |kind: Kind| {
            let word = if kind == Kind::Char { "char" } else { "block" };
            match (self.major, self.minor) {
                (Some(major), Some(minor)) => Some(format!("/dev/{word}/{major}:{minor}")),
                (Some(major), None) => driver(proc_devices, kind, major).map(|driver| format!("{word}-{driver}")),
                (None, None) => Some(format!("{word}-*")),
                (None, Some(_)) => None,
            }
        };
        kinds.into_iter().filter_map(name).map(|name| (name, access.clone())).collect()
    }

    fn is_everything(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ACCESS_ALL
    }

    /// File and line for version 1. "a" means everything there, whatever follows: a rule for both kinds that is not about
    /// everything becomes one line for each.
    fn v1_lines(&self) -> Vec<(&'static str, String)> {
        let file = if self.allow { "devices.allow" } else { "devices.deny" };
        if self.is_everything() {
            return vec![(file, "a".into())];
        }
        let number = |value: Option<u32>| value.map_or("*".to_owned(), |value| value.to_string());
        let access: String =
            ACCESS.iter().filter(|(_, bit)| self.access & bit != 0).map(|(letter, _)| letter).collect();
        let line = |kind| format!("{kind} {}:{} {access}", number(self.major), number(self.minor));
        match self.kind {
            Some(Kind::Char) => vec![(file, line('c'))],
            Some(Kind::Block) => vec![(file, line('b'))],
            None => vec![(file, line('c')), (file, line('b'))],
        }
    }
}

/// What to write for version 1, in order.
pub(crate) fn v1(rules: &[Rule]) -> Vec<(&'static str, String)> {
    rules.iter().flat_map(Rule::v1_lines).collect()
}

/// Whether the rules allow everything: then version 2 needs no program.
pub(crate) fn everything(rules: &[Rule]) -> bool {
    matches!(rules, [rule] if rule.allow && rule.is_everything())
}

/// The program for version 2: rules from the last to the first; each takes the bits of the request it decides.
///
/// ```text
/// r2 = type, r3 = bits not yet decided, r4 = major, r5 = minor      (struct bpf_cgroup_dev_ctx { u32 access_type, major, minor })
/// allow rule: matches? r3 &= ~access; if r3 == 0 goto yes      (access rwm: yes)
/// deny rule:  matches? if r3 & access goto no                  (access rwm: no)
/// ```
pub(crate) fn program(rules: &[Rule]) -> Vec<u64> {
    const WORD: u8 = 0x61;
    const AND32: u8 = 0x54;
    const AND: u8 = 0x57;
    const SHIFT_RIGHT32: u8 = 0x74;
    const MOVE: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    const JNE: u8 = 0x55;
    const JA: u8 = 0x05;
    const JSET: u8 = 0x45;
    let mut code = vec![
        insn(WORD, 2, 1, 0, 0),
        insn(WORD, 3, 1, 0, 0),
        insn(AND32, 2, 0, 0, 0xffff),
        insn(SHIFT_RIGHT32, 3, 0, 0, 16),
        insn(WORD, 4, 1, 4, 0),
        insn(WORD, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let tests = [(2, rule.kind.map(|kind| kind as u32)), (4, rule.major), (5, rule.minor)];
        let tests: Vec<(u8, u32)> =
            tests.iter().filter_map(|(register, value)| value.map(|v| (*register, v))).collect();
        let verdict = [insn(MOVE, 0, 0, 0, rule.allow.into()), insn(EXIT, 0, 0, 0, 0)];
        let test = match rule.allow {
            // Every bit that is left: no question, and fewer paths for the kernel's verifier to walk.
            _ if rule.access == ACCESS_ALL => vec![],
            true => vec![insn(AND, 3, 0, 0, !rule.access as i32), insn(JNE, 3, 0, 2, 0)],
            false => vec![insn(JSET, 3, 0, 1, rule.access as i32), insn(JA, 0, 0, 2, 0)],
        };
        for (at, (register, value)) in tests.iter().enumerate() {
            let skip = (tests.len() - at - 1 + test.len() + verdict.len()) as i16;
            code.push(insn(JNE, *register, 0, skip, *value as i32));
        }
        code.extend(test);
        code.extend(verdict);
        if tests.is_empty() && rule.access == ACCESS_ALL {
            // What would follow could never be reached, which the verifier refuses.
            return code;
        }
    }
    code.extend([insn(MOVE, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
    code
}

/// `struct bpf_insn { u8 code; u8 dst_reg:4, src_reg:4; s16 off; s32 imm; }`
fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    let registers = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
    let (o, i) = (off.to_ne_bytes(), imm.to_ne_bytes());
    u64::from_ne_bytes([code, registers, o[0], o[1], i[0], i[1], i[2], i[3]])
}

#[cfg(test)]
mod tests;
