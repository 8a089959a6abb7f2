//! Every input of the fuzzer's corpus, without a fuzzer and without libseccomp (fuzz/README.md): what is compiled can be run, and gives no answer that
//! the profile does not have.

#[path = "../../../../fuzz/checks/seccomp.rs"]
mod case;

use case::{Case, NAMES};

use super::*;

#[test]
fn every_profile_of_the_corpus_answers_with_its_own_actions() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/seccomp");
    let arches = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        let case = Case::read(&std::fs::read(entry.expect("a file").path()).expect("readable"));
        let program = compile(&profile(&case.json()), Arch::ScmpArchX86_64).expect("compiled").instructions;
        let answers: Vec<u32> = [case.default, case.action].iter().map(|action| ret(action, case.errno)).collect();
        for asked in &case.calls {
            let arch = arches[asked.arch];
            let nr = number(arch, NAMES[asked.name]) + asked.plus;
            let answer = run(&program, &call(arch, nr, &asked.args)).0;
            let own = answers.contains(&answer) || matches!(answer, ENOSYS | KILL_THREAD);
            assert!(own, "{answer:#x} for {asked:?} of {}", case.json());
        }
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

fn ret(action: &str, number: u32) -> u32 {
    match action {
        "ALLOW" => ALLOW,
        "LOG" => LOG,
        "TRAP" => TRAP,
        "ERRNO" => errno(number),
        _ => KILL_THREAD,
    }
}
