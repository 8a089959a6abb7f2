//! Reading `config.json` and `process.json`: what the specification wants ignored with a warning must not make them unreadable.
//!
//! Spec: config.md "Extensibility", "capabilities": a capability nobody knows is no error.

use std::path::Path;

use knarr_spec::{
    OtherPlatforms,
    runtime::{MemoryPolicyFlagType, MemoryPolicyModeType},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::failure::Failure;
use crate::capability_number;

/// A document, and warnings about it.
pub(crate) struct Read<T> {
    pub document: T,
    pub warnings: Vec<String>,
}

/// Reads a document whose process stands at `at` (a JSON pointer). The usual document has nothing to mend, and is read once.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], path: &Path, at: &str) -> Result<Read<T>, Failure> {
    let wrong = |source| Failure::Json { what: format!("read {}", path.display()), source };
    let unusual = Unusual::of(bytes);
    if unusual.other_platforms {
        serde_json::from_slice::<OtherPlatforms>(bytes).map_err(wrong)?;
    }
    if unusual.old_monitoring {
        let mut value: Value = serde_json::from_slice(bytes).map_err(wrong)?;
        if value.pointer_mut("/linux/intelRdt").is_some_and(rename_monitoring) {
            return read(&serde_json::to_vec(&value).map_err(wrong)?, path, at);
        }
    }
    // Text that is known to be text is not looked at again, string by string.
    let parsed = str::from_utf8(bytes).map_or_else(|_| serde_json::from_slice(bytes), serde_json::from_str);
    let error = match parsed {
        Ok(document) => return Ok(Read { document, warnings: Vec::new() }),
        Err(error) => error,
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else { return Err(wrong(error)) };
    let unknown = value.pointer_mut(at).map(mend).unwrap_or_default();
    let names = format!("process.capabilities: ignoring unknown or unavailable capabilities: [{}]", unknown.join(" "));
    let warnings = if unknown.is_empty() { Vec::new() } else { vec![names] };
    let policy = memory_policy_trouble(&value);
    // The first error knows its line.
    let document = serde_json::from_value(value)
        .map_err(|_| policy.map_or_else(|| wrong(error), |why| Failure::MemoryPolicy { path: path.into(), why }))?;
    Ok(Read { document, warnings })
}

/// What is wrong with a memory policy that cannot be read, in the words runc's users look for.
fn memory_policy_trouble(document: &Value) -> Option<String> {
    let policy = document.pointer("/linux/memoryPolicy")?;
    let mode = policy.get("mode").cloned().unwrap_or_else(|| json!(""));
    if MemoryPolicyModeType::deserialize(&mode).is_err() {
        return Some(format!("invalid memory policy mode {mode}"));
    }
    let flags = policy.get("flags").and_then(Value::as_array).into_iter().flatten();
    let mut unknown = flags.filter(|flag| MemoryPolicyFlagType::deserialize(*flag).is_err());
    unknown.next().map(|flag| format!("invalid memory policy flag {flag}"))
}

/// How 1.2 asked for monitoring, which `oci-spec` reads by other names.
const OLD_MONITORING: [&str; 2] = ["enableCMT", "enableMBM"];

/// Keys that a document may have and hardly any has: looked for in one pass over its bytes.
#[derive(Debug, Default)]
struct Unusual {
    /// Of FreeBSD, or of a virtual machine.
    other_platforms: bool,
    /// [`OLD_MONITORING`].
    old_monitoring: bool,
}

impl Unusual {
    /// A key stands between two quotation marks.
    fn of(bytes: &[u8]) -> Unusual {
        let mut found = Unusual::default();
        for piece in bytes.split(|byte| *byte == b'"') {
            found.other_platforms |= matches!(piece, b"freebsd" | b"hwConfig");
            found.old_monitoring |= OLD_MONITORING.iter().any(|name| name.as_bytes() == piece);
        }
        found
    }
}

/// Both mean `enableMonitoring`; whether one of them was there.
fn rename_monitoring(rdt: &mut Value) -> bool {
    let Some(rdt) = rdt.as_object_mut() else { return false };
    let old: Vec<Value> = OLD_MONITORING.iter().filter_map(|name| rdt.remove(*name)).collect();
    if old.contains(&Value::Bool(true)) {
        rdt.insert("enableMonitoring".into(), Value::Bool(true));
    }
    !old.is_empty()
}

/// A process without a user is root's, as runc has it; scheduler flags have the names of the specification. Answers with the
/// capabilities that were taken out.
fn mend(process: &mut Value) -> Vec<String> {
    let Some(fields) = process.as_object_mut() else { return Vec::new() };
    fields.entry("user").or_insert_with(|| json!({ "uid": 0, "gid": 0 }));
    let flags = fields.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"));
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some((_, ours)) = SCHEDULER_FLAGS.iter().find(|(theirs, _)| flag == theirs) {
            *flag = json!(ours);
        }
    }
    fields.get_mut("capabilities").map(drop_unknown).unwrap_or_default()
}

