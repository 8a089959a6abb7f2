//! `cargo xtask order`: which functions of the release binary a container's start runs, as a linker script that puts them beside each
//! other (`crates/knarr/order.ld`).
//!
//! The kernel maps sixteen pages around each one that is touched. A run of the runtime executes a twentieth of the binary's code; strewn
//! over all of it, nearly two thirds of the file were mapped: 5.8 MB resident, and as many faults. In one piece it is 1.7 MB.
//!
//! Law: names in the script carry no hash where that can be, so that they fit the next compiler; what does not fit any more is laid out
//! as everything else is, which costs memory and nothing besides. To be run again when the bench says that the memory of a run has grown.
//! Not here: how the functions are found (`crates/sys/examples/functions.rs`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::{Outcome, cargo, shell, workspace};

/// Where the script stands.
const SCRIPT: &str = "crates/knarr/order.ld";

/// A name without its hash may fit other functions too, which come along. Where they are so much more than what was meant, the hash
/// stays; it changes with the compiler and with the versions of what is compiled.
const DRAG_BYTES_MAX: u64 = 16 << 10;
const DRAG_MAX: u64 = 16;

/// A function's section: where it is in memory, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    begin: u64,
    bytes: u64,
    /// As the script names it.
    pattern: String,
    /// The same with its hash.
    exact: String,
}

/// Builds, looks, writes.
pub fn run() -> Outcome {
    if !shell::is_root() {
        return Err("needs root: the containers that are looked at are root's".into());
    }
    let directory = std::env::temp_dir().join(format!("knarr-order-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let outcome = measure(&directory);
    let _ = fs::remove_dir_all(&directory);
    outcome
}

fn measure(directory: &Path) -> Outcome {
    let map = directory.join("map");
    let program = with_symbols(&map)?;
    let tracer = cargo::example("knarr-sys", "functions")?;
    let (list, binary) = (directory.join("functions"), directory.join("knarr"));
    fs::copy(program, &binary)?;
    let symbols = shell::output(Command::new("nm").arg("--defined-only").arg(&binary))?;
    let functions = symbols.lines().filter(|line| matches!(line.split(' ').nth(1), Some("t" | "T" | "w" | "W" | "i")));
    fs::write(&list, functions.map(|line| format!("{line}\n")).collect::<String>())?;
    let script = directory.join("commands.sh");
    bundle(directory, &binary)?;
    let mut groups = Vec::new();
    for commands in [RUNTIME, ENGINE] {
        fs::write(&script, [BEFORE, commands].concat())?;
        let mut reached = Vec::new();
        for view in ["as it is", "cgroup2"] {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "setarch", "--addr-no-randomize"]).arg(&tracer);
            command.arg(&binary).arg(&list).arg("sh").arg(&script).arg(directory).arg(view);
            let text = shell::output(&mut command)?;
            reached.extend(text.lines().filter_map(|line| u64::from_str_radix(line, 16).ok()));
        }
        groups.push(reached);
    }
    let text = linker_script(&sections(&fs::read_to_string(map)?), &groups);
    let count = groups.concat().into_iter().collect::<HashSet<_>>().len();
    println!("{count} functions, {} lines of {SCRIPT}", text.lines().count());
    Ok(fs::write(workspace::top().join(SCRIPT), text)?)
}

/// The release binary with its names, and the linker's map of it.
fn with_symbols(map: &Path) -> Outcome<PathBuf> {
    let mut command = shell::cargo();
    command.args(["rustc", "--release", "--package", "knarr", "--bin", "knarr"]);
    command.args(["--message-format=json-render-diagnostics", "--", "-C", "strip=none", "-C"]);
    command.arg(format!("link-arg=-Wl,-Map={}", map.display()));
    cargo::executable(&shell::output(&mut command)?, "knarr")
}

