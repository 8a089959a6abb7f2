//! The registry beside docker-registry, under the same load in turn: runs inside the peers' mount namespace.
//!
//! Figures are times, so that less is better as in the rest of the bench: microseconds per request at 16 connections, the
//! 99th percentile under that load, milliseconds per large blob and per push of a megabyte; and resident memory at rest.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::inside::shell;
use super::{Figure, disk};
use crate::Outcome;

/// Whom we are measured beside.
pub const PEER: &str = "docker-registry";

/// The share of the peer's figures that ours may be.
pub const PROMISES: [(&str, f64); 6] = [
    ("manifest GET", 0.05),
    ("manifest p99", 0.25),
    ("config GET", 0.05),
    ("config p99", 0.25),
    ("large blob", 1.0),
    ("1 MB push", 0.333),
];

/// Most resident memory at rest, in KiB.
pub const IDLE_KIB_MAX: f64 = 20.0 * 1024.0;

/// Connections of the load.
const CONNECTIONS: &str = "16";
/// Seconds of load for one figure.
const SECONDS: &str = "4";
/// Size of the large blob: larger than what sockets buffer, small enough for the page cache.
const LARGE_BYTES: usize = 512 << 20;
/// Pushes of one measurement, over as many connections as docker has by default, and how many measurements: one takes less than a
/// second, and how long a new page takes to be had differs more from one to the next than anything else here.
const PUSHES: usize = 60;
const PUSH_ROUNDS: usize = 15;
const PUSHERS: usize = 5;
/// Longest time a server may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// A registry that runs.
pub struct Server {
    tool: &'static str,
    address: String,
    /// Its process.
    pub child: Child,
    config: String,
    large: String,
}

/// Takes all figures and prints each as a line of JSON.
pub fn run(kit: &Path, rounds: usize) -> Outcome {
    let disk = disk::mount(kit)?;
    let mut servers = vec![ours(kit, &disk)?, theirs(&disk)?];
    let outcome = measure(&mut servers, kit, &disk, rounds);
    for server in &mut servers {
        let _ = server.child.kill();
        let _ = server.child.wait();
    }
    outcome
}

fn measure(servers: &mut [Server], kit: &Path, disk: &Path, rounds: usize) -> Outcome {
    let pushes = kit.join("pushes");
    fs::create_dir_all(&pushes)?;
    for server in servers.iter_mut() {
        report("registry idle", server.tool, vec![resident_kib(server.child.id())?]);
        fill(server, kit)?;
    }
    let names = PROMISES.map(|(name, _)| name);
    let mut samples = vec![vec![Vec::new(); servers.len()]; names.len()];
    for _ in 0..rounds {
        for (at, server) in servers.iter().enumerate() {
            let manifest = load(&format!("http://{}/v2/bench/manifests/v1", server.address))?;
            let config = load(&format!("http://{}/v2/bench/blobs/{}", server.address, server.config))?;
            let large = download(&server.address, &format!("/v2/bench/blobs/{}", server.large))?;
            for (row, value) in samples.iter_mut().zip([manifest.0, manifest.1, config.0, config.1, large]) {
                row[at].push(value);
            }
        }
    }
    let pushed = samples.last_mut().ok_or("no figures")?;
    for round in 0..PUSH_ROUNDS {
        for (server, samples) in servers.iter().zip(pushed.iter_mut()) {
            // What one has not written yet must not be paid for by the other, who waits for the disk.
            shell(Command::new("sync").arg("--file-system").arg(disk))?;
            samples.push(push_many(&server.address, &pushes, round)?);
        }
    }
    for (name, row) in names.iter().zip(samples) {
        servers.iter().zip(row).for_each(|(server, samples)| report(name, server.tool, samples));
    }
    Ok(())
}

fn report(what: &str, tool: &str, samples: Vec<f64>) {
    let figure = Figure { what: what.to_string(), tool: tool.to_string(), beside: PEER.to_string(), samples };
    println!("{}", serde_json::to_string(&figure).unwrap_or_default());
}

