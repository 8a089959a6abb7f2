//! What a monitor does for a container, seen from its clients and its files.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

use common::*;
use knarr_monitor::protocol::Attach;
use knarr_monitor::{Client, Error, Event, Job, Status, StdinMode};

fn ends_with(program: &str, expect: u8) {
    let place = Place::new(program);
    let mut client = place.run();
    let heard = hear(&mut client);
    assert_eq!(code(&heard), expect);
    let state = place.state();
    assert_eq!((state.status, state.exit_code), (Status::Exited, expect));
    assert!(state.started_at.unwrap() <= state.finished_at.unwrap());
}

#[test]
fn the_exit_code_is_the_programs() {
    ends_with("exit 7", 7);
}

#[test]
fn success_is_zero() {
    ends_with("true", 0);
}

#[test]
fn a_signal_ends_it_with_128_and_its_number() {
    ends_with("kill -TERM $$", 143);
}

#[test]
fn both_streams_reach_the_launcher_and_the_log_apart() {
    let place = Place::new("echo out; echo err >&2; printf tail");
    let heard = hear(&mut place.run());
    assert_eq!((&heard.stdout[..], &heard.stderr[..]), (&b"out\ntail"[..], &b"err\n"[..]));
    let mut log = place.log();
    log.sort();
    assert_eq!(log, ["err\n", "out\n", "tail"]);
}

#[test]
fn the_first_byte_is_heard_by_a_launcher_that_attached_before_the_start() {
    for _ in 0..10 {
        assert_eq!(hear(&mut Place::new("printf x").run()).stdout, b"x");
    }
}

#[test]
fn binary_output_is_handed_on_byte_for_byte() {
    let place = Place::new("head -c 3000000 /dev/urandom | tee bytes; exit 0");
    let program = format!("head -c 3000000 /dev/urandom | tee {}/bytes", place.root.path().display());
    fs::write(place.state_dir().join("program"), program).unwrap();
    let heard = hear(&mut place.run());
    assert!(heard.stdout == fs::read(place.root.path().join("bytes")).unwrap());
}

#[test]
fn lines_of_a_megabyte_are_logged_in_pieces_that_are_whole() {
    let place = Place::new("head -c 1048576 /dev/zero | tr '\\0' x; echo; head -c 1048576 /dev/zero | tr '\\0' y");
    assert_eq!(hear(&mut place.run()).stdout.len(), 2 * 1048576 + 1);
    let log = place.log();
    assert_eq!(log.len(), 64 + 1 + 64);
    assert_eq!(log.concat(), format!("{}\n{}", "x".repeat(1048576), "y".repeat(1048576)));
}

#[test]
fn a_container_that_writes_much_while_its_launcher_reads_slowly_loses_nothing() {
    let place = Place::new("i=0; while [ $i -lt 200 ]; do head -c 20000 /dev/zero | tr '\\0' a; i=$((i+1)); done");
    let mut client = place.run();
    until("the container is held back", || {
        fs::metadata(place.state_dir().join("log.jsonl")).is_ok_and(|m| m.len() > 0)
    });
    assert_eq!(hear(&mut client).stdout.len(), 4_000_000);
}

#[test]
fn a_client_that_never_reads_stops_neither_the_container_nor_its_log() {
    let place = with_stdin("read go; yes $(seq 30) | head -n 100000; exit 3", StdinMode::Open);
    place.run_detached();
    let _mute = place.connect(observer());
    let mut typist = place.connect(Attach { stdin: true, ..Attach::default() });
    typist.stdin(b"go\n").unwrap();
    assert_eq!(place.wait().exit_code, 3);
    assert_eq!(place.log().len(), 100_000);
}

#[test]
fn a_launcher_that_is_gone_leaves_the_container_running() {
    let place = with_stdin("read go; echo went; exit 4", StdinMode::Open);
    let mut client = place.run();
    client.wait_started().unwrap();
    drop(client);
    let mut other = place.connect(foreground());
    other.stdin(b"go\n").unwrap();
    let heard = hear(&mut other);
    assert_eq!((code(&heard), &heard.stdout[..]), (4, &b"went\n"[..]));
}

#[test]
fn a_hundred_clients_hear_the_same() {
    let place = with_stdin("read go; seq 1 5000; exit 5", StdinMode::Open);
    place.run_detached();
    let mut clients: Vec<Client> = (0..100).map(|_| place.connect(Attach { lossless: true, ..observer() })).collect();
    for client in &mut clients {
        // The monitor has taken `attach` when it answers the next frame of the same client.
        client.wait_started().unwrap();
    }
    let mut typist = place.connect(Attach { stdin: true, ..Attach::default() });
    typist.stdin(b"go\n").unwrap();
    let expect: String = (1..=5000).map(|number| format!("{number}\n")).collect();
    for mut client in clients {
        let heard = hear(&mut client);
        assert_eq!(code(&heard), 5);
        assert!(heard.stdout == expect.as_bytes(), "{} bytes", heard.stdout.len());
    }
}

