//! `registry static`: the same content from a web server that knows nothing of registries.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::harness::{Client, Server, artifact};

fn export(root: &Path, to: &Path) {
    let words: Vec<OsString> = vec!["static".into(), to.into(), "--root".into(), root.into()];
    let outcome = knarr_registry::applet(words);
    assert_eq!(format!("{outcome:?}"), format!("{:?}", ExitCode::SUCCESS));
}

#[test]
fn what_was_pushed_is_read_from_pythons_web_server() {
    let server = Server::start();
    let (manifest, config, layer) = server.push_image("team/app", "v1", "layer");
    server.push_image("team/app", "v2", "other layer");
    server.push_blob("team/app", b"{}");
    let referring = artifact(&manifest, "example/sbom", 1);
    let digest = server.push_manifest("team/app", "sbom", &referring);
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..2 {
        export(server.root.path(), directory.path());
    }
    let child = Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0", "--directory"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return eprintln!("skipped: python3 is not installed") };
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let port = line.split(" port ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port").to_owned();
    let web = Client { address: format!("127.0.0.1:{port}") };
    let same = [
        "/v2/_catalog".to_owned(),
        "/v2/team/app/tags/list".to_owned(),
        format!("/v2/team/app/manifests/{manifest}"),
        "/v2/team/app/manifests/v1".to_owned(),
        "/v2/team/app/manifests/v2".to_owned(),
        format!("/v2/team/app/manifests/{digest}"),
        format!("/v2/team/app/blobs/{config}"),
        format!("/v2/team/app/blobs/{layer}"),
        format!("/v2/team/app/referrers/{manifest}"),
    ];
    for path in same {
        let (ours, theirs) = (server.get(&path), web.get(&path));
        assert!(theirs.status == 200 && ours.body == theirs.body, "{path}");
    }
    assert_eq!((web.get("/v2/").status, web.get("/v2/team/app/manifests/v3").status), (200, 404));
    child.kill().expect("ended");
    child.wait().expect("waited for");
}
