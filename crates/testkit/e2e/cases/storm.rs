//! Many at once, and many killed: whatever dies when, every command works, what was done stays, and `system prune` leaves
//! nothing behind.
//!
//! `KNARR_E2E_KILLS` asks for more kills than the few of an ordinary run, `KNARR_E2E_SEED` for others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use knarr_testkit::server::{Gate, Hold, Server};
use knarr_testkit::{Compression, ImageMaker, Lab, LayerTar, process, wait};
use serde_json::json;

cases!["storm":
    verbs_killed_at_random_moments_lose_nothing_and_leave_nothing,
    sixty_four_processes_at_once_are_in_nobodys_way,
    a_disk_that_fills_up_at_any_moment_loses_nothing,
    prune_and_df_agree_with_du,
    a_budget_is_kept_by_itself,
    a_blob_that_its_layer_has_too_goes_and_comes_back,
    what_a_killed_removal_left_goes_with_the_next_prune,
];

const KILLS: u64 = 30;

/// Longest time a verb lives before it is killed; most take less.
const LIFE_MS_MAX: u64 = 160;

/// xorshift64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

pub(super) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// An image of two layers with a few megabytes that do not compress away; `mark` makes it unlike others.
fn image(probe: &[u8], mark: u32, compression: Compression) -> ImageMaker {
    let noise: Vec<u8> =
        (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(mark) >> 23) as u8).collect();
    let files =
        |tar: LayerTar, at: usize| tar.file(&format!("data/{at}"), 0o644, &noise[at * 1000..at * 1000 + 40_000]);
    let layer = (0..40).fold(LayerTar::new().dir("data/", 0o755), files).file("mark", 0o644, mark.to_string());
    let base = LayerTar::new().dir("bin/", 0o755).file("bin/probe", 0o755, probe).finish();
    let layers = [base, layer.finish()].into_iter().map(|tar| (tar, compression)).collect();
    ImageMaker { layers, ..ImageMaker::new(json!({"Env": ["PATH=/bin"], "Cmd": ["/bin/probe"]}), Vec::new()) }
}

fn probe(lab: &Lab) -> Vec<u8> {
    fs::read(lab.kit.join("probe")).expect("the kit's probe")
}

/// One thing to do, and what is there or gone when it was done.
struct Act {
    args: Vec<String>,
    makes: Option<String>,
    removes: Option<String>,
}

fn act(random: &mut Random, server: &str) -> Act {
    let name = format!("n{}:v{}", random.below(3), random.below(3));
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let (text, makes, removes) = match random.below(11) {
        0 => ("load -q -i one.tar".to_owned(), Some("one:latest".to_owned()), None),
        1 => ("load -q -i two.tar".to_owned(), Some("two:latest".to_owned()), None),
        2 => (format!("pull -q {server}/three:v1"), Some(format!("{server}/three:v1")), None),
        3 => (format!("tag probe {name}"), Some(name), None),
        4 => (format!("rmi -f {name}"), None, Some(name)),
        5 => ("rmi -f one".to_owned(), None, Some("one:latest".to_owned())),
        6 => (format!("commit boat {name}"), Some(name), None),
        7 => ("image prune -f".to_owned(), None, None),
        8 => ("run --rm two probe true".to_owned(), None, None),
        9 => (format!("import -q boat.tar {name}").replace(" -q", ""), Some(name), None),
        _ => ("system prune -f --filter label=none".to_owned(), None, None),
    };
    Act { args: words(text), makes, removes }
}

