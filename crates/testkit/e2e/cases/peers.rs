//! What we write others read, what others write we read, and digests stay: skopeo, crane, podman, buildah, docker and oras of a
//! tree of peers.
//!
//! The tree is `$KNARR_PEERS` or `~/.cache/knarr-peers`, a root file system with those programs; without it the tests are
//! skipped. Each program runs with the tree as its root, in a mount namespace of its own; the lab is `/here` there.

use std::path::PathBuf;
use std::process::Command;

use knarr_testkit::lab::{Done, finish};
use knarr_testkit::registry::{self, Registry};
use knarr_testkit::{Image, ImageMaker, Lab, LayerTar};
use serde_json::json;

cases!["peers":
    skopeo_reads_what_we_write,
    we_read_what_skopeo_writes,
    crane_reads_what_we_write,
    we_read_what_crane_writes,
    podman_loads_what_we_save_and_pushes_what_it_loaded,
    oras_reads_and_writes_layouts,
    skopeo_knows_the_login_we_keep,
    skopeo_takes_our_registry_for_one,
    chunked_layers_say_what_skopeos_say,
    estargz_layers_are_gzip_for_others,
    what_skopeo_signs_a_policy_lets_in,
    sigstores_keys_and_signatures_go_both_ways,
    what_we_sign_with_gpg_skopeo_lets_in,
    buildah_reads_what_we_write_and_we_read_what_buildah_writes,
    docker_loads_what_we_save_and_pushes_what_it_loaded,
];

/// The root is a mount of its own: docker remounts it where it unpacks.
const ENTER: &str = r#"tree=$0; lab=$1; shift
mount --rbind "$tree" "$tree"
mount --rbind /dev "$tree/dev"; mount --rbind /sys "$tree/sys"; mount -t proc proc "$tree/proc"; mkdir -p "$tree/here"; mount --bind "$lab" "$tree/here"
cd "$tree/here"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/here/home TMPDIR=/here XDG_RUNTIME_DIR=/here/xdg \
    chroot "$tree" sh -c 'cd /here && exec "$@"' sh "$@""#;

pub(super) fn tree(lab: &Lab, program: &str) -> PathBuf {
    lab.needs_root();
    let named = std::env::var_os("KNARR_PEERS").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/knarr-peers"));
    let tree = named.or_else(home).unwrap_or_default();
    if !tree.join("usr/bin").join(program).exists() {
        lab.skip(format_args!("there is no tree of peers with {program}"));
    }
    tree
}

pub(super) fn peer(lab: &Lab, words: &[&str]) -> Done {
    let tree = tree(lab, words[0]);
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-euc", ENTER]).arg(tree).arg(&lab.directory).args(words);
    finish(&mut command, &words.join(" "), b"")
}

fn pushed(lab: &Lab, program: &str) -> (Registry, Image, String) {
    tree(lab, program);
    lab.needs(registry::PROGRAM, "docker-registry");
    let registry = Registry::start().expect("a registry");
    let tars = vec![
        LayerTar::new().dir("bin/", 0o755).file("bin/x", 0o755, "x".repeat(5000)).finish(),
        LayerTar::new().file("two", 0o644, "two").finish(),
    ];
    let image = ImageMaker::new(json!({"Env": ["PATH=/bin"], "Cmd": ["x"]}), tars).make();
    registry.push("fleet/one", "v1", &image).expect("pushed");
    let name = format!("{}/fleet/one:v1", registry.address);
    (registry, image, name)
}

fn has_digest(lab: &Lab, place: &str, digest: &str) {
    let seen = lab.knarr(["image", "inspect", "--no-tags", place]).ok().json();
    assert_eq!(seen["Digest"], digest, "{place}");
}

