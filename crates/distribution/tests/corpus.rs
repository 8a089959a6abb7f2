//! Every input of the fuzzer's corpus, without a fuzzer (fuzz/README.md).

#[path = "../../../fuzz/checks/image.rs"]
mod image;

#[test]
fn every_document_and_name_of_the_corpus_is_read_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        image::check(&std::fs::read(entry.expect("a file").path()).expect("readable"));
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}
