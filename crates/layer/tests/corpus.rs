//! Every input of the fuzzer's corpus, without a fuzzer (fuzz/README.md).

#[path = "../../../fuzz/checks/layer.rs"]
mod layer;
#[path = "../../../fuzz/checks/toc.rs"]
mod toc;

#[test]
fn every_layer_of_the_corpus_is_unpacked_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/layer");
    let place = tempfile::tempdir().expect("a directory");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        layer::check(&std::fs::read(entry.expect("a file").path()).expect("readable"), place.path());
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

#[test]
fn every_table_of_the_corpus_is_read_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/toc");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        toc::check(&std::fs::read(entry.expect("a file").path()).expect("readable"));
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}