fn verbs_killed_at_random_moments_lose_nothing_and_leave_nothing(lab: &Lab) {
    let probe = probe(lab);
    image(&probe, 1, Compression::Gzip).save(&lab.path("one.tar"), "one:latest").expect("written");
    image(&probe, 2, Compression::Plain).save(&lab.path("two.tar"), "two:latest").expect("written");
    let three = image(&probe, 3, Compression::Gzip).make();
    let server = Server::start(Hold::default().image("three", "v1", &three), Gate::Open, None).expect("a server");
    let server = server.address.to_string();
    lab.load("probe");
    lab.knarr(["system", "budget", "--remakeable", "drop"]).ok();
    lab.knarr(["run", "--name", "boat", "probe", "probe", "write", "/x", "cargo"]).ok();
    lab.knarr(["export", "-o", "boat.tar", "boat"]).ok();
    let mut random = Random(number("KNARR_E2E_SEED", 0x5eed_0001));
    // What must be there (true) or must not (false); unknown where a kill left it open.
    let mut expected: BTreeMap<String, Option<bool>> = BTreeMap::from([("probe:latest".to_owned(), Some(true))]);
    let kills = number("KNARR_E2E_KILLS", KILLS);
    let mut killed = 0;
    while killed < kills {
        let acts: Vec<Act> = (0..2).map(|_| act(&mut random, &server)).collect();
        let mut children: Vec<_> = acts.iter().map(|act| lab.start(act.args.iter().map(String::as_str))).collect();
        for (act, child) in acts.iter().zip(&mut children) {
            std::thread::sleep(Duration::from_millis(random.below(LIFE_MS_MAX)));
            let ended = child.try_wait().expect("wait");
            if ended.is_none() {
                process::signal(child.id(), "KILL");
                killed += 1;
            }
            let done = ended.is_some_and(|status| status.success());
            let together = |name: &String| {
                acts.iter().filter(|act| act.makes.as_ref() == Some(name) || act.removes.as_ref() == Some(name)).count()
                    > 1
            };
            for (name, there) in
                act.makes.iter().map(|name| (name, true)).chain(act.removes.iter().map(|name| (name, false)))
            {
                expected.insert(name.clone(), (done && !together(name)).then_some(there));
            }
        }
        drop(children);
        check(lab, &mut expected);
    }
    println!("    {killed} kills");
    lab.knarr(["rm", "-f", "boat"]).ok();
    // A container outlives its killed command line, and what it leaves goes after its end.
    wait::until("the last container ends", || lab.knarr(["ps", "-q"]).ok().text().is_empty().then_some(()));
    // One whose command line was killed before its start is nobody's only when its monitor has noticed.
    wait::until("the last container is gone", || {
        lab.knarr(["system", "prune", "-a", "-f", "--volumes"]).ok();
        is_empty(&lab.path("state/containers")).then_some(())
    });
    nothing_left(&lab.path("state"));
}

