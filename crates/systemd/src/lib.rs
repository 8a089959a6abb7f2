//! Transient units of systemd: scopes and slices that hold a container's processes, made, changed and ended over D-Bus.
//!
//! Spec: the D-Bus specification 0.43 (messages, marshalling, SASL EXTERNAL); org.freedesktop.systemd1(5).
//! Law: synchronous, one connection for one errand; whoever answers is not trusted further than the lengths it sends. Which bus to ask
//! is the caller's to say: nothing here reads the environment.
//! Not here: what a limit is called as a property (cgroup), the notification of readiness (runtime).
//!
//! A client of our own because what is needed is five calls and one signal: zbus brings an async executor and 400 KB.
#![forbid(unsafe_code)]

mod bus;
mod error;
mod gvariant;
mod slice;
mod unit;
mod value;
mod wire;

pub use bus::Bus;
pub use error::Error;
pub use gvariant::parse as parse_value;
pub use slice::expand as expand_slice;
pub use unit::{Manager, Property};
pub use value::Value;
