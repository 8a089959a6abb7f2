//! For one calling convention: which number gets which answer.

use crate::{
    arch::{Abi, X32_BIT},
    rules::{Call, Op, RET_ENOSYS, Ret, Rule, Rules, Test, stricter},
    table::Column,
};

/// The answer for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Whatever the arguments are.
    Always(Ret),
    /// The first whose tests all hold; else the default.
    First(Vec<(Vec<Test>, Ret)>),
}

/// `decision` holds from `start` up to the start of the next span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first number.
    pub start: u32,
    /// Its answer.
    pub decision: Decision,
}

/// One rule applied to one number; small, because they are sorted at each start of a container.
#[derive(Clone, Copy)]
struct Entry {
    number: u32,
    /// The rule's position in the document, which decides between rules for one number.
    rule: u32,
    /// Made through socketcall or ipc: what the first argument is then. 0: made directly.
    through: u32,
}

impl Entry {
    /// By number, then as in the document. Entries of one place differ in their tests alone, of which no two hold at once.
    fn place(&self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.rule)
    }
}

/// The answers for the numbers `first..`, neighbours with the same answer joined. The last span has no end.
pub(crate) fn spans(rules: &Rules, abi: &Abi, first: u32) -> Vec<Span> {
    let mut entries = entries(rules, abi);
    entries.sort_unstable_by_key(Entry::place);
    let mut spans = Spans { list: vec![Span { start: first, decision: Decision::Always(rules.default) }] };
    for same in entries.chunk_by(|a, b| a.number == b.number) {
        spans.put(same[0].number, decide(rules, same), rules.default);
    }
    if rules.stub {
        stub(&mut spans, rules, abi);
    }
    spans.list
}

/// Every rule for every number it is about.
fn entries(rules: &Rules, abi: &Abi) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(rules.named.len() + 16);
    for (at, rule) in rules.rules.iter().enumerate() {
        let at = at as u32;
        // Behind a pointer the filter cannot see the arguments: then only a stricter rule applies, and to every such call.
        let blind = rule.tests.is_empty() || stricter(rule.ret, rules.default);
        for call in &rule.calls {
            entries.extend(abi.number(call.row).map(|number| Entry { number, rule: at, through: 0 }));
            if let (true, Some((door, through))) = (blind, call.through) {
                entries.extend(abi.number(door).map(|number| Entry { number, rule: at, through }));
            }
        }
    }
    entries
}

/// Several rules for one number: the first unconditional one hides all others, as in libseccomp.
fn decide(rules: &Rules, same: &[Entry]) -> Decision {
    let rule = |entry: &Entry| &rules.rules[entry.rule as usize];
    let always = same.iter().find(|entry| entry.through == 0 && rule(entry).tests.is_empty());
    match always {
        Some(entry) => Decision::Always(rule(entry).ret),
        None => {
            Decision::First(same.iter().map(|entry| (tests(rule(entry), entry.through), rule(entry).ret)).collect())
        }
    }
}

/// The tests of a rule where it is applied.
fn tests(rule: &Rule, through: u32) -> Vec<Test> {
    match through {
        0 => rule.tests.clone(),
        value => vec![Test { index: 0, op: Op::Masked(u64::MAX), value: value.into() }],
    }
}

/// ENOSYS above the newest call the document names, and for s390's number 0, which the kernel leaves in place of numbers it does
/// not know.
fn stub(spans: &mut Spans, rules: &Rules, abi: &Abi) {
    let numbers = |call: &Call| [abi.number(call.row), call.through.and_then(|(door, _)| abi.number(door))];
    let Some(newest) = rules.named.iter().flat_map(numbers).flatten().max() else { return };
    if newest & !X32_BIT == 0 {
        return;
    }
    spans.list.retain(|span| span.start <= newest);
    spans.list.push(Span { start: newest + 1, decision: Decision::Always(RET_ENOSYS) });
    if matches!(abi.column, Column::S390 | Column::S390x) {
        spans.put_first(Decision::Always(RET_ENOSYS), rules.default);
    }
}

/// Spans under construction: sorted, without gaps.
struct Spans {
    list: Vec<Span>,
}

impl Spans {
    /// Gives `number` its decision and everything after it the default again.
    fn put(&mut self, number: u32, decision: Decision, default: Ret) {
        let last = self.list.len() - 1;
        if self.list[last].start == number {
            self.list.truncate(last);
        }
        if self.list.last().is_none_or(|span| span.decision != decision) {
            self.list.push(Span { start: number, decision });
        }
        self.list.push(Span { start: number + 1, decision: Decision::Always(default) });
    }

    /// Gives the first number a decision of its own.
    fn put_first(&mut self, decision: Decision, default: Ret) {
        let first = self.list[0].start;
        if self.list.get(1).is_none_or(|next| next.start != first + 1) {
            let rest = std::mem::replace(&mut self.list[0].decision, Decision::Always(default));
            self.list.insert(1, Span { start: first + 1, decision: rest });
        }
        self.list[0].decision = decision;
    }
}