fn ours(kit: &Path, disk: &Path) -> Outcome<Server> {
    let mut command = Command::new(kit.join("knarr"));
    command.args(["registry", "serve", "--listen", "127.0.0.1:5811", "--root"]).arg(disk.join("registry-knarr"));
    start("knarr", "127.0.0.1:5811", command)
}

/// docker-registry with its data in the kit, on port 5812.
pub fn theirs(kit: &Path) -> Outcome<Server> {
    let config = kit.join("docker-registry.yml");
    let root = kit.join("registry-docker").display().to_string();
    fs::write(
        &config,
        format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {root}}}\n  \
             cache: {{blobdescriptor: inmemory}}\nhttp:\n  addr: 127.0.0.1:5812\n"
        ),
    )?;
    let mut command = Command::new(PEER);
    command.arg("serve").arg(config);
    start(PEER, "127.0.0.1:5812", command)
}

fn start(tool: &'static str, address: &str, mut command: Command) -> Outcome<Server> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.map_err(|why| format!("{tool}: {why}"))?;
    let server = Server { tool, address: address.to_string(), child, config: String::new(), large: String::new() };
    let end = Instant::now() + START_MAX;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > end {
            return Err(format!("{tool} does not listen").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

/// One image with a config of usual size, and a large blob.
fn fill(server: &mut Server, kit: &Path) -> Outcome {
    let config = format!("{{\"filler\":\"{}\"}}", "x".repeat(4096));
    server.config = push(&server.address, &kit.join("config"), config.as_bytes())?;
    let mut large = vec![0u8; LARGE_BYTES];
    large.iter_mut().enumerate().for_each(|(at, byte)| *byte = ((at * 31) >> 7) as u8);
    server.large = push(&server.address, &kit.join("large"), &large)?;
    let layers: Vec<String> = (0..8)
        .map(|_| {
            format!(
                "{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"{}\",\"size\":{LARGE_BYTES}}}",
                server.large
            )
        })
        .collect();
    let manifest = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{{\"mediaType\":\
         \"application/vnd.oci.image.config.v1+json\",\"digest\":\"{}\",\"size\":{}}},\"layers\":[{}]}}",
        server.config,
        config.len(),
        layers.join(",")
    );
    let headers = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    let mut connection = Connection::open(&server.address)?;
    connection.send("PUT", "/v2/bench/manifests/v1", headers, manifest.as_bytes())?.expect(201)
}

/// Microseconds per request, and the 99th percentile of its time.
fn load(url: &str) -> Outcome<(f64, f64)> {
    let mut command = Command::new("wrk");
    command.args(["-t2", "-c", CONNECTIONS, "-d", SECONDS, "--latency", url]);
    command.args(["-H", "Accept: application/vnd.oci.image.manifest.v1+json"]);
    let output = command.output().map_err(|why| format!("wrk: {why}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    if text.contains("Non-2xx") {
        return Err(format!("{url}: {text}").into());
    }
    let rate: f64 = field("Requests/sec:").ok_or_else(|| format!("wrk said: {text}"))?.parse()?;
    Ok((1e6 / rate, microseconds(field("99%").ok_or("no percentile")?)?))
}

/// `850.00us`, `1.20ms`, `2.00s`.
fn microseconds(text: &str) -> Outcome<f64> {
    let (number, scale) = match text {
        _ if text.ends_with("us") => (text.trim_end_matches("us"), 1.0),
        _ if text.ends_with("ms") => (text.trim_end_matches("ms"), 1e3),
        _ => (text.trim_end_matches('s'), 1e6),
    };
    Ok(number.parse::<f64>()? * scale)
}

/// Milliseconds for the whole of a large blob over one connection.
fn download(address: &str, path: &str) -> Outcome<f64> {
    let begun = Instant::now();
    let mut connection = Connection::open(address)?;
    connection.ask("GET", path, "", b"")?;
    let answer = connection.head()?;
    let copied = std::io::copy(&mut connection.reader.by_ref().take(answer.length), &mut std::io::sink())?;
    answer.expect(200)?;
    if copied != LARGE_BYTES as u64 {
        return Err(format!("{path}: {copied} bytes").into());
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds for each of many pushes of a megabyte, several at a time.
fn push_many(address: &str, directory: &Path, round: usize) -> Outcome<f64> {
    let mut blobs = Vec::new();
    for number in 0..PUSHES {
        let mut bytes = vec![0u8; 1 << 20];
        let mut state = (round * PUSHES + number) as u32 ^ std::process::id() ^ address.len() as u32;
        bytes.iter_mut().for_each(|byte| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        });
        let digest = digest(&directory.join("blob"), &bytes)?;
        blobs.push((digest, bytes));
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let pushers: Vec<_> = blobs
            .chunks(PUSHES / PUSHERS)
            .map(|some| {
                scope.spawn(move || {
                    let mut connection = Connection::open(address).ok()?;
                    some.iter().try_for_each(|(digest, bytes)| connection.push(digest, bytes).ok())
                })
            })
            .collect();
        pushers.into_iter().all(|pusher| pusher.join().is_ok_and(|done| done.is_some()))
    })
    .then_some(())
    .ok_or("a push failed")?;
    Ok(begun.elapsed().as_secs_f64() * 1e3 / PUSHES as f64)
}

fn push(address: &str, scratch: &Path, bytes: &[u8]) -> Outcome<String> {
    let digest = digest(scratch, bytes)?;
    Connection::open(address)?.push(&digest, bytes)?;
    Ok(digest)
}

fn digest(scratch: &Path, bytes: &[u8]) -> Outcome<String> {
    fs::write(scratch, bytes)?;
    let output = Command::new("sha256sum").arg(scratch).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(format!("sha256:{}", text.split(' ').next().unwrap_or_default()))
}

/// Milliseconds of one connection and one request for what is at `path`, as docker asks whether a name still means the same.
pub fn round_trip(address: &str, path: &str) -> Outcome<f64> {
    let begun = Instant::now();
    let mut connection = Connection::open(address)?;
    connection.ask("HEAD", path, "Accept: application/vnd.oci.image.manifest.v1+json\r\n", b"")?;
    connection.head()?.expect(200)?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// One connection, request after request.
struct Connection {
    address: String,
    reader: BufReader<TcpStream>,
}

struct Answer {
    status: u16,
    length: u64,
    location: String,
}

impl Answer {
    fn expect(&self, status: u16) -> Outcome {
        if self.status == status { Ok(()) } else { Err(format!("{} instead of {status}", self.status).into()) }
    }
}

impl Connection {
    fn open(address: &str) -> Outcome<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Connection { address: address.to_string(), reader: BufReader::with_capacity(1 << 18, stream) })
    }

    fn push(&mut self, digest: &str, bytes: &[u8]) -> Outcome {
        let begun = self.send("POST", "/v2/bench/blobs/uploads/", "", b"")?;
        begun.expect(202)?;
        let path =
            begun.location.split_once(&self.address).map_or(begun.location.as_str(), |(_, path)| path).to_string();
        let join = if path.contains('?') { '&' } else { '?' };
        let headers = "Content-Type: application/octet-stream\r\n";
        self.send("PUT", &format!("{path}{join}digest={digest}"), headers, bytes)?.expect(201)
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Outcome<Answer> {
        self.ask(method, path, headers, body)?;
        let answer = self.head()?;
        std::io::copy(&mut self.reader.by_ref().take(answer.length), &mut std::io::sink())?;
        Ok(answer)
    }

    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Outcome {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let stream = self.reader.get_mut();
        stream.write_all(head.as_bytes())?;
        Ok(stream.write_all(body)?)
    }

    fn head(&mut self) -> Outcome<Answer> {
        let mut answer = Answer { status: 0, length: 0, location: String::new() };
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => answer.length = value.parse()?,
                Some((name, value)) if name.eq_ignore_ascii_case("location") => answer.location = value.to_string(),
                Some(_) => {}
                None if line.starts_with("HTTP/1.1 ") => answer.status = line[9..12].parse()?,
                None => return Ok(answer),
            }
        }
    }
}

fn resident_kib(pid: u32) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_says_times_in_three_units() {
        let read = |text| microseconds(text).expect("a time");
        assert_eq!([read("850.00us"), read("1.50ms"), read("2.00s")], [850.0, 1500.0, 2_000_000.0]);
    }
}
