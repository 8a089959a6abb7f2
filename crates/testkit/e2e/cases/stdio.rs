//! Standard input, output, error and terminals.

use std::io::{Read, Write};

use knarr_testkit::{Lab, wait};

cases!["stdio":
    output_and_error_stay_apart,
    without_i_standard_input_is_empty,
    with_i_standard_input_arrives,
    with_i_a_megabyte_of_bytes_comes_back_unchanged,
    twenty_megabytes_of_output_arrive_whole,
    the_last_line_needs_no_newline,
    with_t_all_three_are_a_terminal,
    with_t_lines_end_with_carriage_return,
    i_and_t_without_a_terminal_are_refused,
    a_reader_that_goes_away_stops_nothing_else,
    two_clients_can_attach,
];

fn output_and_error_stay_apart(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "probe", "echo", "out"]).ok().prints("out\n").silently();
    let done = lab.knarr(["run", "--rm", "probe", "probe", "echo-error", "err"]).ok().prints("");
    assert_eq!(done.stderr, "err\n");
}

fn without_i_standard_input_is_empty(lab: &Lab) {
    lab.load("probe");
    lab.knarr_fed(["run", "--rm", "probe", "probe", "cat"], b"lost").ok().prints("");
}

fn with_i_standard_input_arrives(lab: &Lab) {
    lab.load("probe");
    lab.knarr_fed(["run", "--rm", "-i", "probe", "probe", "cat"], b"one\ntwo").ok().prints("one\ntwo");
}

fn with_i_a_megabyte_of_bytes_comes_back_unchanged(lab: &Lab) {
    lab.load("probe");
    let line: String = (0..1 << 20).map(|n| char::from(b'a' + (n * 7 % 26) as u8)).collect();
    let done = lab.knarr_fed(["run", "--rm", "-i", "probe", "probe", "cat"], line.as_bytes()).ok();
    assert_eq!(done.stdout.len(), line.len());
    assert!(done.stdout == line, "a byte changed on the way");
}

fn twenty_megabytes_of_output_arrive_whole(lab: &Lab) {
    lab.load("probe");
    let done = lab.knarr(["run", "--rm", "probe", "probe", "lines", "20000", "1000"]);
    assert_eq!((done.code, done.stdout.len()), (Some(0), 20_000_000));
    assert!(done.stdout.lines().enumerate().all(|(index, line)| line.starts_with(&format!("{index} "))));
}

fn the_last_line_needs_no_newline(lab: &Lab) {
    lab.load("shell");
    lab.knarr(["run", "--rm", "shell", "echo", "-n", "cut"]).ok().prints("cut");
}

fn with_t_all_three_are_a_terminal(lab: &Lab) {
    lab.load("probe");
    assert_eq!(lab.probe(&[]).process.terminal, [false; 3]);
    let done = lab.knarr(["run", "--rm", "-t", "probe", "probe", "--json"]).ok();
    let report = done.report();
    assert_eq!(report.process.terminal, [true; 3]);
    assert_eq!(report.env.get("TERM").map(String::as_str), Some("xterm"));
    assert!(report.fds.get(&0).is_some_and(|target| target.starts_with("/dev/pts/") || target == "/dev/console"));
}

fn with_t_lines_end_with_carriage_return(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "-t", "probe", "probe", "echo", "x"]).ok().prints("x\r\n");
}

fn i_and_t_without_a_terminal_are_refused(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "-it", "probe", "probe", "true"]).exits(1).says("TTY");
}

fn a_reader_that_goes_away_stops_nothing_else(lab: &Lab) {
    lab.load("probe");
    let mut run = lab.start(["run", "--name", "boat", "probe", "probe", "lines", "100000", "100"]);
    let mut first = [0; 100];
    run.stdout.take().expect("piped").read_exact(&mut first).expect("a first line");
    run.wait_patiently();
    wait::until("the container ends", || (lab.inspect("boat")["State"]["Running"] == false).then_some(()));
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn two_clients_can_attach(lab: &Lab) {
    lab.load("shell");
    // It ticks until it is spoken to, so that both clients can tell that they are attached.
    let script = "(while :; do echo tick; sleep 0.05; done) & read line; kill $!; wait; echo got $line";
    lab.knarr(["run", "-d", "-i", "--name", "boat", "shell", "sh", "-c", script]).ok();
    let mut talker = lab.start(["attach", "boat"]);
    let mut listener = lab.start(["attach", "--no-stdin", "boat"]);
    for client in [&mut talker, &mut listener] {
        client.stdout.as_mut().expect("piped").read_exact(&mut [0; 5]).expect("a tick");
    }
    talker.stdin.as_mut().expect("piped").write_all(b"word\n").expect("written");
    for client in [&mut talker, &mut listener] {
        let mut said = String::new();
        client.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
        assert!(client.wait_patiently().success());
        assert!(said.ends_with("got word\n"), "{said:?}");
    }
    lab.knarr(["rm", "boat"]).ok();
}
