//! The parts of a runtime document for other platforms that `oci-spec` has no types for: read and checked, so that a document is
//! wrong everywhere or nowhere.
//!
//! Spec: runtime-spec 1.3, config-vm.md "HWConfig Object", config-freebsd.md.
//! Not here: `solaris`, `windows`, `zos` and the rest of `vm`, which `oci-spec` has.

use serde::{Deserialize, Serialize};

/// A document, these parts of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OtherPlatforms {
    /// `freebsd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freebsd: Option<FreeBsd>,
    /// `vm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<Vm>,
}

/// `vm`, the new part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Vm {
    /// `hwConfig`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hw_config: Option<HwConfig>,
}

/// The machine a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HwConfig {
    /// Path of the device tree.
    pub device_tree: String,
    /// Processors.
    pub vcpus: u32,
    /// Bytes.
    pub memory: u64,
    /// Device tree nodes passed through.
    pub dtdevs: Vec<String>,
    /// Ranges of memory passed through.
    pub iomems: Vec<Iomem>,
    /// Interrupts passed through.
    pub irqs: Vec<u32>,
}

/// A range of memory frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Iomem {
    /// First frame of the guest.
    #[serde(rename = "firstGFN")]
    pub first_gfn: u64,
    /// First frame of the machine.
    #[serde(rename = "firstMFN")]
    pub first_mfn: u64,
    /// How many.
    #[serde(rename = "nrMFNs")]
    pub nr_mfns: u64,
}

/// `freebsd`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FreeBsd {
    /// Devices to show.
    pub devices: Vec<FreeBsdDevice>,
    /// jail(8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jail: Option<Jail>,
}

/// A device of `freebsd.devices`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeBsdDevice {
    /// Below `/dev`.
    pub path: String,
    /// Its permissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// Whether a jail shares something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// There is none.
    Disable,
    /// It has its own.
    New,
    /// It shares its parent's.
    Inherit,
}

/// Parameters of jail(8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are jail(8)'s")]
pub struct Jail {
    pub parent: Option<String>,
    pub host: Option<Sharing>,
    pub ip4: Option<Sharing>,
    pub ip4_addr: Vec<String>,
    pub ip6: Option<Sharing>,
    pub ip6_addr: Vec<String>,
    pub vnet: Option<Sharing>,
    pub interface: Option<String>,
    pub vnet_interfaces: Vec<String>,
    pub sysvmsg: Option<Sharing>,
    pub sysvsem: Option<Sharing>,
    pub sysvshm: Option<Sharing>,
    pub enforce_statfs: Option<i32>,
    pub allow: Option<JailAllow>,
}

/// `allow.*` of jail(8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are jail(8)'s")]
pub struct JailAllow {
    pub set_hostname: bool,
    pub raw_sockets: bool,
    pub chflags: bool,
    pub mount: Vec<String>,
    pub quotas: bool,
    pub socket_af: bool,
    pub mlock: bool,
    pub reserved_ports: bool,
    pub suser: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jail_and_a_machine_are_read() {
        let text = r#"{"ociVersion":"1.3.0","freebsd":{"devices":[{"path":"pf","mode":448}],"jail":{"vnet":"new","ip4":"inherit",
            "enforceStatfs":1,"allow":{"rawSockets":true,"mount":["tmpfs"]}}},
            "vm":{"kernel":{"path":"/k"},"hwConfig":{"vcpus":2,"memory":1024,"iomems":[{"firstGFN":1,"firstMFN":2,"nrMFNs":3}],"irqs":[5]}}}"#;
        let read: OtherPlatforms = serde_json::from_str(text).unwrap();
        let jail = read.freebsd.unwrap().jail.unwrap();
        assert_eq!((jail.vnet, jail.ip4), (Some(Sharing::New), Some(Sharing::Inherit)));
        let machine = read.vm.unwrap().hw_config.unwrap();
        assert_eq!((machine.vcpus, machine.iomems[0].nr_mfns), (2, 3));
    }

    #[test]
    fn what_jail_does_not_know_is_refused() {
        for text in [r#"{"freebsd":{"jail":{"vnet":"maybe"}}}"#, r#"{"vm":{"hwConfig":{"vcpus":-1}}}"#] {
            assert!(serde_json::from_str::<OtherPlatforms>(text).is_err(), "{text}");
        }
    }
}