fn check(lab: &Lab, expected: &mut BTreeMap<String, Option<bool>>) {
    let list = lab.knarr(["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    let there: Vec<&str> = list.stdout.lines().collect();
    for (name, wanted) in expected.iter_mut() {
        let is = there.contains(&name.as_str());
        assert!(wanted.is_none_or(|wanted| wanted == is), "{name}: expected {wanted:?}\n{list}");
        *wanted = Some(is);
    }
    lab.knarr(["system", "check", "--contents"]).ok().shows("no damage found");
    lab.knarr(["run", "--rm", "probe", "probe", "true"]).ok();
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

/// After the last image: not a blob, layer, snapshot, lease or piece of rubbish.
fn nothing_left(state: &Path) {
    for dir in
        ["blobs/sha256", "recipes/sha256", "layers", "snapshots", "trash", "leases", "ingest/sha256", "containers"]
    {
        let names = fs::read_dir(state.join(dir)).map_or(Vec::new(), |entries| {
            entries.flatten().map(|entry| entry.file_name()).filter(|name| name != "0").collect::<Vec<_>>()
        });
        let partial = dir.starts_with("ingest");
        assert!(names.is_empty() || partial, "{dir}: {names:?}");
    }
}

fn sixty_four_processes_at_once_are_in_nobodys_way(lab: &Lab) {
    let probe = probe(lab);
    image(&probe, 1, Compression::Gzip).save(&lab.path("one.tar"), "one:latest").expect("written");
    let three = image(&probe, 3, Compression::Gzip).make();
    let server = Server::start(Hold::default().image("three", "v1", &three), Gate::Open, None).expect("a server");
    lab.load("probe");
    let lines: Vec<String> = (0..64)
        .map(|n| match n % 8 {
            0 => "load -q -i one.tar".to_owned(),
            1 => format!("pull -q {}/three:v1", server.address),
            2 | 3 => "run --rm probe probe true".to_owned(),
            4 => format!("tag probe t{n}:v1"),
            5 => "rmi -f one".to_owned(),
            6 => format!("create --name c{n} probe probe true"),
            _ => "image prune -f".to_owned(),
        })
        .collect();
    let done: Vec<(String, Option<i32>, String)> = std::thread::scope(|scope| {
        let run = |line: &String| {
            let done = lab.knarr(line.split(' '));
            (line.clone(), done.code, done.stderr)
        };
        let threads: Vec<_> = lines.iter().map(|line| scope.spawn(move || run(line))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    for (line, code, stderr) in done {
        assert!(!stderr.contains("locked") && !stderr.contains("panicked"), "{line}: {stderr}");
        assert_eq!(code, Some(0), "{line}: {stderr}");
    }
    let names = lab.knarr(["images", "--format", "{{.Repository}}"]).ok().stdout;
    assert_eq!(names.lines().filter(|name| name.starts_with('t')).count(), 8, "{names}");
    assert_eq!(lab.knarr(["ps", "-aq"]).ok().stdout.lines().count(), 8);
    lab.knarr(["system", "check", "--contents"]).ok().shows("no damage found");
}

fn a_disk_that_fills_up_at_any_moment_loses_nothing(lab: &Lab) {
    lab.needs_root();
    let probe = probe(lab);
    image(&probe, 1, Compression::Gzip).save(&lab.path("one.tar"), "one:latest").expect("written");
    let small = lab.path("small");
    fs::create_dir_all(&small).expect("a directory");
    // A fresh disk for every size: from too small for a database to large enough for all.
    let script = "set -e
        mount -t tmpfs -o size=$1k tmpfs small
        k() { \"$KNARR\" --root small/state --runroot small/run \"$@\"; }
        k load -q -i one.tar >out 2>&1 || { grep -q 'space' out || { cat out; exit 9; }; }
        k run --name boat one probe write /x cargo >out 2>&1 || { grep -Eq 'space|No such image|Unable to find' out || { cat out; exit 10; }; }
        k commit boat two >out 2>&1 || { grep -Eq 'space|No such container' out || { cat out; exit 11; }; }
        mount -o remount,size=200m small
        k system check --contents >out 2>&1 || { cat out; exit 12; }
        k load -q -i one.tar >out 2>&1 || { cat out; exit 13; }
        k run --rm one probe cat /mark
        k rm -f boat >/dev/null 2>&1 || true
        k system prune -af >out 2>&1 || { cat out; exit 14; }
        ls small/state/layers small/state/blobs/sha256 small/state/snapshots small/state/trash 2>/dev/null | grep -v : | grep -v '^0$' | grep . && exit 15
        true";
    for step in 0..number("KNARR_E2E_DISK_STEPS", 20) {
        let kilobytes = 300 + step * 400;
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh", &kilobytes.to_string()]).current_dir(&lab.directory);
        command.env("KNARR", lab.kit.join("knarr")).env("HOME", lab.path("home"));
        let done = knarr_testkit::lab::finish(&mut command, &format!("a disk of {kilobytes} KiB"), b"");
        // `ls | grep . && exit 15` ends with 1 where nothing is left, which is what is wanted.
        assert!(done.code == Some(0) && done.stdout.contains('1'), "{done}");
    }
}

fn prune_and_df_agree_with_du(lab: &Lab) {
    lab.load("probe");
    lab.load("layers");
    lab.knarr(["run", "--name", "boat", "-v", "/data", "probe", "probe", "write", "/x", "cargo"]).ok();
    let value = lab.knarr(["system", "df", "-v", "--format", "json"]).ok().json();
    let sum: u64 = ["ImagesBytes", "ContainersBytes", "VolumesBytes", "OtherBytes"]
        .iter()
        .map(|name| value[name].as_u64().expect("a number"))
        .sum();
    if lab.is_root() {
        let du = std::process::Command::new("du").args(["-s", "-B1"]).arg(lab.path("state")).output().expect("du");
        let du: u64 = String::from_utf8_lossy(&du.stdout)
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .expect("du's number");
        assert_eq!(sum, du, "{value}");
    }
    lab.knarr(["system", "df", "-v"])
        .ok()
        .shows("Images space usage:")
        .shows("SHARED SIZE")
        .shows("Local Volumes space usage:");
    lab.knarr_fed(["system", "prune", "-a", "--volumes"], b"n\n")
        .ok()
        .shows("WARNING! This will remove:")
        .shows("- all stopped containers");
    assert_eq!(lab.knarr(["ps", "-aq"]).ok().stdout.lines().count(), 1);
    let done = lab.knarr(["system", "prune", "-a", "-f", "--volumes"]).ok();
    done.shows("Deleted Containers:\n")
        .shows("Deleted Volumes:\n")
        .shows("deleted: sha256:")
        .shows("Total reclaimed space: ");
    nothing_left(&lab.path("state"));
}

fn a_budget_is_kept_by_itself(lab: &Lab) {
    let probe = probe(lab);
    for n in 1..4 {
        image(&probe, n, Compression::Gzip)
            .save(&lab.path(&format!("{n}.tar")), &format!("i{n}:latest"))
            .expect("written");
    }
    lab.knarr(["system", "budget"]).ok().shows("Max used:      none");
    for n in 1..3 {
        lab.knarr(["load", "-q", "-i", &format!("{n}.tar")]).ok();
    }
    lab.knarr(["run", "--rm", "i1", "probe", "true"]).ok();
    lab.knarr(["system", "budget", "--max-used", "1", "--format", "{{.MaxUsed}} {{.MinFree}}"])
        .ok()
        .prints("1 <no value>\n");
    assert_eq!(lab.knarr(["images", "-q"]).ok().stdout, "", "nothing fits");
    lab.knarr(["system", "budget", "--max-used", "none"]).ok();
    for n in 1..3 {
        lab.knarr(["load", "-q", "-i", &format!("{n}.tar")]).ok();
    }
    lab.knarr(["run", "--rm", "i1", "probe", "true"]).ok();
    let used: u64 = fs::metadata(lab.kit.join("probe")).expect("the probe").len() * 3 + 9_000_000;
    lab.knarr(["system", "budget", "--max-used", &used.to_string()]).ok();
    lab.knarr(["load", "-q", "-i", "3.tar"]).ok();
    let names = lab.knarr(["images", "--format", "{{.Repository}}"]).ok().stdout;
    assert!(names.contains("i3"), "what was just loaded stays\n{names}");
    lab.knarr(["system", "budget", "--max-age", "soon"]).fails().says("is no time");
}

fn a_blob_that_its_layer_has_too_goes_and_comes_back(lab: &Lab) {
    image(&probe(lab), 1, Compression::Plain).save(&lab.path("one.tar"), "one:latest").expect("written");
    lab.knarr(["load", "-q", "-i", "one.tar"]).ok();
    let blob_bytes = || {
        let entries = fs::read_dir(lab.path("state/blobs/sha256")).expect("blobs");
        entries.map(|entry| entry.and_then(|entry| entry.metadata()).expect("a blob").len()).sum::<u64>()
    };
    let id = lab.knarr(["image", "inspect", "--format", "{{.Id}}", "one"]).ok().stdout;
    lab.knarr(["system", "prune", "-f"]).ok();
    let before = blob_bytes();
    lab.knarr(["system", "budget", "--remakeable", "drop"]).ok().shows("Plain layers:  kept once");
    assert!(blob_bytes() < before / 10, "{} of {before} bytes are left", blob_bytes());
    lab.knarr(["system", "check", "--contents"]).ok().shows("no damage found");
    lab.knarr(["save", "-o", "again.tar", "one"]).ok();
    lab.knarr(["rmi", "one"]).ok();
    lab.knarr(["load", "-q", "-i", "again.tar"]).ok();
    assert_eq!(lab.knarr(["image", "inspect", "--format", "{{.Id}}", "one"]).ok().stdout, id);
    lab.knarr(["run", "--rm", "one", "probe", "true"]).ok();
}

fn what_a_killed_removal_left_goes_with_the_next_prune(lab: &Lab) {
    lab.load("probe");
    let id = lab.knarr(["create", "probe", "probe", "true"]).ok().text().to_owned();
    let kept = lab.knarr(["run", "-d", "--name", "kept", "probe", "probe", "sleep", "600"]).ok().text().to_owned();
    // As it is between the removal of the record and that of its directories.
    let (from, aside) = (lab.path("state/containers").join(&id), lab.path("aside"));
    fs::rename(&from, &aside).expect("moved");
    lab.knarr(["rm", &id]).ok();
    fs::rename(&aside, &from).expect("moved back");
    lab.knarr(["system", "prune", "-f"]).ok();
    assert!(!from.exists(), "nobody removed it");
    assert!(lab.path("state/containers").join(&kept).exists());
    lab.knarr(["exec", "kept", "probe", "true"]).ok();
    lab.knarr(["rm", "-f", "kept"]).ok();
}
