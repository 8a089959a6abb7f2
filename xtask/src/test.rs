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
    let mut kit = None;
    let mut total = Tally::default();
    for phase in &wanted.phases {
        println!("\n== {phase}");
        let started = Instant::now();
        let tally = match *phase {
            "unit" => unit::run(&wanted.filter).unwrap_or_else(|why| Tally::broken("unit", why)),
            _ => in_kit(phase, &mut kit, &wanted.filter).unwrap_or_else(|why| Tally::broken(phase, why)),
        };
        println!(
            "== {phase}: {} passed, {} failed, {} skipped in {:.0} s",
            tally.passed,
            tally.failed.len(),
            tally.skipped.len(),
            started.elapsed().as_secs_f32()
        );
        total.add(tally);
    }
    println!("\n{total}");
    if total.failed.is_empty() { Ok(()) } else { std::process::exit(1) }
}

fn in_kit(phase: &str, kit: &mut Option<Kit>, filter: &[&str]) -> Outcome<Tally> {
    if kit.is_none() {
        *kit = Some(Kit::stage()?);
    }
    let kit = kit.as_ref().ok_or("no kit")?;
    match phase {
        "root" => end_to_end::as_root(kit, filter),
        "rootless" => end_to_end::as_user(kit, filter),
        _ => uml::run(kit, filter),
    }
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
