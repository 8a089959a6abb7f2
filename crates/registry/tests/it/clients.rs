//! Other people's clients, with TLS and passwords: they log in, push, and pull what they pushed.
//!
//! They stand in a tree of their own (`$KNARR_PEERS_TOOL`, else `../shared/tools/peers` beside the workspace, which runs a command
//! in it with the current directory as /here); without it these tests say so and pass. Each runs in namespaces of its own but for the network.

use std::path::{Path, PathBuf};
use std::process::Command;

use knarr_testkit::{ImageMaker, LayerTar};
use serde_json::json;

use crate::access::write_users;
use crate::harness::Server;

/// The tool that enters their tree.
fn peers() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/tools/peers");
    let tool = std::env::var_os("KNARR_PEERS_TOOL").map_or(beside, PathBuf::from);
    let works = Command::new(&tool).args(["enter", "true"]).output().is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: no tree of peers; KNARR_PEERS_TOOL may name the tool that enters one");
    }
    works.then_some(tool)
}

/// A registry with TLS, passwords and an image in `image/` (a layout) and `image.tar` (docker's form), as /here.
fn harbour() -> Server {
    let server = Server::configured(
        "[tls]\ncertificate = \"{root}/ca.crt\"\nkey = \"{root}/ca.key\"\n[auth]\nhtpasswd = \"{root}/users\"\n\
         [[policy]]\nrepositories = [\"team/**\"]\nsubjects = [\"ship\"]\nallow = [\"pull\", \"push\", \"delete\"]",
        |root| {
            write_users(root);
            let mut openssl = Command::new("openssl");
            openssl.args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ]);
            openssl.args(["-subj", "/CN=knarr test", "-addext", "subjectAltName=IP:127.0.0.1"]);
            openssl.args(["-keyout", "ca.key", "-out", "ca.crt"]).current_dir(root);
            assert!(openssl.output().expect("openssl runs").status.success());
            let tar = LayerTar::new().file("a", 0o644, vec![b'x'; 1 << 20]).finish();
            let image = ImageMaker::new(json!({"Cmd": ["/a"]}), vec![tar.clone()]).make();
            std::fs::create_dir(root.join("image")).expect("made");
            image.write_layout(&root.join("image"), "1").expect("written");
            image.write_docker_archive(&root.join("image.tar"), "app:1", &[tar]).expect("written");
        },
    );
    let certs = server.root().join(format!("certs/{}", server.address));
    std::fs::create_dir_all(&certs).expect("made");
    std::fs::copy(server.root().join("ca.crt"), certs.join("ca.crt")).expect("copied");
    server
}

