//! Images beside podman, docker, crane and umoci: pull, copy, unpack and repack of one image of usual size, from one registry
//! (docker-registry on loopback), in rounds that alternate the tools. Runs inside the peers' mount namespace.
//!
//! The images are made when it runs, from a generator that is the same each time: six layers, 25 000 files, 385 MB of gzip;
//! and for the question whether cost grows with size alone, a quarter of an image and the whole of it.
//! Law: every tool begins each round without the image; what is written is brought to the disk before the next one begins, so
//! that nobody waits for another's pages. All of it lies on a disk of its own ([`disk`]).

use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::inside::shell;
use super::{Figure, disk, registry};
use crate::Outcome;

/// The parts of this section, each to be asked for alone as `images/PART`.
pub const PARTS: [&str; 4] = ["images/pull", "images/copy", "images/unpack", "images/scale"];

/// The share of the peer's figures that ours may be.
pub const PROMISES: [(&str, &str, f64); 7] = [
    ("pull", "podman", 0.35),
    ("pull", "docker", 0.3),
    ("image copy", "crane", 1.0),
    ("unpack", "umoci", 0.25),
    ("repack", "umoci", 0.7),
    ("60 layers", FOUR_QUARTERS, 1.2),
    ("500 000 files", FOUR_QUARTERS, 1.2),
];

/// Most memory of a pull, in KiB.
pub const PULL_KIB_MAX: f64 = 100.0 * 1024.0;

/// How much longer a pull that brings nothing may take than one round trip to the registry, in milliseconds.
pub const NO_OP_MS_MAX: f64 = 5.0;

/// Beside what growth is measured: a quarter of the same, taken four times.
const FOUR_QUARTERS: &str = "4 quarters";

/// Files of each layer of the usual image: a large base and ever smaller changes.
const USUAL: [usize; 6] = [10_000, 6_000, 4_000, 2_500, 1_500, 1_000];

/// Rounds that are measured, after one that is not; of the large images fewer, each is half a million files.
const ROUNDS: usize = 3;
const LARGE_ROUNDS: usize = 2;
/// Of what takes milliseconds.
const SHORT_ROUNDS: usize = 15;

const REGISTRY: &str = "127.0.0.1:5812";

/// How large the files of an image are.
#[derive(Clone, Copy)]
enum Sizes {
    /// From 256 bytes to 256 KiB, every power of two as often as the next.
    Usual,
    /// A few hundred bytes: what costs is the file, not its content.
    Tiny,
}

/// Where things are.
struct Bench {
    /// The programs.
    kit: PathBuf,
    /// The data, the layouts and the tools' states.
    disk: PathBuf,
}

/// Takes the figures of `part` and prints each as a line of JSON.
pub fn run(kit: &Path, part: &str) -> Outcome {
    let bench = Bench { kit: kit.to_owned(), disk: disk::mount(kit)? };
    shell(Command::new("mount").args(["-t", "tmpfs", "none", "/run"]))?;
    let mut registry = registry::theirs(&bench.disk)?;
    let outcome = match part {
        "images/pull" => bench.pull(),
        "images/copy" => bench.copy(),
        "images/unpack" => bench.unpack(),
        _ => bench.scale(),
    };
    let _ = registry.child.kill();
    let _ = registry.child.wait();
    outcome
}

impl Bench {
    fn knarr(&self, state: &str) -> Command {
        let mut command = Command::new(self.kit.join("knarr"));
        command.arg("--root").arg(self.disk.join(state)).args(["--runroot", "/run/knarr"]);
        command
    }

