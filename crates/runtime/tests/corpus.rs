//! Every input of the fuzzer's corpus, without a fuzzer (fuzz/README.md).

#[path = "../../../fuzz/checks/config.rs"]
mod config;

use std::time::{Duration, Instant};

/// A hundred times what the largest takes here.
const CHECK_MAX: Duration = Duration::from_secs(10);

#[test]
fn every_document_of_the_corpus_is_planned_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/config");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        let path = entry.expect("a file").path();
        let started = Instant::now();
        config::check(&std::fs::read(&path).expect("readable"));
        assert!(started.elapsed() < CHECK_MAX, "{}: {:?}", path.display(), started.elapsed());
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}