fn skopeo_reads_what_we_write(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "skopeo");
    for (at, to) in ["oci:ours:v1", "oci-archive:ours.tar:v1", "dir:ours-dir", "docker-archive:ours-docker.tar:a/b:1"]
        .into_iter()
        .enumerate()
    {
        lab.knarr(["image", "copy", &format!("docker://{name}"), to]).ok();
        let back = format!("docker://{}/skopeo/{at}:v1", registry.address);
        peer(lab, &["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", to, &back]).ok();
        // Of a docker archive skopeo makes another manifest; the image in it is the same.
        match to.starts_with("docker-archive") {
            false => has_digest(lab, &back, &image.manifest.digest),
            true => {
                let raw = lab.knarr(["image", "inspect", "--raw", &back]).ok().json();
                assert_eq!(raw["config"]["digest"], image.config.digest.as_str());
            }
        }
    }
}

fn we_read_what_skopeo_writes(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "skopeo");
    for (at, to) in ["oci:theirs:v1", "oci-archive:theirs.tar:v1", "dir:theirs-dir"].into_iter().enumerate() {
        let from = format!("docker://{name}");
        peer(lab, &["skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", &from, to]).ok();
        let back = format!("docker://{}/knarr/{at}:v1", registry.address);
        lab.knarr(["image", "copy", to, &back]).ok();
        has_digest(lab, &back, &image.manifest.digest);
    }
    let words = ["skopeo", "copy", "--insecure-policy", "oci:theirs:v1", "docker-archive:theirs-docker.tar:boat:1"];
    peer(lab, &words).ok();
    lab.knarr(["load", "-i", "theirs-docker.tar"]).ok().prints("Loaded image: boat:1\n");
}

fn crane_reads_what_we_write(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "crane");
    lab.knarr(["image", "copy", &format!("docker://{name}"), "oci:ours:v1"]).ok();
    peer(lab, &["crane", "push", "ours", &format!("{}/crane/one:v1", registry.address)]).ok();
    has_digest(lab, &format!("docker://{}/crane/one:v1", registry.address), &image.manifest.digest);
    let digest = peer(lab, &["crane", "digest", &format!("{}/crane/one:v1", registry.address)]).ok();
    assert_eq!(digest.text(), image.manifest.digest);
}

fn we_read_what_crane_writes(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "crane");
    peer(lab, &["crane", "pull", "--format=oci", &name, "theirs"]).ok();
    let back = format!("docker://{}/knarr/crane:v1", registry.address);
    lab.knarr(["image", "copy", "oci:theirs", &back]).ok();
    has_digest(lab, &back, &image.manifest.digest);
    peer(lab, &["crane", "pull", "--format=tarball", &name, "theirs.tar"]).ok();
    lab.knarr(["load", "-i", "theirs.tar"]).ok();
}

fn podman_loads_what_we_save_and_pushes_what_it_loaded(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "podman");
    let podman = ["podman", "--root", "/here/podman", "--runroot", "/here/podman-run", "--storage-driver", "vfs"];
    let podman = |words: &[&str]| peer(lab, &[&podman[..], words].concat());
    lab.knarr(["image", "copy", &format!("docker://{name}"), "docker-archive:ours.tar:boat:1"]).ok();
    podman(&["load", "-q", "-i", "ours.tar"]).ok().shows("boat:1");
    podman(&["pull", "-q", "oci-archive:/here/missing.tar"]).fails();
    lab.knarr(["image", "copy", &format!("docker://{name}"), "oci-archive:ours-oci.tar:boat:2"]).ok();
    let id = podman(&["pull", "-q", "oci-archive:/here/ours-oci.tar"]).ok();
    assert_eq!(id.text(), &image.config.digest["sha256:".len()..]);
    let there = format!("{}/podman/boat:1", registry.address);
    podman(&["push", "-q", "--tls-verify=false", "--remove-signatures", "docker.io/library/boat:1", &there]).ok();
    lab.knarr(["pull", "-q", &there]).ok();
    podman(&["save", "-q", "--format", "oci-archive", "-o", "theirs.tar", "docker.io/library/boat:1"]).ok();
    lab.knarr(["load", "-i", "theirs.tar"]).ok().shows("boat:1");
}

