//! The document, checked and made into plain rules: names resolved, actions as the kernel's numbers.

use knarr_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator, LinuxSyscall,
};

use crate::{
    Error,
    limits::ERRNO_MAX,
    mux,
    table::{self, Row},
};

/// What the kernel is told: `SECCOMP_RET_*` with its 16 bits of data.
pub(crate) type Ret = u32;
/// `SECCOMP_RET_ERRNO | ENOSYS`.
pub(crate) const RET_ENOSYS: Ret = 0x0005_0000 | 38;
/// `SECCOMP_RET_KILL_THREAD`: what every runtime answers to a call of an architecture the profile does not list.
pub(crate) const RET_KILL_THREAD: Ret = 0;
/// The action without its data.
const RET_ACTION: Ret = 0xffff_0000;
/// System calls have six arguments.
pub(crate) const ARGUMENTS: usize = 6;

/// One comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// How to compare; `MASKED_EQ` and `EQ` are one.
    pub op: Op,
    /// What to compare with.
    pub value: u64,
}

/// Comparisons, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// `argument & mask == value`
    Masked(u64),
    /// `argument != value`
    Ne,
    /// `argument < value`
    Lt,
    /// `argument <= value`
    Le,
    /// `argument >= value`
    Ge,
    /// `argument > value`
    Gt,
}

/// A call that the document names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Its numbers.
    pub row: &'static Row,
    /// The call it is also made through on some architectures, and what that one's first argument is then.
    pub through: Option<(&'static Row, u32)>,
}

/// One entry of `syscalls`: all of `tests` must hold.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The calls it is about.
    pub calls: Vec<Call>,
    /// The answer.
    pub ret: Ret,
    /// Empty: always.
    pub tests: Vec<Test>,
}

/// The checked document.
pub(crate) struct Rules {
    /// For everything no rule is about.
    pub default: Ret,
    /// In the order of the document; without those that say what the default says.
    pub rules: Vec<Rule>,
    /// Every call the document names, whatever it says of it: the newest of them is the newest its author knew.
    pub named: Vec<Call>,
    /// Names of no architecture.
    pub unknown: Vec<String>,
    /// Some rule notifies.
    pub notifies: bool,
    /// Calls newer than the newest named one get ENOSYS, so that the C library falls back to an older one.
    pub stub: bool,
}

/// Whether `ret` restrains more than `than`: the kernel orders actions by their value as a signed number.
pub(crate) fn stricter(ret: Ret, than: Ret) -> bool {
    ((ret & RET_ACTION) as i32) < ((than & RET_ACTION) as i32)
}

/// Checks the document and resolves its names.
pub(crate) fn read(profile: &LinuxSeccomp) -> Result<Rules, Error> {
    let action = profile.default_action();
    if action == Action::ScmpActNotify {
        return Err(Error::NotifyDefault);
    }
    let default = ret(action, profile.default_errno_ret(), || "default".into())?;
    // A tracer is expected to answer ENOSYS itself, and an allowing default lets the kernel do it.
    let stub = !matches!(action, Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace);
    let mut rules = Rules { default, rules: Vec::new(), named: Vec::new(), unknown: Vec::new(), notifies: false, stub };
    for (at, syscall) in profile.syscalls().iter().flatten().enumerate() {
        read_one(at, syscall, &mut rules)?;
    }
    if rules.notifies && profile.listener_path().is_none() {
        return Err(Error::NotifyUnheard);
    }
    Ok(rules)
}

/// Adds one entry of `syscalls`.
fn read_one(at: usize, syscall: &LinuxSyscall, rules: &mut Rules) -> Result<(), Error> {
    let ret = ret(syscall.action(), syscall.errno_ret(), || format!("syscalls[{at}]"))?;
    let notifies = syscall.action() == Action::ScmpActNotify;
    if notifies && syscall.names().iter().any(|name| name == "write") {
        return Err(Error::NotifyWrite { rule: at });
    }
    let tests = tests(at, syscall.args().as_deref().unwrap_or_default())?;
    let from = rules.named.len();
    for name in syscall.names() {
        match table::position(name) {
            Some(at) => rules.named.push(Call { row: &table::SYSCALLS[at], through: mux::through(at) }),
            None => rules.unknown.push(name.clone()),
        }
    }
    if ret == rules.default {
        return Ok(());
    }
    rules.notifies |= notifies;
    let calls = rules.named[from..].to_vec();
    rules.rules.extend(tests.into_iter().map(|tests| Rule { calls: calls.clone(), ret, tests }));
    Ok(())
}

/// The tests of a rule, as alternatives. Several tests of one argument are alternatives and not a conjunction: libseccomp once
/// could not conjoin them, profiles were written for that, and every runtime keeps it.
fn tests(at: usize, args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Test>>, Error> {
    let mut seen = [0u8; ARGUMENTS];
    for arg in args {
        *seen.get_mut(arg.index()).ok_or(Error::ArgumentIndex { rule: at, index: arg.index() })? += 1;
    }
    let tests = args.iter().map(test);
    Ok(if seen.iter().any(|times| *times > 1) { tests.map(|test| vec![test]).collect() } else { vec![tests.collect()] })
}

/// One comparison; for `MASKED_EQ` the document has the mask in `value` and the value in `valueTwo`.
fn test(arg: &LinuxSeccompArg) -> Test {
    let (op, value) = match arg.op() {
        Operator::ScmpCmpEq => (Op::Masked(u64::MAX), arg.value()),
        Operator::ScmpCmpMaskedEq => (Op::Masked(arg.value()), arg.value_two().unwrap_or(0)),
        Operator::ScmpCmpNe => (Op::Ne, arg.value()),
        Operator::ScmpCmpLt => (Op::Lt, arg.value()),
        Operator::ScmpCmpLe => (Op::Le, arg.value()),
        Operator::ScmpCmpGe => (Op::Ge, arg.value()),
        Operator::ScmpCmpGt => (Op::Gt, arg.value()),
    };
    Test { index: arg.index() as u32, op, value }
}

/// The kernel's number for an action; EPERM where an errno is wanted and none is given.
fn ret(action: Action, errno: Option<u32>, place: impl FnOnce() -> String) -> Result<Ret, Error> {
    let carries = matches!(action, Action::ScmpActErrno | Action::ScmpActTrace);
    match errno {
        Some(_) if !carries => Err(Error::ErrnoUnused { place: place(), action }),
        Some(value) if value > ERRNO_MAX => Err(Error::ErrnoRange { place: place(), value }),
        errno => Ok(action.as_u32(errno)),
    }
}