/// The names of the specification, and what the types call them.
const SCHEDULER_FLAGS: [(&str, &str); 2] =
    [("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"), ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN")];

/// Takes the unknown ones out of every set.
fn drop_unknown(sets: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for set in sets.as_object_mut().into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
        set.retain(|name| {
            let Some(name) = name.as_str() else { return true };
            let known = capability_number(&name.to_ascii_uppercase()).is_some();
            if !known && !unknown.iter().any(|seen| seen == name) {
                unknown.push(name.to_owned());
            }
            known
        });
    }
    unknown
}

#[cfg(test)]
mod tests {
    use knarr_spec::runtime::{Process, Spec};

    use super::*;

    #[test]
    fn an_unknown_capability_is_a_warning() {
        let bytes = br#"{"ociVersion":"1.3.0","process":{"cwd":"/","user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_FLY","CAP_KILL"],"permitted":["CAP_FLY"]}}}"#;
        let read = read::<Spec>(bytes, Path::new("config.json"), "/process").unwrap();
        assert_eq!(read.warnings, ["process.capabilities: ignoring unknown or unavailable capabilities: [CAP_FLY]"]);
        let capabilities = read.document.process().clone().unwrap().capabilities().clone().unwrap();
        assert_eq!(capabilities.bounding().as_ref().map(|set| set.len()), Some(1));
    }

    #[test]
    fn so_it_is_for_one_process() {
        let bytes = br#"{"cwd":"/","user":{"uid":0,"gid":0},"capabilities":{"effective":["cap_fly"]}}"#;
        assert_eq!(read::<Process>(bytes, Path::new("p"), "").unwrap().warnings.len(), 1);
    }

    #[test]
    fn monitoring_can_be_asked_for_as_in_1_2() {
        let monitored = |rdt: &str| {
            let text = format!(r#"{{"ociVersion":"1.2.0","linux":{{"intelRdt":{{{rdt}}}}}}}"#);
            let read = read::<Spec>(text.as_bytes(), Path::new("c"), "/process").unwrap();
            *read.document.linux().as_ref().unwrap().intel_rdt().as_ref().unwrap().enable_monitoring()
        };
        assert_eq!(monitored(r#""enableCMT":true"#), Some(true));
        assert_eq!(monitored(r#""enableMBM":true,"enableCMT":false"#), Some(true));
        assert_eq!(monitored(r#""enableCMT":false"#), None);
    }

    #[test]
    fn what_is_wrong_otherwise_stays_an_error_with_its_place() {
        let text = |bytes: &[u8]| {
            read::<Spec>(bytes, Path::new("config.json"), "/process").err().map(|failure| failure.text())
        };
        assert!(text(br#"{"process":{"cwd":7}}"#).unwrap().contains("line 1 column"));
        assert!(text(br#"{"ociVersion":"1.3.0","freebsd":{"jail":{"host":"no"}}}"#).unwrap().contains("no"));
        assert!(text(b"{").is_some());
    }
    #[test]
    fn a_memory_policy_that_is_none_is_told_in_runcs_words() {
        let text = |policy: &str| {
            let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"memoryPolicy":{policy}}}}}"#);
            read::<Spec>(text.as_bytes(), Path::new("c"), "/process").err().map(|failure| failure.text()).unwrap()
        };
        assert!(text("{}").ends_with(r#"invalid memory policy mode """#));
        assert!(text(r#"{"mode":"BIND","nodes":"0"}"#).ends_with(r#"invalid memory policy mode "BIND""#));
        assert!(text(r#"{"mode":"MPOL_BIND","flags":["x"]}"#).ends_with(r#"invalid memory policy flag "x""#));
    }

    #[test]
    fn a_process_without_a_user_is_roots() {
        let read = read::<Process>(br#"{"args":["/bin/true"],"cwd":"/"}"#, Path::new("p"), "").unwrap();
        assert_eq!((read.document.user().uid(), read.document.user().gid()), (0, 0));
    }

    #[test]
    fn scheduler_flags_have_the_names_of_the_specification() {
        let bytes = br#"{"args":["x"],"cwd":"/","scheduler":{"policy":"SCHED_DEADLINE",
            "flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN","SCHED_FLAG_RECLAIM"]}}"#;
        let read = read::<Process>(bytes, Path::new("p"), "").unwrap();
        assert_eq!(read.document.scheduler().as_ref().unwrap().flags().as_ref().unwrap().len(), 3);
    }
}
