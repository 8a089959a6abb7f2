//! Users and groups by number and by name, from the image's own files.

use knarr_testkit::Lab;

cases!["users":
    without_a_user_it_is_root,
    a_user_by_name_has_its_groups,
    a_user_by_number_that_has_a_name_has_its_groups_too,
    a_number_without_a_name_is_fine_and_its_group_is_root,
    user_and_group_by_name,
    user_and_group_by_number,
    an_unknown_name_is_an_error_that_says_so,
    a_user_of_the_image_owns_its_files,
];

fn without_a_user_it_is_root(lab: &Lab) {
    lab.load("probe");
    let user = lab.probe(&[]).user;
    assert_eq!((user.uid, user.effective_uid, user.gid), (0, 0, 0));
    assert_eq!(user.name.as_deref(), Some("root"));
}

fn a_user_by_name_has_its_groups(lab: &Lab) {
    lab.load("probe");
    let user = lab.probe(&["-u", "alice"]).user;
    assert_eq!((user.uid, user.effective_uid, user.gid), (1000, 1000, 1000));
    assert!(user.groups.contains(&2000), "{:?}", user.groups);
    assert!(!user.groups.contains(&0), "{:?}", user.groups);
}

fn a_user_by_number_that_has_a_name_has_its_groups_too(lab: &Lab) {
    lab.load("probe");
    let user = lab.probe(&["--user", "1000"]).user;
    assert_eq!((user.uid, user.gid), (1000, 1000));
    assert!(user.groups.contains(&2000), "{:?}", user.groups);
}

fn a_number_without_a_name_is_fine_and_its_group_is_root(lab: &Lab) {
    lab.load("probe");
    let user = lab.probe(&["-u", "4321"]).user;
    assert_eq!((user.uid, user.gid), (4321, 0));
}

fn user_and_group_by_name(lab: &Lab) {
    lab.load("probe");
    let user = lab.probe(&["-u", "alice:crew"]).user;
    assert_eq!((user.uid, user.gid), (1000, 2000));
}

fn user_and_group_by_number(lab: &Lab) {
    lab.load("probe");
    let user = lab.probe(&["-u", "12:34"]).user;
    assert_eq!((user.uid, user.gid), (12, 34));
}

fn an_unknown_name_is_an_error_that_says_so(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "-u", "nobody-here", "probe", "probe", "true"]).exits(125).says("nobody-here");
    lab.knarr(["run", "--rm", "-u", "alice:no-crew", "probe", "probe", "true"]).exits(125).says("no-crew");
    lab.knarr(["ps", "-aq"]).ok().prints("");
}

fn a_user_of_the_image_owns_its_files(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "probe", "stat", "/home/alice"]).ok().shows("directory 0700 1000:1000 ");
    lab.knarr(["run", "--rm", "-u", "alice", "probe", "probe", "try-write", "/home/alice/x"]).ok();
    lab.knarr(["run", "--rm", "-u", "alice", "probe", "probe", "try-write", "/root/x"]).exits(13);
}
