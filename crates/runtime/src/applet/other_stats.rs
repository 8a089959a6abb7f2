//! What `events` tells beside the counters of control groups: caches and memory bandwidth, and network devices.
//!
//! Law: what cannot be read is left out; a container may end at any moment.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::resctrl::{Abilities, Rdt};

/// runc's `intel_rdt`.
pub(crate) fn rdt(rdt: Option<&Rdt>) -> Value {
    let Some(rdt) = rdt else { return json!({}) };
    let abilities = Abilities::of(&rdt.root);
    let lines = |directory: &Path| -> Vec<String> {
        let text = fs::read_to_string(directory.join("schemata")).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let (root, own) = (lines(&rdt.root), lines(&rdt.group));
    let mut all = Map::new();
    let parts = [
        (abilities.l3, "L3", "l3_cache_info", "l3_cache_schema", &["cbm_mask", "min_cbm_bits", "num_closids"][..]),
        (
            abilities.bandwidth,
            "MB",
            "mem_bw_info",
            "mem_bw_schema",
            &["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"],
        ),
    ];
    for (_, name, info, schema, files) in parts.into_iter().filter(|(able, ..)| *able) {
        all.insert(info.into(), files_of(&rdt.root.join("info").join(name), files));
        for (lines, key) in [(&root, format!("{schema}_root")), (&own, schema.to_owned())] {
            all.extend(lines.iter().find(|line| line.contains(name)).map(|line| (key, json!(line))));
        }
    }
    if !own.is_empty() {
        all.insert("schemata".into(), json!(own));
    }
    if abilities.monitoring {
        let group = rdt.monitoring.as_ref().unwrap_or(&rdt.group).join("mon_data");
        for (key, files) in
            [("mbm_stats", &["mbm_total_bytes", "mbm_local_bytes"][..]), ("cmt_stats", &["llc_occupancy"])]
        {
            let nodes = sorted(&group).into_iter().map(|node| files_of(&node, files));
            all.insert(key.into(), nodes.collect());
        }
    }
    Value::Object(all)
}

fn sorted(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// Numbers as numbers, masks as text.
fn files_of(directory: &Path, names: &[&str]) -> Value {
    let value = |name: &&str| {
        let text = fs::read_to_string(directory.join(name)).ok()?;
        let text = text.trim();
        let number = text.parse::<u64>().ok().filter(|_| *name != "cbm_mask");
        Some(((*name).to_owned(), number.map_or_else(|| json!(text), |number| json!(number))))
    };
    Value::Object(names.iter().filter_map(value).collect())
}

/// The devices of the container's own network namespace; none where it shares ours.
pub(crate) fn network(pid: u32) -> Value {
    let namespace = |who: &str| fs::read_link(format!("/proc/{who}/ns/net")).ok();
    let theirs = namespace(&pid.to_string());
    if theirs.is_none() || theirs == namespace("self") {
        return Value::Null;
    }
    devices(&fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

/// `/proc/net/dev`, in runc's words; `lo` is nobody's traffic.
fn devices(text: &str) -> Value {
    const COLUMNS: [(&str, usize); 8] = [
        ("RxBytes", 0),
        ("RxPackets", 1),
        ("RxErrors", 2),
        ("RxDropped", 3),
        ("TxBytes", 8),
        ("TxPackets", 9),
        ("TxErrors", 10),
        ("TxDropped", 11),
    ];
    let device = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let mut all = Map::from_iter([("Name".to_owned(), json!(name.trim()))]);
        for (column, at) in COLUMNS {
            all.insert(column.into(), json!(numbers.get(at)?));
        }
        (name.trim() != "lo").then_some(Value::Object(all))
    };
    let all: Vec<Value> = text.lines().filter_map(device).collect();
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_eight_counters() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n\
            lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:  10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let expect = json!([{ "Name": "eth0", "RxBytes": 10, "RxPackets": 2, "RxErrors": 3, "RxDropped": 4,
            "TxBytes": 50, "TxPackets": 6, "TxErrors": 7, "TxDropped": 8 }]);
        assert_eq!(devices(text), expect);
        assert_eq!(devices(""), Value::Null);
    }

    #[test]
    fn caches_are_told_as_runc_tells_them() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("info/L3/cbm_mask", "fffff\n");
        write("info/L3/min_cbm_bits", "1\n");
        write("info/L3_MON/mon_features", "llc_occupancy\n");
        write("schemata", "    L3:0=fffff\n");
        write("web/schemata", "    L3:0=f\n");
        write("web/mon_data/mon_L3_00/llc_occupancy", "4096\n");
        let group = Rdt { root: root.path().into(), group: root.path().join("web"), ..Rdt::default() };
        let expect = json!({ "l3_cache_info": { "cbm_mask": "fffff", "min_cbm_bits": 1 }, "l3_cache_schema_root": "L3:0=fffff",
            "l3_cache_schema": "L3:0=f", "schemata": ["L3:0=f"], "mbm_stats": [{}], "cmt_stats": [{ "llc_occupancy": 4096 }] });
        assert_eq!(rdt(Some(&group)), expect);
        assert_eq!(rdt(None), json!({}));
    }
}
