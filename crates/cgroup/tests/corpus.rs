//! Every input of the fuzzer's corpus, without a fuzzer (fuzz/README.md).

#[path = "../../../fuzz/checks/cgroup.rs"]
mod cgroup;

#[test]
fn every_group_of_the_corpus_is_read() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/cgroup");
    let place = std::env::temp_dir().join(format!("knarr-cgroup-corpus-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        cgroup::check(&std::fs::read(entry.expect("a file").path()).expect("readable"), &place);
        count += 1;
    }
    std::fs::remove_dir_all(&place).expect("removed");
    assert!(count > 0, "the corpus is empty");
}
