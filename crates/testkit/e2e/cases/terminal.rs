//! `-it` at a real terminal, which script(1) plays.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use knarr_testkit::lab::{Done, finish};
use knarr_testkit::process::Guarded;
use knarr_testkit::{Lab, wait};

cases!["terminal":
    a_shell_talks_and_its_exit_code_is_ours,
    the_size_of_the_terminal_is_the_containers,
    interrupt_goes_to_the_program,
    the_terminal_is_restored_afterwards,
    detach_keys_leave_it_running,
    exec_has_a_terminal_too,
    end_of_input_ends_a_shell,
];

/// A shell command line that runs knarr with this lab's directories.
fn line(lab: &Lab, words: &str) -> String {
    let (root, run) = (lab.path("state"), lab.path("run"));
    format!("{} --root {} --runroot {} {words}", lab.kit.join("knarr").display(), root.display(), run.display())
}

/// script(1) with `command` at its terminal; it inherits this lab's environment.
fn script(lab: &Lab, command: &str) -> Command {
    lab.needs("/usr/bin/script", "bsdutils");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", command, "/dev/null"]);
    script.env("HOME", lab.path("home")).env("XDG_RUNTIME_DIR", lab.path("xdg")).env("KNARR_E2E", &lab.directory);
    script
}

fn typed(lab: &Lab, command: &str, keys: &str) -> Done {
    finish(&mut script(lab, command), command, keys.as_bytes())
}

fn a_shell_talks_and_its_exit_code_is_ours(lab: &Lab) {
    lab.load("shell");
    let done = typed(lab, &line(lab, "run --rm -it shell sh"), "echo $((6*7))\nexit 9\n");
    done.exits(9).shows("42");
}

fn the_size_of_the_terminal_is_the_containers(lab: &Lab) {
    lab.load("shell");
    let command = format!("stty cols 91 rows 33; {}", line(lab, "run --rm -it shell stty size"));
    typed(lab, &command, "").ok().shows("33 91");
}

fn interrupt_goes_to_the_program(lab: &Lab) {
    lab.load("shell");
    let inside = "run --rm -it shell sh -c 'trap \"exit 7\" INT; echo ready; while :; do sleep 0.05; done'";
    let mut child = start(lab, &line(lab, inside));
    until_said(&mut child, "ready");
    type_in(&mut child, "\x03");
    assert_eq!(child.wait_patiently().code(), Some(7));
}

fn start(lab: &Lab, command: &str) -> Guarded {
    let mut script = script(lab, command);
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    Guarded::spawn(&mut script).expect("script starts")
}

fn type_in(child: &mut Guarded, keys: &str) {
    child.stdin.as_mut().expect("piped").write_all(keys.as_bytes()).expect("typed");
}

fn until_said(child: &mut Guarded, text: &str) {
    let out = child.stdout.as_mut().expect("piped");
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains(text) {
        let mut byte = [0];
        out.read_exact(&mut byte).expect("more is said");
        said.push(byte[0]);
    }
}

fn the_terminal_is_restored_afterwards(lab: &Lab) {
    lab.load("shell");
    let command =
        format!("stty -g >before; {}; stty -g >after; cmp before after", line(lab, "run --rm -it shell true"));
    let mut script = script(lab, &command);
    script.current_dir(&lab.directory);
    finish(&mut script, &command, b"").ok();
}

fn detach_keys_leave_it_running(lab: &Lab) {
    lab.load("shell");
    let mut child =
        start(lab, &line(lab, "run -it --name boat shell sh -c 'echo ready; while :; do sleep 0.05; done'"));
    until_said(&mut child, "ready");
    type_in(&mut child, "\x10\x11");
    assert_eq!(child.wait_patiently().code(), Some(0));
    assert_eq!(lab.inspect("boat")["State"]["Running"], true);
    lab.knarr(["rm", "-f", "boat"]).ok();
}

fn exec_has_a_terminal_too(lab: &Lab) {
    lab.load("shell");
    lab.knarr(["run", "-d", "--name", "boat", "shell", "sh", "-c", "while :; do sleep 0.05; done"]).ok();
    let done = typed(lab, &line(lab, "exec -it boat sh"), "test -t 0 && echo yes-$((6*7))\nexit 8\n");
    done.exits(8).shows("yes-42");
    lab.knarr(["rm", "-f", "boat"]).ok();
    wait::until("it is gone", || lab.knarr(["ps", "-aq"]).ok().text().is_empty().then_some(()));
}

fn end_of_input_ends_a_shell(lab: &Lab) {
    lab.load("shell");
    let mut child = start(lab, &line(lab, "run --rm -it shell sh"));
    type_in(&mut child, "echo $((6*7))\n");
    until_said(&mut child, "42");
    // Not before the prompt, which the shell prints when its terminal is raw: one that is not takes the key for the end of a
    // line of its own, and what is left of it after the change is a NUL.
    until_said(&mut child, "# ");
    type_in(&mut child, "\x04");
    assert_eq!(child.wait_patiently().code(), Some(0));
}