    fn podman(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.disk.join("pull-podman")).args(["--runroot", "/run/podman"]);
        command
    }

    fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", super::inside::DOCKER_HOST]);
        command
    }

    fn pull(&self) -> Outcome {
        let image = self.publish("usual", &USUAL, Sizes::Usual)?;
        let mut daemon = super::inside::dockerd(&self.disk.join("pull-docker"))?;
        let measured = self.pull_beside_daemon(&image);
        super::inside::stop(&mut daemon);
        measured
    }

    fn pull_beside_daemon(&self, image: &str) -> Outcome {
        let mut samples = [const { Vec::new() }; 3];
        for round in 0..=ROUNDS {
            let took = [
                self.fresh_pull(image)?,
                timed(self.podman().args(["pull", "--quiet", "--tls-verify=false", image]))?,
                timed(self.docker().args(["pull", "--quiet", image]))?,
            ];
            shell(self.podman().args(["rmi", "--force", image]))?;
            shell(self.docker().args(["rmi", "--force", image]))?;
            if round > 0 {
                samples.iter_mut().zip(took).for_each(|(samples, took)| samples.push(took));
            }
        }
        let [own, podman, docker] = samples;
        report("pull", "knarr", "podman", own.clone());
        report("pull", "podman", "podman", podman);
        report("pull", "knarr", "docker", own);
        report("pull", "docker", "docker", docker);

        let mut pull = self.knarr("pull-knarr");
        report("pull memory", "knarr", "", vec![peak_kib(pull.args(["pull", "--quiet", image]))?]);
        // Both processors would be writing back what all three have pulled.
        shell(Command::new("sync").arg("--file-system").arg(&self.disk))?;
        let (mut nothing_new, mut round_trips) = (Vec::new(), Vec::new());
        for _ in 0..SHORT_ROUNDS {
            nothing_new.push(timed(self.knarr("pull-knarr").args(["pull", "--quiet", image]))?);
            round_trips.push(registry::round_trip(REGISTRY, "/v2/bench/usual/manifests/v1")?);
        }
        report("no-op pull", "knarr", "round trip", nothing_new);
        report("no-op pull", "round trip", "round trip", round_trips);
        Ok(())
    }

    /// Into a store that holds nothing, which is removed again.
    fn fresh_pull(&self, image: &str) -> Outcome<f64> {
        let took = timed(self.knarr("fresh-knarr").args(["pull", "--quiet", image]))?;
        fs::remove_dir_all(self.disk.join("fresh-knarr"))?;
        Ok(took)
    }

    fn copy(&self) -> Outcome {
        let image = self.publish("usual", &USUAL, Sizes::Usual)?;
        let (own, theirs) = (self.disk.join("copied"), self.disk.join("craned"));
        let mut samples = [const { Vec::new() }; 2];
        for round in 0..=ROUNDS {
            let mut copy = self.knarr("copy-knarr");
            copy.args(["image", "copy", "--quiet"]).arg(format!("docker://{image}"));
            let took = [
                timed(copy.arg(format!("oci:{}:v1", own.display())))?,
                timed(Command::new("crane").args(["pull", "--insecure", "--format=oci", &image]).arg(&theirs))?,
            ];
            for directory in [&own, &theirs] {
                fs::remove_dir_all(directory)?;
            }
            if round > 0 {
                samples.iter_mut().zip(took).for_each(|(samples, took)| samples.push(took));
            }
        }
        let [own, crane] = samples;
        report("image copy", "knarr", "crane", own);
        report("image copy", "crane", "crane", crane);
        Ok(())
    }

    fn unpack(&self) -> Outcome {
        let layout = self.make("usual", &USUAL, Sizes::Usual)?;
        let mut samples = [const { [const { Vec::new() }; 2] }; 2];
        for round in 0..=ROUNDS {
            for (tool, [unpacked, repacked]) in samples.iter_mut().enumerate() {
                let bundle = self.disk.join("bundle");
                let tag = |tag: &str| format!("{}:{tag}", layout.display());
                let verb = |verb: &str, tag: String| {
                    let mut command = match tool {
                        0 => self.knarr("unpack-knarr"),
                        _ => Command::new("umoci"),
                    };
                    command.args((tool == 0).then_some("image")).args([verb, "--image", &tag]).arg(&bundle);
                    command
                };
                let took = timed(&mut verb("unpack", tag("v1")))?;
                change(&bundle.join("rootfs"))?;
                let again = timed(&mut verb("repack", tag("v2")))?;
                fs::remove_dir_all(&bundle)?;
                if round > 0 {
                    unpacked.push(took);
                    repacked.push(again);
                }
            }
        }
        let [[own, own_again], [umoci, umoci_again]] = samples;
        report("unpack", "knarr", "umoci", own);
        report("unpack", "umoci", "umoci", umoci);
        report("repack", "knarr", "umoci", own_again);
        report("repack", "umoci", "umoci", umoci_again);
        Ok(())
    }

    /// Whether four times as much takes four times as long.
    fn scale(&self) -> Outcome {
        let rows = [
            ("60 layers", vec![400; 15], vec![400; 60], Sizes::Usual),
            ("500 000 files", vec![31_250; 4], vec![125_000; 4], Sizes::Tiny),
        ];
        for (what, quarter, whole, sizes) in rows {
            let quarter = self.publish("quarter", &quarter, sizes)?;
            let whole = self.publish("whole", &whole, sizes)?;
            let (mut once, mut four) = (Vec::new(), Vec::new());
            for round in 0..=LARGE_ROUNDS {
                let (small, large) = (self.fresh_pull(&quarter)? * 4.0, self.fresh_pull(&whole)?);
                if round > 0 {
                    once.push(small);
                    four.push(large);
                }
            }
            report(what, "knarr", FOUR_QUARTERS, four);
            report(what, FOUR_QUARTERS, FOUR_QUARTERS, once);
        }
        Ok(())
    }

    /// An image in the registry, and its name there.
    fn publish(&self, name: &str, layers: &[usize], sizes: Sizes) -> Outcome<String> {
        let layout = self.make(name, layers, sizes)?;
        let image = format!("{REGISTRY}/bench/{name}:v1");
        shell(Command::new("crane").args(["push", "--insecure"]).arg(&layout).arg(&image))?;
        Ok(image)
    }

    /// An OCI layout that holds the image as `v1`.
    fn make(&self, name: &str, layers: &[usize], sizes: Sizes) -> Outcome<PathBuf> {
        let layout = self.disk.join("layouts").join(name);
        if layout.exists() {
            fs::remove_dir_all(&layout)?;
        }
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let made: Vec<(Value, String)> = std::thread::scope(|scope| {
            let make = |(at, files): (usize, &usize)| {
                let (blobs, tree, files) = (blobs.clone(), layout.join(format!("tree-{at}")), *files);
                scope.spawn(move || make_layer(&tree, &blobs, at, files, sizes).map_err(|why| why.to_string()))
            };
            let mut made = Vec::new();
            // As many at once as there are processors here, in their order.
            for pair in layers.iter().enumerate().collect::<Vec<_>>().chunks(2) {
                let pair: Vec<_> = pair.iter().copied().map(make).collect();
                for layer in pair {
                    made.push(layer.join().map_err(|_| "a layer was not made")??);
                }
            }
            Outcome::Ok(made)
        })?;
        let (layers, diff_ids): (Vec<Value>, Vec<String>) = made.into_iter().unzip();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = put(&blobs, "application/vnd.oci.image.config.v1+json", &config)?;
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let document = json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": layers});
        let mut entry = put(&blobs, manifest, &document)?;
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(layout.join("index.json"), index.to_string())?;
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(layout)
    }
}

