//! The command line as people meet it: help, wrong words, completions.

use std::process::Command;

use knarr_testkit::lab::finish;
use knarr_testkit::{Done, Lab};

cases!["command_line":
    help_is_had_in_every_way_people_ask_for_it,
    wrong_words_are_refused_with_what_was_meant,
    bash_completes_names_of_what_there_is,
    every_shell_has_a_script,
];

fn help_is_had_in_every_way_people_ask_for_it(lab: &Lab) {
    lab.knarr(["help"]).ok().shows("Usage: knarr [OPTIONS] COMMAND");
    for words in [["image", "ls"].as_slice(), &["ps"], &["registry", "serve"], &["registry", "config"], &["image"]] {
        let asked = [words, &["--help"]].concat();
        let topic = [&["help"], words].concat();
        let help = bare(lab, &asked).ok().stdout.clone();
        assert!(help.contains("Usage: knarr "), "{help}");
        bare(lab, &topic).ok().prints(&help);
    }
    bare(lab, &["registry", "help", "--help"]).ok().shows("Usage: knarr registry");
    bare(lab, &["registry", "help", "serve"]).ok().shows("--plain-http");
    bare(lab, &["help", "runtime", "kill"]).ok().shows("knarr runtime kill [command options] CONTAINER [SIGNAL]");
    bare(lab, &["help", "nothing"]).exits(125).says("unknown command: knarr nothing");
}

fn wrong_words_are_refused_with_what_was_meant(lab: &Lab) {
    let table: [(&[&str], i32, &str); 14] = [
        (&["pss"], 125, "did you mean `knarr ps`?"),
        (&["image", "lss"], 125, "did you mean `knarr image ls`?"),
        (&["ps", "--al"], 125, "did you mean `--all`?"),
        (&["run", "--memry", "1g", "x"], 125, "did you mean `--memory`?"),
        (&["ps", "extra"], 125, "unexpected argument 'extra' found"),
        (&["logs", "--tail"], 125, "flag needs an argument: --tail"),
        (&["run", "-m"], 125, "flag needs an argument: --memory"),
        (&["--bogus"], 125, "unknown flag: --bogus"),
        (&["stop"], 125, "requires CONTAINER"),
        (&["registry", "serv"], 125, "a similar subcommand exists: 'serve'"),
        (&["registry", "serve", "--rot", "x"], 125, "a similar argument exists: '--root'"),
        (&["runtime", "lst"], 1, "No help topic for 'lst'"),
        (&["completion", "tcsh"], 125, "invalid value 'tcsh'"),
        (&["ps", "--format", "{{.ID"], 1, "template"),
    ];
    for (words, code, says) in table {
        bare(lab, words).exits(code).says(says);
    }
}

fn bash_completes_names_of_what_there_is(lab: &Lab) {
    lab.needs("/bin/bash", "bash");
    lab.load("probe");
    lab.knarr(["run", "--name", "ended", "probe", "probe", "true"]).ok();
    lab.knarr(["run", "-d", "--name", "running", "probe", "probe", "sleep"]).ok();
    lab.knarr(["tag", "probe", "team/app:1.0"]).ok();
    let globals = format!("--root {} --runroot {}", lab.path("state").display(), lab.path("run").display());
    let check = |line: &str, expect: &str| {
        // As readline calls the function; `compopt` works within readline only.
        let script = r#"
            eval "$("$1" completion bash)"
            compopt() { printf '%s ' "$*"; }
            COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDBREAKS=$' \t\n"\'@><=;|&(:'
            _knarr_complete_knarr "$1"
            printf '%s\n' "${COMPREPLY[*]}""#;
        let line = line.replace("GLOBALS", &globals);
        let mut bash = Command::new("/bin/bash");
        bash.args(["-c", script, "bash"]).arg(lab.kit.join("knarr")).arg(&line);
        bash.env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", lab.path("home"))
            .env("XDG_RUNTIME_DIR", lab.path("xdg"));
        finish(&mut bash, &line, b"").ok().prints(&format!("{expect}\n"));
    };
    check("knarr GLOBALS start ", "ended");
    check("knarr GLOBALS stop ", "running");
    check("knarr GLOBALS logs ", "running ended");
    check("knarr GLOBALS logs running ", "");
    check("knarr GLOBALS wait running ", "ended");
    check("knarr GLOBALS rmi team/app:1", "1.0");
    check("knarr GLOBALS run --rm \"team", "team/app:1.0");
    check("knarr GLOBALS cp run", "-o nospace running:");
    check("knarr GLOBALS run --env-file x", "-o filenames -o default ");
    check("knarr image tre", "tree");
    check("knarr registry serve --plain", "--plain-http");
    check("knarr --root /no/where rm ", "");
    lab.knarr(["rm", "-f", "running", "ended"]).ok();
}

fn every_shell_has_a_script(lab: &Lab) {
    for shell in ["bash", "zsh", "fish"] {
        for program in ["knarr", "skopeo", "runc", "crun", "knarr-runtime"] {
            lab.knarr(["completion", shell, program]).ok().shows(&format!("__complete {shell} {program} "));
        }
    }
}

/// `knarr WORDS` without options before them: registry and runtime are first words.
fn bare(lab: &Lab, words: &[&str]) -> Done {
    let mut command = Command::new(lab.kit.join("knarr"));
    command.args(words).env_clear().env("HOME", lab.path("home")).env("XDG_RUNTIME_DIR", lab.path("xdg"));
    finish(&mut command, &format!("knarr {}", words.join(" ")), b"")
}
