//! `state`, `list` and `ps`.

use std::{collections::HashMap, ffi::CString, fs, io, os::unix::fs::MetadataExt, path::Path, process::Command};

use knarr_sys::regex::Regex;
use serde::Serialize;
use serde_json::json;

use super::{
    commands::{Context, Done},
    container::{Container, Status},
    failure::{At, Failure},
    log,
};

/// `state`: runtime.md's fields and runc's.
pub(crate) fn state(context: &mut Context<'_>) -> Result<Done, Failure> {
    let container = Container::of(context)?;
    let described = describe(&container, container.status());
    Ok(Done::Text(format!("{}\n", serde_json::to_string_pretty(&described).expect("a state has string keys only"))))
}

/// In runc's order, which its users match as text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: u32,
    status: &'static str,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: &'a HashMap<String, String>,
    owner: String,
}

fn describe(container: &Container, status: Status) -> Described<'_> {
    let record = &container.record;
    Described {
        oci_version: &record.oci_version,
        id: container.id(),
        pid: if status == Status::Stopped { 0 } else { record.pid },
        status: status.name(),
        bundle: &record.options.bundle,
        rootfs: &record.rootfs,
        created: &record.created,
        annotations: &record.annotations,
        owner: owner(container),
    }
}

/// By name where the machine knows one, as `#1000` otherwise.
fn owner(container: &Container) -> String {
    let Ok(uid) = fs::metadata(&container.directory).map(|metadata| metadata.uid()) else { return String::new() };
    if uid == 0 {
        return "root".into();
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("#{uid}"))
}

/// `list`. A container that cannot be read is told in the log and does not hide the others.
pub(crate) fn list(context: &mut Context<'_>) -> Result<Done, Failure> {
    let mut all = Vec::new();
    for id in ids(context)? {
        match Container::load(&context.globals.root, &id) {
            Ok(container) => all.push(container),
            // Being made, or being deleted.
            Err(Failure::Missing(_)) => {}
            Err(failure) => log::warning(context.globals, &format!("load container {id}: {}", failure.text())),
        }
    }
    if context.given.has("quiet") {
        return Ok(Done::Text(all.iter().map(|container| format!("{}\n", container.id())).collect()));
    }
    let rows: Vec<Described<'_>> = all.iter().map(|container| describe(container, container.status())).collect();
    match context.given.value("format").unwrap_or("table") {
        // As Go prints a list that was never filled.
        "json" if rows.is_empty() => Ok(Done::Text("null\n".into())),
        "json" => Ok(Done::Text(format!("{}\n", serde_json::to_string(&rows).expect("a state has string keys only")))),
        "table" => Ok(Done::Text(table(&rows))),
        other => Err(Failure::Value { flag: "format", value: other.into(), wants: "table or json" }),
    }
}

/// Names in the directory, sorted; a default directory that is not there has none.
pub(crate) fn ids(context: &Context<'_>) -> Result<Vec<String>, Failure> {
    let root = &context.globals.root;
    match names_in(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && *root == context.world.root => Ok(Vec::new()),
        other => other.at("read", root),
    }
}

/// crun's `--regex`: does `one` with every container whose id the expression of the first word is found in. Each is tried, the
/// first failure is told.
pub(crate) fn each_that_matches(
    context: &Context<'_>,
    what: &str,
    one: impl Fn(&str) -> Result<Done, Failure>,
) -> Result<Done, Failure> {
    let text = |text: &str| CString::new(text).map_err(|_| Failure::InvalidId(text.into()));
    let regex = Regex::extended(&text(context.id()?)?)?;
    let mut first = Ok(Done::Quiet);
    for id in ids(context)? {
        if regex.is_in(&text(&id)?) {
            let done = one(&id);
            if let Err(failure) = &done {
                log::warning(context.globals, &format!("{what} {id}: {}", failure.text()));
            }
            first = first.and(done);
        }
    }
    first
}

/// The names of the directories in `root`, sorted.
pub(crate) fn names_in(root: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(root)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// runc's columns: at least 12 wide, three spaces between.
fn table(rows: &[Described<'_>]) -> String {
    let cells = |row: &Described<'_>| {
        let (pid, bundle) = (row.pid.to_string(), row.bundle.display().to_string());
        [row.id.into(), pid, row.status.into(), bundle, row.created.into(), row.owner.clone()]
    };
    let mut lines = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].len() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let padded = |line: &[String; 6]| {
        let cells = widths.iter().zip(line).map(|(width, cell)| format!("{cell:<width$}"));
        format!("{}{}\n", cells.collect::<String>(), line[5])
    };
    lines.iter().map(padded).collect()
}

/// `ps`: the numbers as JSON, or the lines of ps(1) about them.
pub(crate) fn ps(context: &mut Context<'_>) -> Result<Done, Failure> {
    let container = Container::of(context)?;
    let pids = match &container.record.cgroup {
        Some(cgroup) => cgroup.processes()?,
        None if container.alive() => vec![container.record.pid],
        None => vec![],
    };
    match context.given.value("format").unwrap_or("table") {
        "json" => Ok(Done::Text(format!("{}\n", json!(pids)))),
        "table" => lines_of_ps(&context.given.words[1..], &pids).map(Done::Text),
        other => Err(Failure::Value { flag: "format", value: other.into(), wants: "table or json" }),
    }
}

fn lines_of_ps(options: &[String], pids: &[u32]) -> Result<String, Failure> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default[..] } else { options };
    let output = Command::new("ps").args(options).output().at("execute", "ps")?;
    if !output.status.success() {
        return Err(Failure::Ps(String::from_utf8_lossy(&output.stderr).trim().into()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Failure::Ps("there is no PID column in what it prints".into()))?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok([title].into_iter().chain(lines.filter(ours)).map(|line| format!("{line}\n")).collect())
}
