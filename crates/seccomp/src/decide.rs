//! For one calling convention: which number gets which answer.

use crate::{
    arch::{Abi, X32_BIT},
    rules::{Call, Op, RET_ENOSYS, Ret, Rules, Test, stricter},
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

/// One rule applied to one number.
struct Entry<'a> {
    number: u32,
    /// Position in the document, which decides between rules for one number.
    order: usize,
    ret: Ret,
    tests: std::borrow::Cow<'a, [Test]>,
}

/// The answers for the numbers `first..`, neighbours with the same answer joined. The last span has no end.
pub(crate) fn spans(rules: &Rules, abi: &Abi, first: u32) -> Vec<Span> {
    let mut entries = entries(rules, abi);
    entries.sort_unstable_by_key(|entry| (entry.number, entry.order));
    let mut spans = Spans { list: vec![Span { start: first, decision: Decision::Always(rules.default) }] };
    for same in entries.chunk_by(|a, b| a.number == b.number) {
        spans.put(same[0].number, decide(same), rules.default);
    }
    if rules.stub {
        stub(&mut spans, rules, abi);
    }
    spans.list
}

/// Every rule for every number it is about.
fn entries<'a>(rules: &'a Rules, abi: &Abi) -> Vec<Entry<'a>> {
    let mut entries = Vec::with_capacity(rules.named.len() + 16);
    for (order, rule) in rules.rules.iter().enumerate() {
        for call in &rule.calls {
            if let Some(number) = abi.number(call.row) {
                entries.push(Entry { number, order, ret: rule.ret, tests: (&rule.tests[..]).into() });
            }
            // Behind a pointer the filter cannot see the arguments: then only a stricter rule applies, and to every such call.
            if let Some((door, value)) = call.through
                && let Some(number) = abi.number(door)
                && (rule.tests.is_empty() || stricter(rule.ret, rules.default))
            {
                let test = Test { index: 0, op: Op::Masked(u64::MAX), value };
                entries.push(Entry { number, order, ret: rule.ret, tests: vec![test].into() });
            }
        }
    }
    entries
}

/// Several rules for one number: the first unconditional one hides all others, as in libseccomp.
fn decide(same: &[Entry]) -> Decision {
    match same.iter().find(|entry| entry.tests.is_empty()) {
        Some(entry) => Decision::Always(entry.ret),
        None => Decision::First(same.iter().map(|entry| (entry.tests.to_vec(), entry.ret)).collect()),
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