fn oras_reads_and_writes_layouts(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "oras");
    lab.knarr(["image", "copy", &format!("docker://{name}"), "oci:ours:v1"]).ok();
    let there = format!("{}/oras/one:v1", registry.address);
    peer(lab, &["oras", "cp", "--from-oci-layout", "--to-plain-http", "ours:v1", &there]).ok();
    has_digest(lab, &format!("docker://{there}"), &image.manifest.digest);
    peer(lab, &["oras", "cp", "--from-plain-http", "--to-oci-layout", &there, "theirs:v1"]).ok();
    let back = format!("docker://{}/knarr/oras:v1", registry.address);
    lab.knarr(["image", "copy", "oci:theirs:v1", &back]).ok();
    has_digest(lab, &back, &image.manifest.digest);
    // An artifact with something that refers to it goes along.
    std::fs::write(lab.path("note.txt"), "all well\n").expect("written");
    let words = ["oras", "attach", "--plain-http", "--artifact-type", "example/note", &there, "note.txt:text/plain"];
    peer(lab, &words).ok();
    let copied = format!("docker://{}/copied/one:v1", registry.address);
    lab.knarr(["image", "copy", "--referrers", &format!("docker://{there}"), &copied]).ok();
    let words = ["oras", "discover", "--plain-http", copied.trim_start_matches("docker://")];
    peer(lab, &words).ok().shows("example/note");
}

fn skopeo_knows_the_login_we_keep(lab: &Lab) {
    let (registry, _, _) = pushed(lab, "skopeo");
    let registry = registry.restart(registry::Access::Login).expect("restarted");
    let (user, password) = registry::LOGIN;
    lab.knarr_fed(["login", "-u", user, "--password-stdin", &registry.address], password.as_bytes()).ok();
    let place = format!("docker://{}/fleet/one:v1", registry.address);
    peer(lab, &["skopeo", "inspect", "--tls-verify=false", &place]).ok();
    lab.knarr(["logout", &registry.address]).ok();
    peer(lab, &["skopeo", "inspect", "--tls-verify=false", &place]).fails();
}

fn skopeo_takes_our_registry_for_one(lab: &Lab) {
    let (_registry, image, name) = pushed(lab, "skopeo");
    let (_process, address) = super::registries::ours(lab);
    let (from, to) = (format!("docker://{name}"), format!("docker://{address}/theirs/one:v1"));
    let words =
        ["skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to];
    peer(lab, &words).ok();
    has_digest(lab, &to, &image.manifest.digest);
}

fn chunked_layers_say_what_skopeos_say(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "skopeo");
    let (from, ours) = (format!("docker://{name}"), format!("docker://{}/ours/chunked:v1", registry.address));
    lab.knarr(["image", "copy", "--dest-compress-format", "zstd:chunked", &from, &ours]).ok();
    let words =
        ["skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", "--dest-compress-format", "zstd:chunked"];
    peer(lab, &[&words[..], &[&from, "oci:theirs:v1"]].concat()).ok();
    let manifest = |place: &str| lab.knarr(["image", "inspect", "--raw", place]).ok().json();
    let (own, other) = (manifest(&ours), manifest("oci:theirs:v1"));
    assert_eq!(own["config"]["digest"], image.config.digest.as_str());
    for at in 0..2 {
        let names = |manifest: &serde_json::Value| {
            let annotations = manifest["layers"][at]["annotations"].as_object().expect("annotations").clone();
            annotations.keys().filter(|name| name.contains("zstd-chunked")).cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&own), names(&other));
        assert_eq!(own["layers"][at]["mediaType"], other["layers"][at]["mediaType"]);
    }
    lab.knarr(["pull", "-q", ours.trim_start_matches("docker://")]).ok();
    let podman = ["podman", "--root", "/here/podman", "--runroot", "/here/podman-run", "--storage-driver", "overlay"];
    let id =
        peer(lab, &[&podman[..], &["pull", "-q", "--tls-verify=false", ours.trim_start_matches("docker://")]].concat());
    assert_eq!(id.ok().text(), &image.config.digest["sha256:".len()..]);
}

