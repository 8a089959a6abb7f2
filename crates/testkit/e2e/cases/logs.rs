//! `logs`: what was said is kept, in order, whole.

use std::io::Read;

use knarr_testkit::Lab;

cases!["logs":
    both_streams_are_kept_apart,
    they_stay_after_the_end,
    following_ends_with_the_container,
    following_shows_what_comes_later,
    ten_thousand_lines_are_whole_and_in_order,
    a_long_line_is_one_line,
    the_tail_is_the_last_lines,
    timestamps_can_be_shown,
    of_nothing_is_an_error,
];

fn both_streams_are_kept_apart(lab: &Lab) {
    lab.load("shell");
    lab.knarr(["run", "--name", "boat", "shell", "sh", "-c", "echo out; echo err >&2"]).ok();
    let logs = lab.knarr(["logs", "boat"]).ok();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
    lab.knarr(["rm", "boat"]).ok();
}

fn they_stay_after_the_end(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "echo", "said"]).ok();
    lab.knarr(["wait", "boat"]).ok();
    lab.knarr(["logs", "boat"]).ok().prints("said\n");
    lab.knarr(["rm", "boat"]).ok();
}

fn following_ends_with_the_container(lab: &Lab) {
    lab.load("shell");
    lab.knarr(["run", "-d", "--name", "boat", "shell", "sh", "-c", "echo one; sleep 0.3; echo two"]).ok();
    lab.knarr(["logs", "-f", "boat"]).ok().prints("one\ntwo\n");
    lab.knarr(["rm", "boat"]).ok();
}

fn following_shows_what_comes_later(lab: &Lab) {
    lab.load("shell");
    lab.knarr(["run", "-d", "-i", "--name", "boat", "shell", "sh", "-c", "echo first; while :; do sleep 0.1; done"])
        .ok();
    let mut follow = lab.start(["logs", "-f", "boat"]);
    let mut first = [0; 6];
    follow.stdout.as_mut().expect("piped").read_exact(&mut first).expect("the first line");
    assert_eq!(&first, b"first\n");
    lab.knarr(["rm", "-f", "boat"]).ok();
    assert!(follow.wait_patiently().success());
}

fn ten_thousand_lines_are_whole_and_in_order(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "lines", "10000", "80"]).ok();
    lab.knarr(["wait", "boat"]).ok();
    let logs = lab.knarr(["logs", "boat"]).ok().stdout;
    assert_eq!(logs.lines().count(), 10_000);
    assert!(logs.lines().enumerate().all(|(index, line)| line.len() == 79 && line.starts_with(&format!("{index} "))));
    lab.knarr(["rm", "boat"]).ok();
}

fn a_long_line_is_one_line(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "-d", "--name", "boat", "probe", "probe", "lines", "2", "100000"]).ok();
    lab.knarr(["wait", "boat"]).ok();
    let lengths: Vec<usize> = lab.knarr(["logs", "boat"]).ok().stdout.lines().map(str::len).collect();
    assert_eq!(lengths, [99_999, 99_999]);
    lab.knarr(["rm", "boat"]).ok();
}

fn the_tail_is_the_last_lines(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "lines", "100", "10"]).ok();
    let tail = lab.knarr(["logs", "--tail", "2", "boat"]).ok().stdout;
    assert!(tail.starts_with("98 ") && tail.lines().count() == 2, "{tail}");
    lab.knarr(["logs", "-n", "0", "boat"]).ok().prints("");
    lab.knarr(["rm", "boat"]).ok();
}

fn timestamps_can_be_shown(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--name", "boat", "probe", "probe", "echo", "said"]).ok();
    let line = lab.knarr(["logs", "-t", "boat"]).ok().stdout;
    let (time, said) = line.split_once(' ').expect("a time and a text");
    assert_eq!(said, "said\n");
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T' && time.ends_with('Z'), "{time}");
    lab.knarr(["rm", "boat"]).ok();
}

fn of_nothing_is_an_error(lab: &Lab) {
    lab.knarr(["logs", "nobody"]).exits(1).says("nobody");
}
