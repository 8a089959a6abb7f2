//! From decisions to instructions, written from the last to the first so that every jump knows its target.
//!
//! ```text
//!   ld arch;  jeq native -> calls;  jeq other -> its calls;  ret KILL
//!   calls: ld nr;  binary tree of jge over the spans;  leaves: ret, or tests of arguments
//! ```
//! Only loads of `nr` and `arch`, `jeq`, `jge`, `jgt`, `ja` and `ret` stand on the way to an unconditional answer, so that the kernel
//! can prove "always allowed" and skip the program for such calls (its action cache, Linux 5.11).

use crate::{
    arch::Abi,
    decide::{Decision, Span},
    program::instruction,
    rules::{Op, Ret, Test},
};

const LD_ABS: u16 = 0x20;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const AND: u16 = 0x54;
const RET: u16 = 0x06;
/// Offsets in `struct seccomp_data { int nr; u32 arch; u64 instruction_pointer; u64 args[6]; }`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;
/// Conditional jumps have eight bits.
const NEAR: usize = u8::MAX as usize;

/// Where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To an answer: any `ret` with this value in reach, or a new one.
    Ret(Ret),
    /// To a place, as its distance from the end of the program.
    At(usize),
}

/// A program under construction, last instruction first.
#[derive(Default)]
pub(crate) struct Emitter {
    reversed: Vec<u64>,
    /// The most recent `ret` of each value.
    rets: Vec<(Ret, usize)>,
}

impl Emitter {
    /// The finished program.
    pub(crate) fn finish(mut self) -> Vec<u64> {
        self.reversed.reverse();
        self.reversed
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.reversed.push(instruction(code, jt, jf, k));
        self.reversed.len()
    }

    fn ret(&mut self, value: Ret) -> usize {
        let at = self.push(RET, 0, 0, value);
        match self.rets.iter_mut().find(|(known, _)| *known == value) {
            Some(ret) => ret.1 = at,
            None => self.rets.push((value, at)),
        }
        at
    }

    /// A place within reach of the next instruction, and of up to `slack` more, that leads to `target`.
    fn near(&mut self, target: Target, slack: usize) -> usize {
        let here = self.reversed.len() + slack;
        match target {
            Target::At(at) if here - at <= NEAR => at,
            Target::At(at) => self.push(JA, 0, 0, (self.reversed.len() - at) as u32),
            Target::Ret(value) => match self.rets.iter().find(|(known, at)| *known == value && here - at <= NEAR) {
                Some((_, at)) => *at,
                None => self.ret(value),
            },
        }
    }

    /// `if (A <op> k) goto yes; else goto no;` with slack for the two instructions that bringing a target near can add.
    fn branch(&mut self, op: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let yes = self.near(yes, 2);
        let no = self.near(no, 1);
        let here = self.reversed.len();
        Target::At(self.push(op, (here - yes) as u8, (here - no) as u8, k))
    }

    /// Loads a word, then goes on with what was emitted last.
    fn load(&mut self, offset: u32, then: Target) -> Target {
        self.fall_into(then);
        Target::At(self.push(LD_ABS, 0, 0, offset))
    }

    /// Makes `target` the next instruction.
    fn fall_into(&mut self, target: Target) {
        match target {
            Target::At(at) if at == self.reversed.len() => {}
            Target::At(at) => drop(self.push(JA, 0, 0, (self.reversed.len() - at) as u32)),
            Target::Ret(value) => drop(self.ret(value)),
        }
    }

    /// The calls of one audit number; `spans` cover all numbers, and belong to one or two conventions.
    pub(crate) fn calls(&mut self, spans: &[(&Abi, Span)], default: Ret) -> Target {
        let tree = self.tree(spans, default);
        match tree {
            Target::Ret(_) => tree,
            Target::At(_) => self.load(NR, tree),
        }
    }

    /// A balanced tree: the answer for `nr` somewhere in `spans`.
    fn tree(&mut self, spans: &[(&Abi, Span)], default: Ret) -> Target {
        let [(abi, only)] = spans else {
            let middle = spans.len() / 2;
            let high = self.tree(&spans[middle..], default);
            let low = self.tree(&spans[..middle], default);
            return self.branch(JGE, spans[middle].1.start, high, low);
        };
        match &only.decision {
            Decision::Always(ret) => Target::Ret(*ret),
            Decision::First(list) => list.iter().rev().fold(Target::Ret(default), |no, (tests, ret)| {
                tests.iter().rev().fold(Target::Ret(*ret), |yes, test| self.test(abi, test, yes, no))
            }),
        }
    }

    /// The program's entry: by audit number to its calls.
    pub(crate) fn dispatch(&mut self, calls: &[(u32, Target)], otherwise: Ret) {
        let chain =
            calls.iter().rev().fold(Target::Ret(otherwise), |no, (audit, yes)| self.branch(JEQ, *audit, *yes, no));
        self.load(ARCH, chain);
    }

    /// One comparison of an argument, the high word before the low one.
    fn test(&mut self, abi: &Abi, test: &Test, yes: Target, no: Target) -> Target {
        let at = ARGS + 8 * test.index;
        let (high, low) = if abi.big_endian { (at, at + 4) } else { (at + 4, at) };
        let (value_high, value_low) = ((test.value >> 32) as u32, test.value as u32);
        match test.op {
            Op::Masked(mask) => {
                let low_equal = self.masked(low, mask as u32, value_low, yes, no);
                if abi.wide { self.masked(high, (mask >> 32) as u32, value_high, low_equal, no) } else { low_equal }
            }
            Op::Ne => {
                let low_differs = self.word(low, JEQ, value_low, no, yes);
                if abi.wide { self.word(high, JEQ, value_high, low_differs, yes) } else { low_differs }
            }
            Op::Gt => self.ordered(abi, (high, low), test.value, JGT, yes, no),
            Op::Ge => self.ordered(abi, (high, low), test.value, JGE, yes, no),
            Op::Lt => self.ordered(abi, (high, low), test.value, JGE, no, yes),
            Op::Le => self.ordered(abi, (high, low), test.value, JGT, no, yes),
        }
    }

    /// `word & mask == value`; a word that the mask leaves out is not loaded.
    fn masked(&mut self, offset: u32, mask: u32, value: u32, yes: Target, no: Target) -> Target {
        if mask == 0 {
            return if value == 0 { yes } else { no };
        }
        let compare = self.branch(JEQ, value, yes, no);
        if compare == yes {
            return yes;
        }
        if mask == u32::MAX {
            return self.load(offset, compare);
        }
        self.fall_into(compare);
        let and = Target::At(self.push(AND, 0, 0, mask));
        self.load(offset, and)
    }

    fn word(&mut self, offset: u32, op: u16, value: u32, yes: Target, no: Target) -> Target {
        let compare = self.branch(op, value, yes, no);
        if compare == yes { yes } else { self.load(offset, compare) }
    }

    /// `argument > value` or `argument >= value`: the high word decides, unless it is equal.
    fn ordered(&mut self, abi: &Abi, (high, low): (u32, u32), value: u64, op: u16, yes: Target, no: Target) -> Target {
        let by_low = self.word(low, op, value as u32, yes, no);
        if !abi.wide {
            return by_low;
        }
        let equal = self.branch(JEQ, (value >> 32) as u32, by_low, no);
        let compare = self.branch(JGT, (value >> 32) as u32, yes, equal);
        self.load(high, compare)
    }
}