/// Runs a script in the tree; the lab is the current directory there.
fn script(lab: &Lab, program: &str, script: &str) -> Done {
    tree(lab, program);
    peer(lab, &["bash", "-euc", script])
}

fn estargz_layers_are_gzip_for_others(lab: &Lab) {
    let (_registry, _, name) = pushed(lab, "umoci");
    let from = format!("docker://{name}");
    lab.knarr(["image", "copy", "--dest-compress-format", "estargz", &from, "oci:ours:v1"]).ok();
    peer(lab, &["umoci", "unpack", "--image", "ours:v1", "bundle"]).ok();
    for (path, content) in [("two", "two".to_owned()), ("bin/x", "x".repeat(5000))] {
        assert_eq!(std::fs::read_to_string(lab.path("bundle/rootfs").join(path)).expect("unpacked"), content);
        lab.knarr(["image", "cat", "oci:ours:v1", path]).ok().prints(&content);
    }
    assert!(lab.path("bundle/rootfs/stargz.index.json").exists());
    let podman = ["podman", "--root", "/here/podman", "--runroot", "/here/podman-run", "--storage-driver", "vfs"];
    peer(lab, &[&podman[..], &["pull", "-q", "oci:/here/ours:v1"]].concat()).ok();
}

fn sigstores_keys_and_signatures_go_both_ways(lab: &Lab) {
    let (registry, _, name) = pushed(lab, "skopeo");
    std::fs::create_dir_all(lab.path("registries.d")).expect("made");
    let attachments = format!("docker:\n  {}:\n    use-sigstore-attachments: true\n", registry.address);
    std::fs::write(lab.path("registries.d/here.yaml"), attachments).expect("written");
    std::fs::write(lab.path("pass"), "anchor\n").expect("written");
    let generate = |prefix| ["generate-sigstore-key", "--output-prefix", prefix, "--passphrase-file", "pass"];
    lab.knarr(["image"].into_iter().chain(generate("ours"))).ok();
    peer(lab, &[&["skopeo"][..], &generate("theirs")].concat()).ok();
    let flags = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
    for key in ["ours", "theirs"] {
        let private = format!("{key}.private");
        let sign = ["--sign-by-sigstore-private-key", &private, "--sign-passphrase-file", "pass"];
        let from = format!("docker://{name}");
        let by_us = format!("docker://{}/by-us/{key}:v1", registry.address);
        let by_skopeo = format!("docker://{}/by-skopeo/{key}:v1", registry.address);
        lab.knarr(["image"].iter().chain(&flags).chain(&sign).chain(&[&*from, &*by_us])).ok();
        let skopeo = ["skopeo", "--registries.d", "registries.d", "--insecure-policy"];
        peer(lab, &[&skopeo[..], &flags, &sign, &[&from, &by_skopeo]].concat()).ok();
        let policy = |dir: &str| {
            let path = format!("{dir}/{key}.pub");
            let policy = json!({"default": [{"type": "sigstoreSigned", "keyPath": path}]});
            std::fs::write(lab.path("policy.json"), policy.to_string()).expect("written");
        };
        for (signer, signed) in [("us", by_us), ("skopeo", by_skopeo)] {
            policy(&lab.directory.display().to_string());
            let to = format!("dir:checked-by-us-{signer}-{key}");
            lab.knarr(["image", "copy", "--policy", "policy.json", &signed, &to]).ok();
            policy("/here");
            let to = format!("dir:checked-by-skopeo-{signer}-{key}");
            let skopeo = ["skopeo", "--registries.d", "registries.d", "--policy", "policy.json"];
            peer(lab, &[&skopeo[..], &flags, &[&signed, &to]].concat()).ok();
            let other = format!("dir:refused-by-skopeo-{signer}-{key}");
            peer(lab, &[&skopeo[..], &flags, &[&from, &other]].concat()).fails().says("signature");
        }
    }
}

