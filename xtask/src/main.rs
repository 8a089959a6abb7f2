//! The chores of this repository: `cargo xtask setup | test | powercut | bench | fuzz | peers | tidy | golden | order | man | dist`.
//!
//! Law: depends on serde alone, so that the first `cargo xtask` on a fresh machine starts within seconds; everything heavy
//! is a program it runs.
//! Not here: any test of a container (`crates/testkit/e2e`), any knowledge of how a crate works.
#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod dist;
mod end_to_end;
mod fuzz;
mod golden;
mod man;
mod order;
mod peers;
mod powercut;
mod setup;
mod shell;
mod tally;
mod test;
mod tidy;
mod uml;
mod unit;
mod watch;
mod workspace;

use std::process::ExitCode;

/// Every chore answers with whether all is well, or with why it could not be done.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "cargo xtask CHORE
  setup            install what the tests need (apt-get; says what and why)
  test [FILTER]    unit, golden and end-to-end tests: as root, rootless, and under cgroup v2 in user-mode Linux
       --only unit|root|rootless|uml   one of them (may be repeated)
  powercut [N]     cut the power of a working store so many times (10), in user-mode Linux
  bench [--fast] [--only=PEER]   our numbers beside podman's, docker's and docker-registry's, the runtime's beside crun's and
                   runc's, images beside podman, docker, crane and umoci; a line in bench/history.jsonl
  peers [ENGINE]   docker, containerd, buildah and podman run containers with our runtime
  fuzz TARGET [SECONDS]
                   build a target of fuzz/ and run it on its corpus
  tidy             check the invariants of ARCHITECTURE.md
  golden           rewrite the golden files from what the code does now
  order            find out which functions a container's start runs, and lay the release binary out by that
  man DIR          write the manual pages of all commands into DIR
  dist             build the release binary and weigh it";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["setup"] => setup::run(),
        ["test", rest @ ..] => test::run(rest),
        ["powercut", rest @ ..] => powercut::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["bench-inside", peer, kit, rounds] => bench::inside::run(peer, kit, rounds),
        ["peers", rest @ ..] => peers::run(rest),
        ["fuzz", target] => fuzz::run(target, None),
        ["fuzz", target, seconds] => fuzz::run(target, Some(seconds)),
        ["tidy"] => tidy::run(),
        ["golden"] => golden::run(),
        ["order"] => order::run(),
        ["man", dir] => man::run(dir),
        ["dist"] => dist::run(),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
