//! What a root file system of several layers looks like from inside.
//!
//! Spec: image-spec layer.md, "Representing changes", "Whiteouts".

use knarr_testkit::{Done, Lab};

cases!["layers":
    a_whiteout_hides_the_file_below,
    a_file_added_again_above_a_whiteout_is_there,
    a_changed_file_has_the_upper_content_and_mode,
    an_opaque_directory_hides_all_below_and_keeps_its_own,
    a_deleted_tree_is_gone,
    a_directory_becomes_a_file_and_a_file_a_directory,
    hard_and_symbolic_links_lead_where_they_should,
    special_files_keep_kind_and_mode,
    an_implied_directory_keeps_owner_and_mode_of_the_layer_below,
    whiteout_markers_are_never_seen,
];

fn probe(lab: &Lab, words: &[&str]) -> Done {
    let args = ["run", "--rm", "layers", "probe"].iter().chain(words).copied();
    lab.knarr(args)
}

fn a_whiteout_hides_the_file_below(lab: &Lab) {
    lab.load("layers");
    probe(lab, &["stat", "/a/kept"]).fails();
}

fn a_file_added_again_above_a_whiteout_is_there(lab: &Lab) {
    lab.load("layers");
    probe(lab, &["cat", "/a/gone"]).ok().prints("top");
}

fn a_changed_file_has_the_upper_content_and_mode(lab: &Lab) {
    lab.load("layers");
    probe(lab, &["cat", "/a/changed"]).ok().prints("middle");
    probe(lab, &["stat", "/a/changed"]).ok().prints("file 0600 0:0 6\n");
}

fn an_opaque_directory_hides_all_below_and_keeps_its_own(lab: &Lab) {
    lab.load("layers");
    probe(lab, &["list", "/opaque"]).ok().prints("fresh\n");
}

fn a_deleted_tree_is_gone(lab: &Lab) {
    lab.load("layers");
    probe(lab, &["stat", "/deleted-tree"]).fails();
}

fn a_directory_becomes_a_file_and_a_file_a_directory(lab: &Lab) {
    lab.load("layers");
    probe(lab, &["cat", "/becomes-file"]).ok().prints("middle");
    probe(lab, &["list", "/becomes-dir"]).ok().prints("inside\n");
}

fn hard_and_symbolic_links_lead_where_they_should(lab: &Lab) {
    lab.load("layers");
    probe(lab, &["cat", "/links/two"]).ok().prints("linked");
    probe(lab, &["cat", "/links/absolute"]).ok().prints("middle");
    probe(lab, &["cat", "/links/relative"]).ok().prints("middle");
}

fn special_files_keep_kind_and_mode(lab: &Lab) {
    lab.load("layers");
    probe(lab, &["stat", "/links/pipe"]).ok().shows("fifo 0640 0:0");
    probe(lab, &["stat", "/set-uid"]).ok().prints("file 4755 0:0 6\n");
    probe(lab, &["stat", "/tmp"]).ok().shows("directory 1777 0:0");
}

fn an_implied_directory_keeps_owner_and_mode_of_the_layer_below(lab: &Lab) {
    lab.load("layers");
    probe(lab, &["stat", "/implied"]).ok().shows("directory 0711 1000:1000");
    probe(lab, &["cat", "/implied/child"]).ok().prints("middle");
}

fn whiteout_markers_are_never_seen(lab: &Lab) {
    lab.load("layers");
    for directory in ["/", "/a", "/opaque"] {
        let done = probe(lab, &["list", directory]).ok();
        assert!(!done.stdout.contains(".wh."), "{done}");
    }
}