fn what_we_sign_with_gpg_skopeo_lets_in(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "skopeo");
    lab.needs("/usr/bin/gpg", "gnupg");
    std::fs::create_dir_all(lab.path("registries.d")).expect("made");
    let home = tempfile::tempdir().expect("made");
    let gpg = |command: &mut Command, words: &[&str]| {
        let command = command.env("GNUPGHOME", home.path()).args(words);
        finish(command, &words.join(" "), b"")
    };
    let key = ["--batch", "--quiet", "--passphrase", "anchor", "--pinentry-mode", "loopback", "--quick-gen-key"];
    gpg(&mut Command::new("gpg"), &[&key[..], &["ship@fleet.example", "rsa2048", "sign", "never"]].concat()).ok();
    let listed = gpg(&mut Command::new("gpg"), &["--batch", "--with-colons", "--list-keys"]).ok();
    let fingerprint = listed.text().lines().find_map(|line| line.strip_prefix("fpr:::::::::")).expect("a key");
    let fingerprint = fingerprint.trim_end_matches(':');
    let exported = gpg(&mut Command::new("gpg"), &["--batch", "--armor", "--export"]).ok();
    std::fs::write(lab.path("key.asc"), exported.stdout).expect("written");
    std::fs::write(lab.path("pass"), "anchor").expect("written");
    let lookaside = |base: &str| {
        let text = format!("docker:\n  {}:\n    lookaside: file://{base}/sigs\n", registry.address);
        std::fs::write(lab.path("registries.d/here.yaml"), text).expect("written");
    };
    lookaside(&lab.directory.display().to_string());
    let signed = format!("docker://{}/fleet/signed:v1", registry.address);
    let sign = ["--registries.d", "registries.d", "--sign-by", fingerprint, "--sign-passphrase-file", "pass"];
    let from = format!("docker://{name}");
    gpg(&mut lab.command(), &[&["image", "copy"][..], &sign, &[&from, &signed]].concat()).ok();
    lookaside("/here");
    let policy = json!({"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/here/key.asc"}]});
    std::fs::write(lab.path("policy.json"), policy.to_string()).expect("written");
    let skopeo =
        ["skopeo", "--registries.d", "registries.d", "--policy", "policy.json", "copy", "--src-tls-verify=false"];
    peer(lab, &[&skopeo[..], &[&signed, "dir:checked"]].concat()).ok();
    peer(lab, &[&skopeo[..], &[&from, "dir:refused"]].concat()).fails().says("signature");
    // Alone, and each verifies the other's.
    std::fs::write(lab.path("manifest.json"), &image.manifest.bytes).expect("written");
    let alone = ["manifest.json", "r.example/app:1"];
    let passphrase = ["--passphrase-file", "pass"];
    let words = [&["image", "standalone-sign"][..], &passphrase, &["-o", "ours.sig"], &alone, &[fingerprint]].concat();
    gpg(&mut lab.command(), &words).ok();
    let verify = ["standalone-verify", "--public-key-file", "key.asc"];
    let said = format!("Signature verified using fingerprint {fingerprint}, digest {}\n", image.manifest.digest);
    for keys in ["any", fingerprint] {
        lab.knarr(["image"].iter().chain(&verify).chain(&alone).chain(&[keys, "ours.sig"])).ok().prints(&said);
        peer(lab, &[&["skopeo"][..], &verify, &alone, &[keys, "ours.sig"]].concat()).ok().prints(&said);
    }
    let words = [&["image", "standalone-verify"][..], &alone, &[fingerprint, "ours.sig"]].concat();
    gpg(&mut lab.command(), &words).ok().prints(&said);
    let other = ["manifest.json", "r.example/app:2", "any", "ours.sig"];
    lab.knarr(["image"].iter().chain(&verify).chain(&other)).fails().says("is not accepted");
    let _ = gpg(&mut Command::new("gpgconf"), &["--kill", "all"]);
}