#[test]
fn a_client_of_another_protocol_is_told_so_and_disturbs_nobody() {
    let place = with_stdin("read go; exit 6", StdinMode::Open);
    place.run_detached();
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[3, 0, 0, 0, 255, 255, 255, 255], &[77; 100_000], &[2, 0, 0, 0, 0, 0, 0, 0]]
    {
        let mut stream = UnixStream::connect(place.run_dir().join("attach.sock")).unwrap();
        let _ = stream.write_all(bytes);
        let heard = hear(&mut Client::from_socket(stream.into()));
        assert!(heard.failure.is_some());
    }
    let mut typist = place.connect(Attach { stdin: true, ..Attach::default() });
    typist.stdin(b"go\n").unwrap();
    assert_eq!(typist.wait_exited().unwrap().code, 6);
}

#[test]
fn stdin_beyond_the_window_ends_the_connection() {
    let place = with_stdin("sleep 1000", StdinMode::Open);
    place.run_detached();
    let mut stream = UnixStream::connect(place.run_dir().join("attach.sock")).unwrap();
    stream.write_all(&[1, 0, 0, 0, 0, 0, 0, 1, 1]).unwrap();
    let frame = [&[3, 0, 0, 0, 0, 1, 0, 0][..], &[0; 65536]].concat();
    // The pipe takes one window, the queue another; the third is beyond.
    (0..3).for_each(|_| drop(stream.write_all(&frame)));
    let failure = hear(&mut Client::from_socket(stream.into())).failure.unwrap();
    assert!(failure.message.contains("stdin"), "{}", failure.message);
}

#[test]
fn stdin_goes_through_however_much_it_is() {
    let place = with_stdin("cat; echo end", StdinMode::Once);
    let mut client = place.run();
    let bytes: Vec<u8> = (0..2_000_000u32).map(|number| number as u8).collect();
    let mut heard = Vec::new();
    send_all(&mut client, &bytes, &mut heard);
    heard.extend(hear(&mut client).stdout);
    assert!(heard == [&bytes[..], b"end\n"].concat());
}

#[test]
fn without_stdin_the_container_reads_its_end_at_once() {
    assert_eq!(hear(&mut Place::new("cat; echo end").run()).stdout, b"end\n");
}

#[test]
fn stdin_once_ends_when_the_last_client_that_typed_is_gone() {
    let place = with_stdin("cat; exit 9", StdinMode::Once);
    let mut client = place.run();
    client.wait_started().unwrap();
    drop(client);
    assert_eq!(place.wait().exit_code, 9);
}

#[test]
fn open_stdin_outlives_a_client_that_ended_its_own() {
    let place = with_stdin("read a; read b; exit $((a + b))", StdinMode::Open);
    place.run_detached();
    let mut first = place.connect(foreground());
    first.stdin(b"20\n").unwrap();
    first.stdin_eof().unwrap();
    drop(first);
    let mut second = place.connect(foreground());
    second.stdin(b"3\n").unwrap();
    assert_eq!(second.wait_exited().unwrap().code, 23);
}

#[test]
fn a_signal_overtakes_stdin_that_nobody_reads() {
    let place = with_stdin("sleep 1000", StdinMode::Once);
    let mut client = place.run();
    client.wait_started().unwrap();
    while client.stdin_window() > 0 {
        client.stdin(&[0; 4096]).unwrap();
    }
    client.signal(15).unwrap();
    assert_eq!(client.wait_exited().unwrap().code, 143);
}

#[test]
fn a_sigterm_to_the_monitor_becomes_the_containers_stop_signal() {
    let place =
        Place::with("trap 'exit 33' USR1; echo ready; while :; do sleep 0.01; done", |config| config.stop_signal = 10);
    let mut client = place.run();
    while client.next_event().unwrap() != Some(Event::Stdout(b"ready\n".to_vec())) {}
    let monitor = rustix::process::Pid::from_raw(place.state().monitor_pid as i32).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::TERM).unwrap();
    assert_eq!(client.wait_exited().unwrap().code, 33);
}

