//! Credential helpers: `docker-credential-NAME get|store|erase`.
//!
//! Spec: docker-credential-helpers: the server's name (to store: a JSON object) on stdin, a JSON object on stdout, `credentials not found …` on stdout
//! with a failing status where there are none. A user called `<token>` means an identity token.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::Credentials;
use crate::{Problem, limits};

/// What helpers print where they know nothing.
const NOT_FOUND: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper called `name`, searched in `dirs`, about `server`.
pub(super) fn ask(name: &str, dirs: &[PathBuf], server: &str) -> Result<Option<Credentials>, Problem> {
    match call(name, dirs, "get", server)? {
        Some(output) => parse(&output)
            .map(Some)
            .map_err(|error| Problem::Helper { program: format!("docker-credential-{name}"), what: error.to_string() }),
        None => Ok(None),
    }
}

/// Gives it a user and a password to keep.
pub(super) fn store(name: &str, dirs: &[PathBuf], server: &str, user: &str, secret: &str) -> Result<(), Problem> {
    let entry = serde_json::json!({"ServerURL": server, "Username": user, "Secret": secret});
    call(name, dirs, "store", &entry.to_string()).map(drop)
}

/// Makes it forget; whether it knew.
pub(super) fn erase(name: &str, dirs: &[PathBuf], server: &str) -> Result<bool, Problem> {
    call(name, dirs, "erase", server).map(|answer| answer.is_some())
}

/// What it says to `verb`; `None` where it knows nothing of the server.
fn call(name: &str, dirs: &[PathBuf], verb: &str, input: &str) -> Result<Option<Vec<u8>>, Problem> {
    let program = format!("docker-credential-{name}");
    let problem = |what: String| Problem::Helper { program: program.clone(), what };
    if name.contains('/') {
        return Err(problem("a name with a slash is none".to_owned()));
    }
    let path = dirs.iter().map(|dir| dir.join(&program)).find(|path| path.is_file());
    let path = path.ok_or_else(|| problem("not found in any directory of the search path".to_owned()))?;
    let (success, output) = run(path, verb, input).map_err(|error| problem(error.to_string()))?;
    if success {
        return Ok(Some(output));
    }
    match String::from_utf8_lossy(&output).trim() {
        text if text.starts_with(NOT_FOUND) => Ok(None),
        text => Err(problem(text.to_owned())),
    }
}

fn run(path: PathBuf, verb: &str, input: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child =
        Command::new(path).arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    // A helper may answer without reading its input; that its pipe is closed then is no failure.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(limits::ANSWER_BYTES_MAX).read_to_end(&mut output)?;
    }
    Ok((child.wait()?.success(), output))
}

fn parse(output: &[u8]) -> serde_json::Result<Credentials> {
    let answer: Answer = serde_json::from_slice(output)?;
    Ok(match answer.username.as_str() {
        "<token>" => Credentials::IdentityToken(answer.secret),
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, expect: Result<Option<Credentials>, &str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker-credential-test");
        // Written by another process: a file that any thread of ours has open for writing cannot be executed.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        assert!(Command::new("sh").args(["-c", write]).arg(&path).arg(script).status().unwrap().success());
        let found = ask("test", &[dir.path().to_owned()], "reg.example").map_err(|error| error.to_string());
        match (found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found, expect),
            (Err(found), Err(expect)) => assert!(found.contains(expect), "{found}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn a_helper_answers_for_the_server_it_is_asked_about() {
        let script = r#"read server; printf '{"ServerURL":"%s","Username":"%s","Secret":"s"}' "$server" "$server""#;
        let user = "reg.example".to_owned();
        check(script, Ok(Some(Credentials::Password { user, password: "s".to_owned() })));
    }

    #[test]
    fn a_user_called_token_means_an_identity_token() {
        check(r#"echo '{"Username":"<token>","Secret":"s"}'"#, Ok(Some(Credentials::IdentityToken("s".to_owned()))));
    }

    #[test]
    fn not_found_is_no_error_and_everything_else_is() {
        check("echo credentials not found in native keychain; exit 1", Ok(None));
        check("echo keychain is locked; exit 1", Err("docker-credential-test: keychain is locked"));
        check("echo '['", Err("EOF"));
    }

    #[test]
    fn a_missing_helper_is_named() {
        let error = ask("nowhere", &[], "x").unwrap_err().to_string();
        assert!(error.contains("docker-credential-nowhere: not found"), "{error}");
        assert!(ask("../sh", &["/bin".into()], "x").is_err());
    }
}
