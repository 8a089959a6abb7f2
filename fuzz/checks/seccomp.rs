//! Bytes that spell a profile, and calls to answer.

/// Known to the oldest libseccomp in use, the same on every architecture of x86; no socket and no System V call among them.
pub const NAMES: [&str; 24] = [
    "read",
    "write",
    "open",
    "close",
    "stat",
    "poll",
    "lseek",
    "mmap",
    "mprotect",
    "munmap",
    "brk",
    "ioctl",
    "access",
    "pipe",
    "dup",
    "clone",
    "fork",
    "execve",
    "personality",
    "openat",
    "unshare",
    "prlimit64",
    "getrandom",
    "statx",
];

/// The architectures of calls, as the document names them.
pub const ARCHES: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];

const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

/// Where comparisons go wrong, if they do.
const VALUES: [u64; 10] =
    [0, 1, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0005, u64::MAX];

/// How many calls one profile is asked about.
const CALLS: usize = 48;

/// One test of an argument.
#[derive(Clone, Debug)]
pub struct Arg {
    pub index: u32,
    /// Position in the list of operators, as libseccomp counts them less one.
    pub op: usize,
    pub value: u64,
    pub two: u64,
}

/// One rule: there is at most one for each call, because where several with arguments overlap, libseccomp 2.5 merges them into a tree
/// that also answers calls none of them is about.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: usize,
    pub args: Vec<Arg>,
}

/// A call: its name may be off by some.
#[derive(Clone, Debug)]
pub struct Asked {
    pub arch: usize,
    pub name: usize,
    pub plus: u32,
    pub args: [u64; 6],
}

/// What the bytes spell.
#[derive(Clone, Debug)]
pub struct Case {
    /// `ALLOW`, `ERRNO`, `KILL`, `TRAP`, `LOG`.
    pub default: &'static str,
    pub action: &'static str,
    pub errno: u32,
    /// Beside the native one: x86, x32.
    pub others: [bool; 2],
    pub rules: Vec<Rule>,
    pub calls: Vec<Asked>,
}

/// Takes bytes from the front; zeros when there are no more.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.next()) % bound
    }

    /// One of the tricky values, or any.
    fn value(&mut self) -> u64 {
        match usize::from(self.next()) {
            known if known < 2 * VALUES.len() => VALUES[known % VALUES.len()],
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.next())),
        }
    }
}

impl Case {
    pub fn read(bytes: &[u8]) -> Case {
        let mut bytes = Bytes(bytes);
        let default = ["ALLOW", "ERRNO", "KILL", "TRAP"][bytes.below(4)];
        let action = match default {
            "ALLOW" => ["ERRNO", "TRAP"][bytes.below(2)],
            _ => ["ALLOW", "LOG"][bytes.below(2)],
        };
        let (errno, others) = (1 + bytes.below(100) as u32, [bytes.below(2) == 0, bytes.below(2) == 0]);
        let mut rules: Vec<Rule> = Vec::new();
        for name in 0..NAMES.len() {
            match bytes.below(4) {
                0 => {}
                1 => rules.push(Rule { name, args: Vec::new() }),
                _ => {
                    let args = args(&mut bytes);
                    rules.push(Rule { name, args });
                }
            }
        }
        let calls = (0..CALLS).map(|_| Asked {
            arch: bytes.below(ARCHES.len()),
            name: bytes.below(NAMES.len()),
            plus: [0, 0, 0, 1][bytes.below(4)],
            args: std::array::from_fn(|_| bytes.value()),
        });
        Case { default, action, errno, others, calls: calls.collect(), rules }
    }

    /// The profile as a document.
    pub fn json(&self) -> String {
        let rules: Vec<String> = self.rules.iter().map(|rule| self.rule(rule)).collect();
        let others = ARCHES[1..].iter().zip(self.others).filter(|(_, listed)| *listed);
        let arches: Vec<String> = others.map(|(arch, _)| format!("\"{arch}\"")).collect();
        let errno =
            if self.default == "ERRNO" { format!("\"defaultErrnoRet\":{},", self.errno) } else { String::new() };
        format!(
            r#"{{"defaultAction":"SCMP_ACT_{}",{errno}"architectures":[{}],"syscalls":[{}]}}"#,
            self.default,
            arches.join(","),
            rules.join(",")
        )
    }

    fn rule(&self, rule: &Rule) -> String {
        let errno = if self.action == "ERRNO" { format!("\"errnoRet\":{},", self.errno) } else { String::new() };
        let arg = |arg: &Arg| {
            let (Arg { index, value, two, .. }, op) = (arg, OPERATORS[arg.op]);
            format!(r#"{{"index":{index},"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}"#)
        };
        let args: Vec<String> = rule.args.iter().map(arg).collect();
        let name = NAMES[rule.name];
        format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_{}",{errno}"args":[{}]}}"#, self.action, args.join(","))
    }
}

/// One to six tests, of different arguments.
fn args(bytes: &mut Bytes<'_>) -> Vec<Arg> {
    let which = 1 + bytes.below(63);
    let indices = (0..6).filter(|index| which & (1 << index) != 0);
    let arg = |index| {
        let (op, value, other) = (bytes.below(OPERATORS.len()), bytes.value(), bytes.value());
        let two = if OPERATORS[op] == "MASKED_EQ" { other & value } else { 0 };
        Arg { index, op, value, two }
    };
    indices.map(arg).collect()
}
