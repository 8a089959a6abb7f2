use super::*;

fn compiled(json: &str) -> Vec<Rule> {
    let list: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    rules(&list).unwrap()
}

/// The kernel's side: the few instructions the compiler uses.
fn run(program: &[u64], kind: u32, major: u32, minor: u32, access: u32) -> bool {
    let (mut r, mut at) = ([0i64; 11], 0usize);
    loop {
        let [code, registers, o0, o1, i0, i1, i2, i3] = program[at].to_ne_bytes();
        let little = cfg!(target_endian = "little");
        let (low, high) = ((registers & 15) as usize, (registers >> 4) as usize);
        let dst = if little { low } else { high };
        let (off, imm) = (i16::from_ne_bytes([o0, o1]), i64::from(i32::from_ne_bytes([i0, i1, i2, i3])));
        at += 1;
        let taken = match code {
            0x61 => {
                r[dst] = i64::from([access << 16 | kind, major, minor][off as usize / 4]);
                false
            }
            0x54 => {
                r[dst] &= imm & 0xffff_ffff;
                false
            }
            0x57 => {
                r[dst] &= imm;
                false
            }
            0x74 => {
                r[dst] = ((r[dst] as u32) >> imm) as i64;
                false
            }
            0xb7 => {
                r[dst] = imm;
                false
            }
            0x05 => true,
            0x45 => r[dst] & imm != 0,
            0x55 => r[dst] != imm,
            0x95 => return r[0] == 1,
            _ => panic!("instruction {} has code {code:#x}", at - 1),
        };
        if taken {
            at = at.checked_add_signed(off as isize).unwrap();
        }
    }
}

/// `c 1:3 rw`
fn asked(device: &str) -> (u32, u32, u32, u32) {
    let words: Vec<&str> = device.split([' ', ':']).collect();
    let kind = if words[0] == "b" { 1 } else { 2 };
    let access = words[3].chars().map(|c| ACCESS.iter().find(|(known, _)| *known == c).unwrap().1).sum();
    (kind, words[1].parse().unwrap(), words[2].parse().unwrap(), access)
}

fn check(json: &str, yes: &[&str], no: &[&str]) {
    let program = program(&compiled(json));
    for (devices, expect) in [(yes, true), (no, false)] {
        for device in devices {
            let (kind, major, minor, access) = asked(device);
            assert_eq!(run(&program, kind, major, minor, access), expect, "{device} of {json}");
        }
    }
}

const DENY_ALL: &str = r#"{"allow":false,"access":"rwm"}"#;

#[test]
fn the_default_devices_are_always_allowed() {
    check(
        &format!("[{DENY_ALL}]"),
        &["c 1:3 rw", "c 136:7 rw", "c 5:2 rwm", "b 8:0 m", "c 10:200 m"],
        &["b 8:0 r", "c 10:200 rw", "c 10:200 rm"],
    );
    check("[]", &["c 1:9 r"], &["c 10:200 r"]);
}

#[test]
fn a_device_can_be_allowed_in_part() {
    let json = format!(r#"[{DENY_ALL},{{"allow":true,"type":"b","major":8,"minor":0,"access":"r"}}]"#);
    check(&json, &["b 8:0 r", "b 8:0 rm"], &["b 8:0 w", "b 8:0 rw", "b 8:1 r", "c 8:0 r"]);
}

#[test]
fn parts_add_up() {
    let json = format!(
        r#"[{DENY_ALL},{{"allow":true,"type":"b","major":8,"access":"r"}},{{"allow":true,"type":"b","minor":0,"access":"w"}}]"#
    );
    check(&json, &["b 8:0 rw", "b 8:5 r", "b 9:0 w"], &["b 8:5 rw", "b 9:0 r"]);
}

#[test]
fn the_last_rule_about_a_device_wins() {
    let json = r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":10,"minor":200,"access":"w"}]"#;
    check(json, &["c 10:200 r", "b 8:0 rwm", "c 10:201 rw"], &["c 10:200 w", "c 10:200 rw"]);
    let json = format!(
        r#"[{DENY_ALL},{{"allow":true,"type":"c","major":10,"access":"rw"}},{{"allow":false,"type":"c","major":10,"minor":1,"access":"rw"}}]"#
    );
    check(&json, &["c 10:2 rw"], &["c 10:1 r"]);
}

#[test]
fn a_rule_without_a_type_is_about_both() {
    let json = format!(r#"[{DENY_ALL},{{"allow":true,"type":"a","major":8,"minor":-1,"access":"rw"}}]"#);
    check(&json, &["b 8:0 rw", "c 8:9 rw"], &["b 9:0 r"]);
    assert!(v1(&compiled(&json)).contains(&("devices.allow", "b 8:* rw".into())));
    assert!(v1(&compiled(&json)).contains(&("devices.allow", "c 8:* rw".into())));
}

#[test]
fn everything_is_recognised() {
    assert!(everything(&compiled(r#"[{"allow":false,"access":"rwm"},{"allow":true,"access":"rwm"}]"#)));
    assert!(everything(&compiled(r#"[{"allow":true,"type":"a"}]"#)));
    assert!(!everything(&compiled(r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","access":"w"}]"#)));
    assert!(!everything(&compiled("[]")));
}

#[test]
fn version_1_gets_lines() {
    let lines = v1(&compiled(
        r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rwm"}]"#,
    ));
    assert_eq!(lines[0], ("devices.deny", "a".into()));
    assert_eq!(lines[1], ("devices.allow", "c 10:229 mrw".into()));
    assert_eq!(lines.len(), 2 + ALWAYS.len());
}

#[test]
fn wrong_rules_are_refused() {
    let error = |json: &str| {
        let list: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
        rules(&list).unwrap_err().to_string()
    };
    assert_eq!(
        error(r#"[{"allow":true,"type":"p"}]"#),
        "linux.resources.devices: p *:* : pipes have no device numbers"
    );
    assert_eq!(
        error(r#"[{"allow":true,"type":"c","access":"rx"}]"#),
        "linux.resources.devices: c *:* rx: access is made of r, w and m"
    );
    assert_eq!(
        error(r#"[{"allow":true,"type":"c","major":-7}]"#),
        "linux.resources.devices: c -7:* : is no device number"
    );
}
