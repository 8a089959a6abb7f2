//! Every input of the fuzzer's corpus, without a fuzzer (fuzz/README.md).

#[path = "../../../fuzz/checks/request.rs"]
mod request;

#[test]
fn every_request_of_the_corpus_is_read_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/request");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        request::check(&std::fs::read(entry.expect("a file").path()).expect("readable"));
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}