/// What comes before what is run.
const BEFORE: &str = r#"set -e
here=$1 view=$2 id=order-$$ engine="--root $1/state --runroot /run/knarr-order"
[ "$view" = "as it is" ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
exec >/dev/null </dev/null
"#;

/// The runtime, whose memory and time count most, and the same binary's other work. Each in one go, so that an init that waits for its
/// start is looked at while it does.
const RUNTIME: &str = r#""$here/knarr" runtime run --bundle "$here/true" $id
"$here/knarr" runtime create --bundle "$here/sleep" $id
"$here/knarr" runtime start $id
"$here/knarr" runtime exec $id /probe true
"$here/knarr" runtime state $id
"$here/knarr" runtime kill $id KILL
"$here/knarr" runtime delete --force $id
"#;
const ENGINE: &str = r#""$here/knarr" --version
"$here/knarr" $engine run --rm --network=none knarr/hello
"$here/knarr" $engine ps
rm -rf "$here/state"
"#;

/// One bundle for each program: what `runtime spec` writes, with the engine's own filter.
fn bundle(directory: &Path, knarr: &Path) -> Outcome {
    let probe = cargo::programs(&[("knarr-probe", "probe")], cargo::FAST)?.remove(0);
    let state = directory.join("state");
    let mut wish = Command::new(knarr);
    wish.arg("--root").arg(&state).args(["--runroot", "/run/knarr-order", "run", "--dry-run=spec", "knarr/hello"]);
    let wished: Value = serde_json::from_str(&shell::output(&mut wish)?)?;
    for program in ["true", "sleep"] {
        let bundle = directory.join(program);
        fs::create_dir_all(bundle.join("rootfs"))?;
        fs::copy(&probe, bundle.join("rootfs/probe"))?;
        shell::run(Command::new(knarr).args(["runtime", "spec"]).current_dir(&bundle))?;
        let mut config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
        config["linux"]["seccomp"] = wished["linux"]["seccomp"].clone();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/probe", program]);
        fs::write(bundle.join("config.json"), config.to_string())?;
    }
    Ok(())
}

/// The code of the linker's map: lines `VMA LMA SIZE ALIGN FILE:(SECTION)`, indented once.
fn sections(map: &str) -> BTreeMap<u64, Section> {
    map.lines().filter_map(section).map(|section| (section.begin, section)).collect()
}

fn section(line: &str) -> Option<Section> {
    let mut words = line.split_whitespace();
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let (begin, _, bytes) = (number()?, number()?, number()?);
    let whose = words.nth(1)?;
    let (file, name) = whose.strip_suffix(')')?.rsplit_once(":(")?;
    let code = bytes > 0 && name.starts_with(".text");
    code.then(|| Section { begin, bytes, pattern: pattern(file, name), exact: format!("*({name})") })
}

/// A section of a system library or of what begins every program is found by its file, one of ours by its function.
fn pattern(file: &str, name: &str) -> String {
    let file = file.rsplit_once('/').map_or(file, |(_, name)| name);
    match file.strip_suffix(')').and_then(|file| file.split_once(".a(")) {
        Some((archive, member)) => format!("*{archive}.a:{member}({name})"),
        None if name == ".text" => format!("*{file}({name})"),
        None => format!("*({})", without_hashes(name)),
    }
}

/// `…17h0123456789abcdefE` of the older mangling, `Cs…_` of the newer, and the number of a copy become `*`.
fn without_hashes(name: &str) -> String {
    let old = name.find("17h").filter(|at| name[at + 3..].len() > 16);
    let name = old.map_or(name.to_owned(), |at| format!("{}*", &name[..at + 3]));
    let mut parts = name.split("Cs");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('_').filter(|(hash, _)| is_hash(hash)) {
            Some((_, behind)) => out += &format!("Cs*_{behind}"),
            None => out += &format!("Cs{part}"),
        }
    }
    match out.rsplit_once('.') {
        Some((whole, copy)) if !copy.is_empty() && copy.bytes().all(|b| b.is_ascii_digit()) => format!("{whole}*"),
        _ => out,
    }
}

