//! Exit codes of `run`: the program's own, 125 for ours, 126 and 127 for a program that cannot start, 128+n for signals.
//!
//! Spec: docker run reference, "Exit status".

use knarr_testkit::Lab;

cases!["exit_codes":
    success_is_zero,
    the_programs_code_is_ours,
    an_unknown_flag_is_125,
    an_image_that_is_nowhere_is_125,
    a_missing_program_is_127,
    a_missing_absolute_program_is_127,
    a_file_without_execute_permission_is_126,
    a_directory_as_program_is_126,
    death_by_signal_is_128_plus_its_number,
    no_image_at_all_is_an_error,
    a_failed_start_leaves_no_rm_container,
];

fn success_is_zero(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "probe", "true"]).ok().prints("").silently();
}

fn the_programs_code_is_ours(lab: &Lab) {
    lab.load("probe");
    for code in [1, 7, 125, 255] {
        lab.knarr(["run", "--rm", "probe", "probe", "exit", &code.to_string()]).exits(code);
    }
}

fn an_unknown_flag_is_125(lab: &Lab) {
    lab.knarr(["run", "--no-such-flag", "probe"]).exits(125).says("--no-such-flag");
}

fn an_image_that_is_nowhere_is_125(lab: &Lab) {
    lab.knarr(["run", "--pull", "never", "no-such-image"]).exits(125).says("no-such-image");
}

fn a_missing_program_is_127(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "no-such-program"]).exits(127).says("no-such-program");
}

fn a_missing_absolute_program_is_127(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "/no/such/program"]).exits(127).says("/no/such/program");
}

fn a_file_without_execute_permission_is_126(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "/etc/passwd"]).exits(126).says("/etc/passwd");
}

fn a_directory_as_program_is_126(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "/etc"]).exits(126);
}

fn death_by_signal_is_128_plus_its_number(lab: &Lab) {
    lab.load("shell");
    // Under --init: the kernel keeps process 1 from killing itself.
    lab.knarr(["run", "--rm", "--init", "shell", "sh", "-c", "kill -9 $$"]).exits(137);
    lab.knarr(["run", "--rm", "--init", "shell", "sh", "-c", "kill -TERM $$"]).exits(143);
}

fn no_image_at_all_is_an_error(lab: &Lab) {
    lab.knarr(["run"]).fails();
}

fn a_failed_start_leaves_no_rm_container(lab: &Lab) {
    lab.load("probe");
    lab.knarr(["run", "--rm", "probe", "no-such-program"]).exits(127);
    lab.knarr(["ps", "-aq"]).ok().prints("");
}