#[test]
fn a_terminal_is_one_stream_with_the_size_it_was_given() {
    let place = Place::with("stty size; read line; stty size; exit 2", |config| {
        config.terminal = true;
        config.stdin = StdinMode::Open;
    });
    let mut client = place.launch();
    client.attach(foreground()).unwrap();
    client.resize(33, 111).unwrap();
    client.start().unwrap();
    let mut text = String::new();
    while !text.contains("33 111\r\n") {
        if let Some(Event::Stdout(bytes)) = client.next_event().unwrap() {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    client.resize(44, 122).unwrap();
    client.stdin(b"typed\r").unwrap();
    let heard = hear(&mut client);
    assert_eq!(code(&heard), 2);
    let text = String::from_utf8_lossy(&heard.stdout).into_owned();
    assert_eq!(text, "typed\r\n44 122\r\n");
}

#[test]
fn the_last_words_on_a_terminal_are_heard() {
    for _ in 0..10 {
        let place = Place::with("seq 1 2000", |config| config.terminal = true);
        let text = hear(&mut place.run()).stdout;
        assert!(text.ends_with(b"\n1999\r\n2000\r\n"), "{} bytes", text.len());
    }
}

#[test]
fn what_the_container_orphans_is_reaped() {
    let place = with_stdin("(sleep 0.01 & sleep 0.02 & sleep 0.03 &); read go", StdinMode::Open);
    place.run_detached();
    let state = place.state();
    let children = format!("/proc/{0}/task/{0}/children", state.monitor_pid);
    until("only the container is left", || {
        fs::read_to_string(&children).unwrap().split_whitespace().eq([state.pid.to_string()])
    });
}

#[test]
fn output_of_a_grandchild_that_lives_on_does_not_hold_up_the_end() {
    let place = Place::new("(while :; do echo noise; sleep 0.001; done) & echo $! >&2; exit 8");
    let mut client = place.run();
    let heard = hear(&mut client);
    let pid: i32 = String::from_utf8_lossy(&heard.stderr).trim().parse().unwrap();
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
    assert_eq!(code(&heard), 8);
}

#[test]
fn a_refused_creation_is_told_with_the_runtimes_words() {
    let place = Place::new("");
    fs::write(place.state_dir().join("refuse"), "exec: \\\"nope\\\": executable file not found in $PATH").unwrap();
    let failure = hear(&mut place.run()).failure.unwrap();
    assert!(failure.message.contains("executable file not found"), "{}", failure.message);
    assert_eq!(failure.exit_code, Some(127));
    let state = place.state();
    assert_eq!((state.status, state.exit_code, state.pid), (Status::Created, 127, 0));
    assert!(state.is_final() && state.error.is_some());
}

#[test]
fn a_launcher_that_leaves_before_the_start_takes_the_container_along() {
    let place = Place::new("echo never");
    let mut client = place.launch();
    let pid = client.wait_created().unwrap();
    assert_eq!(place.state().status, Status::Created);
    drop(client);
    until("the end is recorded", || place.state().is_final());
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    assert!(place.log().is_empty());
}

#[test]
fn a_second_monitor_for_the_same_container_is_refused() {
    let place = with_stdin("read go", StdinMode::Open);
    place.run_detached();
    let failure = hear(&mut place.run()).failure.unwrap();
    assert!(failure.message.contains("already has a monitor"), "{}", failure.message);
    assert_eq!(place.state().status, Status::Running);
}

#[test]
fn a_second_run_appends_to_the_log_and_forgets_the_first_end() {
    let place = with_stdin("echo here; read go; exit 11", StdinMode::Once);
    for _ in 0..5 {
        let mut client = place.run();
        client.wait_started().unwrap();
        let state = place.state();
        assert_eq!((state.status, state.exit_code), (Status::Running, 0));
        assert!(!place.state_dir().join("exit.json").exists());
        client.stdin_eof().unwrap();
        assert_eq!(code(&hear(&mut client)), 11);
    }
    assert_eq!(place.log(), ["here\n"; 5]);
}

/// Runs with an exit command that leaves a file behind; whether it did.
fn exit_command_runs(end: impl FnOnce(Client)) -> bool {
    let mut place = with_stdin("read go", StdinMode::Once);
    let mark = place.root.path().join("cleaned");
    place.config.exit_command = Some(vec!["/bin/touch".into(), mark.display().to_string()]);
    let mut client = place.run_wanting(Attach { cleanup: true, ..foreground() });
    client.wait_started().unwrap();
    let monitor = place.state().monitor_pid;
    end(client);
    until("the monitor is gone", || !is_running(monitor));
    mark.exists()
}

fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn the_exit_command_runs_when_the_client_that_promised_to_clean_up_was_killed() {
    assert!(exit_command_runs(drop));
}

#[test]
fn the_exit_command_runs_when_that_client_was_killed_between_the_end_and_its_cleanup() {
    assert!(exit_command_runs(|mut client| {
        client.stdin_eof().unwrap();
        client.wait_exited().unwrap();
    }));
}

#[test]
fn the_exit_command_does_not_run_when_the_client_has_cleaned_up() {
    assert!(!exit_command_runs(|mut client| {
        client.stdin_eof().unwrap();
        client.wait_exited().unwrap();
        client.cleaned(&[]).unwrap();
    }));
}

#[test]
fn what_the_client_left_to_remove_goes_when_the_client_has_gone() {
    let place = with_stdin("read go", StdinMode::Once);
    let rubbish = place.root.path().join("rubbish");
    fs::create_dir_all(rubbish.join("deep/down")).unwrap();
    let mut client = place.run_wanting(Attach { cleanup: true, ..foreground() });
    client.wait_started().unwrap();
    client.stdin_eof().unwrap();
    client.wait_exited().unwrap();
    client.cleaned(std::slice::from_ref(&rubbish)).unwrap();
    until("the rubbish is gone", || !rubbish.exists());
}

#[test]
fn only_who_promised_to_clean_up_may_name_rubbish() {
    let place = with_stdin("read go", StdinMode::Once);
    let precious = place.root.path().join("precious");
    fs::create_dir(&precious).unwrap();
    let mut client = place.run();
    client.wait_started().unwrap();
    client.cleaned(std::slice::from_ref(&precious)).unwrap();
    let refusal = client.wait_exited().unwrap_err().to_string();
    assert!(refusal.contains("only who promised to clean up"), "{refusal}");
    assert!(precious.exists());
}

#[test]
fn a_monitor_launched_ahead_waits_for_its_container_and_supervises_it() {
    let place = Place::new("echo ahead");
    let mut client = place.launch_ahead();
    client.tell(Job::Container(&place.state_dir())).unwrap();
    client.attach(foreground()).unwrap();
    client.start().unwrap();
    assert_eq!(hear(&mut client).stdout, b"ahead\n");
}

#[test]
fn a_monitor_launched_ahead_leaves_without_a_trace_when_its_launcher_does() {
    let place = Place::new("echo never");
    let client = place.launch_ahead();
    let monitor = client.monitor_pid().unwrap().as_raw_nonzero().get() as u32;
    drop(client);
    until("the monitor is gone", || !is_running(monitor));
    assert!(place.log().is_empty());
}

#[test]
fn a_full_disk_costs_log_lines_and_is_reported_but_the_container_goes_on() {
    let place = Place::with("echo one; echo two >&2; exit 12", |config| {
        config.log.as_mut().unwrap().path = "/dev/full".into();
    });
    let heard = hear(&mut place.run());
    assert_eq!((code(&heard), &heard.stdout[..]), (12, &b"one\n"[..]));
    let state = place.state();
    assert_eq!(state.log_lines_lost, 2);
    assert!(state.log_error.unwrap().contains("No space left"));
}

#[test]
fn a_monitor_killed_at_any_moment_leaves_a_truthful_state_and_blocks_nothing() {
    for moment in 0..40u32 {
        let place = with_stdin("read go", StdinMode::Once);
        let mut client = place.launch();
        client.attach(foreground()).unwrap();
        client.start().unwrap();
        let pid = client.monitor_pid().unwrap();
        // Any moment will do: the assertions hold for all of them.
        std::thread::sleep(std::time::Duration::from_micros(u64::from(moment) * 150));
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        while let Ok(Some(_)) = client.next_event() {}
        drop(client);
        until("the lock falls", || place.state().monitor_pid == 0);
        let state = place.state();
        let expect = if state.started_at.is_some() { (Status::Exited, 137) } else { (state.status, state.exit_code) };
        assert_eq!((state.status, state.exit_code), expect);
        kill_leftovers(&place);
        let mut again = place.run();
        again.stdin_eof().unwrap();
        assert_eq!(code(&hear(&mut again)), 1);
    }
}

/// The plain runtime and its processes do not die with their monitor as ours do.
fn kill_leftovers(place: &Place) {
    let name = place.root.path().display().to_string();
    until("no process knows the place", || {
        let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let knows =
            |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&name));
        let left: Vec<i32> = numbers.filter(knows).collect();
        for pid in &left {
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_raw(*pid).unwrap(),
                rustix::process::Signal::KILL,
            );
        }
        left.is_empty()
    });
}

#[test]
fn connecting_to_a_container_that_ended_says_that_nobody_is_there() {
    let place = Place::new("true");
    hear(&mut place.run());
    until("the socket is gone", || !place.run_dir().join("attach.sock").exists());
    assert!(matches!(Client::connect(place.run_dir()), Err(Error::Io { .. })));
}