/// Milliseconds of a command, once everything before it is on the disk.
fn timed(command: &mut Command) -> Outcome<f64> {
    shell(&mut Command::new("sync"))?;
    let started = Instant::now();
    shell(command)?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// Most resident memory of a command: a mark that only rises, read until the command ends.
fn peak_kib(command: &mut Command) -> Outcome<f64> {
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        if let Some(mark) = text.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak = mark.trim().trim_end_matches(" kB").parse()?;
        }
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(peak),
            Some(status) => return Err(format!("{command:?}: {status}").into()),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// A day's work in a tree: a thousandth of its files is changed, as many are new, as many are gone.
fn change(tree: &Path) -> Outcome {
    for layer in 0..USUAL.len() {
        let directory = tree.join(format!("layer-{layer}/0"));
        for number in 0..4 {
            fs::write(directory.join(format!("file-{number}")), format!("changed {number}\n"))?;
            fs::write(directory.join(format!("new-{number}")), "new\n".repeat(1000))?;
            fs::remove_file(directory.join(format!("file-{}", 10 + number)))?;
        }
    }
    Ok(())
}

/// Writes a tree, packs it, and returns the layer's descriptor and diff id.
fn make_layer(tree: &Path, blobs: &Path, at: usize, files: usize, sizes: Sizes) -> Outcome<(Value, String)> {
    let mut random = Random(at as u64 + 1);
    for number in 0..files {
        let directory = tree.join(format!("layer-{at}/{}", number / 40));
        if number % 40 == 0 {
            fs::create_dir_all(&directory)?;
            symlink("file-0", directory.join("link"))?;
        }
        let bytes = match sizes {
            Sizes::Usual => {
                let ceiling = 512_u64 << (random.next() % 10);
                ceiling / 2 + random.next() % (ceiling / 2)
            }
            Sizes::Tiny => 200 + random.next() % 200,
        };
        let mut file = BufWriter::new(fs::File::create(directory.join(format!("file-{}", number % 40)))?);
        random.text(bytes as usize, &mut file)?;
        file.flush()?;
    }
    let (tar, packed) = (tree.with_extension("tar"), tree.with_extension("tar.gz"));
    let pack = "tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1704067200 -C \"$0\" -cf \"$1\" . && gzip -n <\"$1\" >\"$2\"";
    shell(Command::new("sh").args(["-c", pack]).arg(tree).arg(&tar).arg(&packed))?;
    fs::remove_dir_all(tree)?;
    let diff_id = sha256(&tar)?;
    fs::remove_file(&tar)?;
    let descriptor = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &packed)?;
    fs::rename(&packed, blob_path(blobs, &descriptor))?;
    Ok((descriptor, diff_id))
}