/// Runs a script in the peers' tree with `$R`, the registry's address.
fn run(script: &str) {
    let Some(tool) = peers() else { return };
    let server = harbour();
    // `!` before a command makes bash forget about -e.
    let script = format!(
        "export HOME=/here/home; mkdir -p $HOME\nnot() {{ if \"$@\"; then echo \"should have failed: $*\"; exit 1; fi; }}\n{script}"
    );
    let output = Command::new(tool)
        .args(["enter", "bash", "-euxc", &script])
        .current_dir(server.root())
        .env("R", &server.address)
        .env("SSL_CERT_FILE", "/here/ca.crt")
        .output()
        .expect("the tool runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

#[test]
fn skopeo() {
    run("skopeo login --cert-dir /here/certs/$R --authfile /here/auth -u ship -p hold-fast $R
         not skopeo login --cert-dir /here/certs/$R --authfile /here/other -u ship -p wrong $R
         skopeo copy --dest-cert-dir /here/certs/$R --dest-authfile /here/auth oci:/here/image:1 docker://$R/team/skopeo:1
         skopeo copy --src-cert-dir /here/certs/$R --src-authfile /here/auth docker://$R/team/skopeo:1 oci:/here/back:1
         test \"$(ls image/blobs/sha256)\" = \"$(ls back/blobs/sha256)\"
         not skopeo copy --dest-cert-dir /here/certs/$R --dest-authfile /here/auth oci:/here/image:1 docker://$R/other/app:1
         skopeo delete --cert-dir /here/certs/$R --authfile /here/auth docker://$R/team/skopeo:1
         not skopeo inspect --cert-dir /here/certs/$R --authfile /here/auth docker://$R/team/skopeo:1");
}

#[test]
fn podman() {
    run("p='podman --root /here/p --runroot /here/pr --storage-driver vfs'
         $p login --cert-dir /here/certs/$R --authfile /here/auth -u ship -p hold-fast $R
         $p load -i image.tar
         $p tag app:1 $R/team/podman:1
         $p push --cert-dir /here/certs/$R --authfile /here/auth $R/team/podman:1
         $p rmi -a -f
         $p pull --cert-dir /here/certs/$R --authfile /here/auth $R/team/podman:1
         $p image exists $R/team/podman:1");
}

#[test]
fn buildah() {
    run("b='buildah --root /here/b --runroot /here/br --storage-driver vfs'
         $b login --cert-dir /here/certs/$R --authfile /here/auth -u ship -p hold-fast $R
         $b pull oci:/here/image:1
         id=$($b images -q | head -1)
         $b push --cert-dir /here/certs/$R --authfile /here/auth $id docker://$R/team/buildah:1
         $b rmi -a -f
         $b pull --cert-dir /here/certs/$R --authfile /here/auth $R/team/buildah:1");
}

#[test]
fn crane() {
    run("crane auth login $R -u ship -p hold-fast
         crane push image.tar $R/team/crane:1
         crane pull $R/team/crane:1 back.tar
         test -s back.tar
         crane ls $R/team/crane | grep -x 1
         crane copy $R/team/crane:1 $R/team/mounted:2
         crane digest $R/team/mounted:2
         crane delete $R/team/mounted@$(crane digest $R/team/mounted:2)
         not crane digest $R/team/mounted:2
         crane catalog $R | grep -x team/crane");
}

#[test]
fn oras() {
    run("echo hello > note.txt
         oras login --ca-file ca.crt -u ship -p hold-fast $R
         oras push --ca-file ca.crt $R/team/oras:1 note.txt:text/plain
         oras attach --ca-file ca.crt --artifact-type example/sbom $R/team/oras:1 note.txt:text/plain
         oras discover --ca-file ca.crt $R/team/oras:1 | grep example/sbom
         mkdir back; oras pull --ca-file ca.crt -o back $R/team/oras:1
         cmp note.txt back/note.txt
         oras repo tags --ca-file ca.crt $R/team/oras | grep -x 1");
}

#[test]
fn docker() {
    run("mkdir -p /etc/docker/certs.d; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /etc/docker/certs.d; cp -r certs/* /etc/docker/certs.d/
         dockerd -H unix:///run/docker.sock --data-root /here/d --exec-root /run/dx --pidfile /run/d.pid --storage-driver vfs \
                 --feature containerd-snapshotter=false --bridge none --iptables=false --ip6tables=false >dockerd.log 2>&1 &
         trap 'kill $!; wait' EXIT
         for i in $(seq 300); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
         docker version >/dev/null || { cat dockerd.log; exit 1; }
         echo hold-fast | docker login -u ship --password-stdin $R
         docker load -i image.tar
         docker tag app:1 $R/team/docker:1
         docker push $R/team/docker:1
         docker rmi app:1 $R/team/docker:1
         docker pull $R/team/docker:1
         not docker pull $R/other/app:1
         docker logout $R
         not docker pull $R/team/docker:1");
}

#[test]
fn ctr() {
    run("mount -t tmpfs tmpfs /run; printf 'version = 2\\nroot = \"/here/c\"\\nstate = \"/run/c\"\\n[grpc]\\n  address = \"/run/c.sock\"\\n' > c.toml
         containerd -c c.toml >containerd.log 2>&1 &
         trap 'kill $!; wait' EXIT
         c='ctr -a /run/c.sock'
         for i in $(seq 300); do $c version >/dev/null 2>&1 && break; sleep 0.1; done
         skopeo copy --dest-cert-dir /here/certs/$R --dest-creds ship:hold-fast oci:/here/image:1 docker://$R/team/ctr:1
         $c content fetch --user ship:hold-fast --tlscacert /here/ca.crt $R/team/ctr:1 || { cat containerd.log; exit 1; }
         $c images tag $R/team/ctr:1 $R/team/ctr:2
         $c images push --local --user ship:hold-fast --tlscacert /here/ca.crt $R/team/ctr:2");
}