fn what_skopeo_signs_a_policy_lets_in(lab: &Lab) {
    let (registry, _, name) = pushed(lab, "skopeo");
    lab.needs("/usr/bin/gpgv", "gpgv");
    std::fs::create_dir_all(lab.path("registries.d")).expect("made");
    let lookaside = |base: &str| format!("docker:\n  {}:\n    lookaside: file://{base}/sigs\n", registry.address);
    std::fs::write(lab.path("registries.d/here.yaml"), lookaside("/here")).expect("written");
    let signed = format!("{}/fleet/signed:v1", registry.address);
    let copy = format!(
        "export GNUPGHOME=/here/gnupg; mkdir -m 700 gnupg
         gpg --batch --quiet --passphrase '' --quick-gen-key ship@fleet.example rsa2048 sign never
         gpg --batch --armor --export >key.asc
         skopeo --registries.d registries.d copy --insecure-policy --src-tls-verify=false --dest-tls-verify=false \\
             --sign-by ship@fleet.example docker://{name} docker://{signed}
         gpgconf --kill all"
    );
    script(lab, "gpg", &copy).ok();
    let ours = lookaside(&lab.directory.display().to_string());
    std::fs::write(lab.path("registries.d/here.yaml"), ours).expect("written");
    let key = lab.path("key.asc").display().to_string();
    let policy = json!({"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": key}]});
    std::fs::write(lab.path("policy.json"), policy.to_string()).expect("written");
    let copy = |from: &str, to: &str| {
        let flags = ["image", "copy", "--policy", "policy.json", "--registries.d", "registries.d"];
        lab.knarr(flags.iter().chain(&[&*format!("docker://{from}"), to]))
    };
    copy(&signed, "oci:signed:v1").fails().says("--remove-signatures");
    let flags = ["image", "copy", "--remove-signatures", "--policy", "policy.json", "--registries.d", "registries.d"];
    lab.knarr(flags.iter().chain(&[&*format!("docker://{signed}"), "oci:signed:v1"])).ok();
    // Signatures come along, each once.
    let digest = lab.knarr(["image", "inspect", "--raw", &format!("docker://{signed}")]).ok().stdout.clone();
    let digest = knarr_testkit::blob::sha256(digest.as_bytes()).replace(':', "=");
    for _ in 0..2 {
        copy(&signed, &format!("docker://{}/fleet/again:v1", registry.address)).ok();
    }
    let signatures = |name: &str| std::fs::read(lab.path(&format!("sigs/fleet/{name}@{digest}/signature-1")));
    assert_eq!(signatures("again").expect("copied"), signatures("signed").expect("skopeo's"));
    assert!(!lab.path(&format!("sigs/fleet/again@{digest}/signature-2")).exists());
    copy(&name, "oci:unsigned:v1").fails().says("A signature was required, but no signature exists");
    let moved = signed.replace(":v1", ":v2");
    lab.knarr(["image", "copy", &format!("docker://{signed}"), &format!("docker://{moved}")]).ok();
    copy(&moved, "oci:moved:v1").fails().says("is not accepted");
    // skopeo keeps signatures beside an image in a directory.
    let keep = format!(
        "skopeo --registries.d registries.d copy --insecure-policy --src-tls-verify=false docker://{signed} dir:kept"
    );
    std::fs::write(lab.path("registries.d/here.yaml"), lookaside("/here")).expect("written");
    script(lab, "skopeo", &keep).ok();
    let named = json!({"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": key,
        "signedIdentity": {"type": "exactReference", "dockerReference": signed}}]});
    std::fs::write(lab.path("policy.json"), named.to_string()).expect("written");
    lab.knarr(["image", "copy", "--policy", "policy.json", "dir:kept", "dir:kept-too"]).ok();
    assert_eq!(
        std::fs::read(lab.path("kept-too/signature-1")).expect("copied"),
        std::fs::read(lab.path("kept/signature-1")).expect("skopeo's")
    );
    lab.knarr(["image", "copy", "--policy", "policy.json", "--remove-signatures", "dir:kept", "oci:kept-copy:v1"]).ok();
    std::fs::remove_file(lab.path("kept/signature-1")).expect("removed");
    let done = lab.knarr(["image", "copy", "--policy", "policy.json", "dir:kept", "oci:no:v1"]).fails();
    done.says("A signature was required, but no signature exists");
}