fn put(blobs: &Path, media_type: &str, document: &Value) -> Outcome<Value> {
    let path = blobs.join("document");
    fs::write(&path, document.to_string())?;
    let descriptor = descriptor(media_type, &path)?;
    fs::rename(&path, blob_path(blobs, &descriptor))?;
    Ok(descriptor)
}

fn descriptor(media_type: &str, file: &Path) -> Outcome<Value> {
    Ok(json!({"mediaType": media_type, "digest": sha256(file)?, "size": fs::metadata(file)?.len()}))
}

fn blob_path(blobs: &Path, descriptor: &Value) -> PathBuf {
    blobs.join(descriptor["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:"))
}

fn sha256(file: &Path) -> Outcome<String> {
    let output = Command::new("sha256sum").arg(file).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(format!("sha256:{}", text.split(' ').next().unwrap_or_default()))
}

/// Numbers that are the same each time (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Text that gzip packs to two fifths, as programs and their data are packed: new letters, and pieces said before.
    fn text(&mut self, bytes: usize, to: &mut impl Write) -> Outcome {
        let mut text: Vec<u8> = Vec::with_capacity(bytes + 64);
        while text.len() < bytes {
            let length = 8 + (self.next() % 24) as usize;
            if self.next().is_multiple_of(4) || text.len() < 64 {
                let letters = (0..length).map(|_| b' ' + (self.next() % 80) as u8);
                text.extend(letters);
            } else {
                let from = (self.next() % (text.len() as u64 - 32)) as usize;
                text.extend_from_within(from..from + length);
            }
        }
        Ok(to.write_all(&text[..bytes])?)
    }
}

fn report(what: &str, tool: &str, peer: &str, samples: Vec<f64>) {
    let figure = Figure { what: what.to_string(), tool: tool.to_string(), beside: peer.to_string(), samples };
    println!("{}", serde_json::to_string(&figure).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_comes_each_time_and_of_the_length_asked_for() {
        let text = |bytes| {
            let mut text = Vec::new();
            Random(7).text(bytes, &mut text).expect("writing to memory");
            text
        };
        assert_eq!(text(10_000), text(10_000));
        assert_eq!([text(0).len(), text(1).len(), text(10_000).len()], [0, 1, 10_000]);
    }
}