/// Base 62, of a crate's disambiguator.
fn is_hash(text: &str) -> bool {
    (8..=13).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The script: group by group, first what was run and is named alone, then what shares its name with others.
fn linker_script(sections: &BTreeMap<u64, Section>, groups: &[Vec<u64>]) -> String {
    let mut weight: HashMap<&str, u64> = HashMap::new();
    for section in sections.values() {
        *weight.entry(&section.pattern).or_default() += section.bytes;
    }
    let (mut seen, mut lines) = (HashSet::new(), String::new());
    for reached in groups {
        let (mut alone, mut shared) = (Vec::new(), Vec::new());
        for address in reached {
            let Some((_, section)) = sections.range(..=address).next_back() else { continue };
            if *address >= section.begin + section.bytes {
                continue;
            }
            let all = weight[section.pattern.as_str()];
            let drags = all > DRAG_BYTES_MAX && all > DRAG_MAX * section.bytes;
            let pattern = if drags { &section.exact } else { &section.pattern };
            if seen.insert(pattern) {
                let list = if drags || all <= 2 * section.bytes { &mut alone } else { &mut shared };
                list.push(pattern);
            }
        }
        lines.extend(alone.iter().chain(&shared).map(|pattern| format!("  {pattern}\n")));
    }
    format!(
        "/* Written by `cargo xtask order`: the functions a container's start runs, in one piece. See xtask/src/order.rs. */\n\
         SECTIONS {{ .text_first : {{\n{lines}}} }} INSERT BEFORE .text;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "
             VMA              LMA     Size Align Out     In      Symbol
          101c40           101c40   95f000    64 .text
          101c40           101c40       30    16         /usr/lib/rcrt1.o:(.text)
          101d30           101d30      217    16         /x/k.o:(.text._ZN13knarr_runtime5apply17h0123456789abcdefE)
          101d30           101d30        0     1                 _ZN13knarr_runtime5apply17h0123456789abcdefE
          101f47           101f47       10     1         /x/k.o:(.text._RNvNtCsjrHSEGnQ3l9_3std3env11current_dir.2071)
          101f57           101f57     9000     1         /x/k.o:(.text._ZN4core3map17h1111111111111111E)
          10af57           10af57       10     1         /x/k.o:(.text._ZN4core3map17h2222222222222222E)
          10af67           10af67       10     1         /usr/lib/libc.a(malloc.o):(.text)
          10af77           10af77       10     1         /x/k.o:(.text._ZN5serde2de17h1111111111111111E)
          10af87           10af87      100     1         /x/k.o:(.text._ZN5serde2de17h2222222222222222E)
";

    fn check(reached: &[u64], expect: &[&str]) {
        let script = linker_script(&sections(MAP), &[reached.to_vec()]);
        let lines: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        assert_eq!(lines, expect);
    }

    #[test]
    fn names_lose_their_hashes() {
        check(&[0x101d30], &["*(.text._ZN13knarr_runtime5apply17h*)"]);
        check(&[0x101f47], &["*(.text._RNvNtCs*_3std3env11current_dir*)"]);
    }

    #[test]
    fn the_c_library_is_named_by_its_files() {
        check(&[0x10af67], &["*libc.a:malloc.o(.text)"]);
    }

    #[test]
    fn what_begins_every_program_is_named_by_its_file() {
        check(&[0x101c40], &["*rcrt1.o(.text)"]);
    }

    #[test]
    fn one_that_would_drag_too_much_along_keeps_its_hash() {
        check(&[0x10af57], &["*(.text._ZN4core3map17h2222222222222222E)"]);
    }

    #[test]
    fn what_is_named_alone_comes_first_and_each_once() {
        check(&[0x10af77, 0x10af67, 0x10af67], &["*libc.a:malloc.o(.text)", "*(.text._ZN5serde2de17h*)"]);
    }
}
