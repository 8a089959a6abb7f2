//! `cargo xtask test`: everything, and one closing line.

use std::time::Instant;

use crate::end_to_end::{self, Kit};
use crate::tally::Tally;
use crate::{Outcome, setup, uml, unit};

/// The parts, in the order they run: what fails fastest comes first.
const PHASES: [&str; 4] = ["unit", "root", "rootless", "uml"];

/// What was asked for.
struct Wanted<'a> {
    phases: Vec<&'a str>,
    filter: Vec<&'a str>,
}

/// Sets up, runs the phases, prints failures, skips with reasons, and the counts.
pub fn run(words: &[&str]) -> Outcome {
    let wanted = parse(words)?;
    setup::run()?;
    let mut total = Tally::default();
    if wanted.phases.contains(&"unit") {
        total.add(phase("unit", || unit::run(&wanted.filter)));
    }
    if wanted.phases.iter().any(|phase| *phase != "unit") {
        total.add(match Kit::stage() {
            Ok(kit) => end_to_end(&kit, &wanted),
            Err(why) => Tally::broken("end to end", why),
        });
    }
    println!("\n{total}");
    if total.failed.is_empty() { Ok(()) } else { std::process::exit(1) }
}

/// The virtual machine has one processor and takes longest: it runs beside the others, and says what it has to say last.
fn end_to_end(kit: &Kit, wanted: &Wanted) -> Tally {
    let asked = |name| wanted.phases.contains(&name);
    std::thread::scope(|scope| {
        let machine =
            asked("uml").then(|| scope.spawn(|| uml::run(kit, &wanted.filter).map_err(|why| why.to_string())));
        let mut total = Tally::default();
        if asked("root") {
            total.add(phase("root", || end_to_end::as_root(kit, &wanted.filter)));
        }
        if asked("rootless") {
            total.add(phase("rootless", || end_to_end::as_user(kit, &wanted.filter)));
        }
        if let Some(machine) = machine {
            total.add(phase("uml", || {
                let (tally, said) = machine.join().map_err(|_| "it panicked")??;
                print!("{said}");
                Ok(tally)
            }));
        }
        total
    })
}

/// Runs one phase between a heading and its counts.
fn phase(name: &str, run: impl FnOnce() -> Outcome<Tally>) -> Tally {
    println!("\n== {name}");
    let started = Instant::now();
    let tally = run().unwrap_or_else(|why| Tally::broken(name, why));
    let (failed, skipped, seconds) = (tally.failed.len(), tally.skipped.len(), started.elapsed().as_secs());
    println!("== {name}: {} passed, {failed} failed, {skipped} skipped in {seconds} s", tally.passed);
    tally
}

fn parse<'a>(words: &[&'a str]) -> Outcome<Wanted<'a>> {
    let mut wanted = Wanted { phases: Vec::new(), filter: Vec::new() };
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "--only" => wanted.phases.push(
                words.next().filter(|name| PHASES.contains(name)).ok_or(format!("--only takes one of {PHASES:?}"))?,
            ),
            _ => wanted.filter.push(word),
        }
    }
    if wanted.phases.is_empty() {
        wanted.phases = PHASES.to_vec();
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_only_every_phase_runs() {
        let wanted = parse(&["whiteout"]).expect("a filter alone is fine");
        assert_eq!(wanted.phases, PHASES);
        assert_eq!(wanted.filter, ["whiteout"]);
    }

    #[test]
    fn an_unknown_phase_is_refused() {
        assert!(parse(&["--only", "moon"]).is_err());
        assert_eq!(parse(&["--only", "uml"]).expect("a phase").phases, ["uml"]);
    }
}