fn buildah_reads_what_we_write_and_we_read_what_buildah_writes(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "buildah");
    lab.knarr(["image", "copy", &format!("docker://{name}"), "oci:ours:v1"]).ok();
    lab.knarr(["image", "copy", &format!("docker://{name}"), "docker-archive:ours.tar:boat:1"]).ok();
    let there = format!("{}/buildah/one:v1", registry.address);
    let work = format!(
        "b='buildah --root /here/b --runroot /here/br --storage-driver vfs'
         id=$($b pull -q oci:/here/ours:v1)
         $b push --tls-verify=false $id docker://{there}
         $b push $id oci:/here/theirs:v1
         $b pull -q docker-archive:/here/ours.tar
         c=$($b from --pull-never $id)
         $b config --label by=buildah $c
         $b commit -q $c docker-archive:/here/theirs.tar:boat:2
         $b rm -a
         $b rmi -a -f
         echo $id"
    );
    let id = script(lab, "buildah", &work).ok();
    assert_eq!(id.text().lines().last(), Some(&image.config.digest["sha256:".len()..]));
    // buildah keeps layers unpacked and compresses them anew; the image in the manifest is the same.
    let pushed = lab.knarr(["image", "inspect", "--raw", &format!("docker://{there}")]).ok().json();
    assert_eq!(pushed["config"]["digest"], image.config.digest.as_str());
    lab.knarr(["pull", "-q", "oci:theirs:v1"]).ok();
    lab.knarr(["load", "-i", "theirs.tar"]).ok().shows("boat:2");
    let seen = lab.knarr(["image", "inspect", "boat:2"]).ok().json();
    assert_eq!(seen[0]["Config"]["Labels"]["by"], "buildah");
    // Its commit has a layer of its own, though nothing changed.
    assert_eq!(seen[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(3));
}

fn docker_loads_what_we_save_and_pushes_what_it_loaded(lab: &Lab) {
    let (registry, image, name) = pushed(lab, "docker");
    lab.knarr(["pull", "-q", &name]).ok();
    lab.knarr(["tag", &name, "boat:1"]).ok();
    lab.knarr(["save", "-o", "ours.tar", "boat:1"]).ok();
    let there = format!("{}/docker/one:v1", registry.address);
    let work = format!(
        "mount -t tmpfs tmpfs /run
         dockerd -H unix:///run/docker.sock --data-root /here/d --exec-root /run/dx --pidfile /run/d.pid --storage-driver vfs \\
             --feature containerd-snapshotter=false --bridge none --iptables=false --ip6tables=false >dockerd.log 2>&1 &
         export DOCKER_HOST=unix:///run/docker.sock
         for i in $(seq 300); do docker version >/dev/null 2>&1 && break; sleep 0.1; done
         docker version >/dev/null || {{ cat dockerd.log; exit 1; }}
         docker load -i ours.tar
         docker image inspect -f '{{{{.Id}}}}' boat:1
         docker tag boat:1 {there}
         docker push -q {there}
         docker save -o theirs.tar boat:1
         docker rmi -f boat:1 {there} >/dev/null
         docker pull -q {name}
         kill $(cat /run/d.pid); wait"
    );
    let done = script(lab, "docker", &work).ok();
    done.shows("Loaded image: boat:1").shows(&image.config.digest);
    lab.knarr(["rmi", "boat:1", &name]).ok();
    lab.knarr(["load", "-i", "theirs.tar"]).ok().shows("boat:1");
    lab.knarr(["rmi", "boat:1"]).ok();
    lab.knarr(["pull", "-q", &there]).ok();
    let seen = lab.knarr(["image", "inspect", &there]).ok().json();
    assert_eq!(seen[0]["RootFS"]["Layers"], json!(image.diff_ids));
}
