//! Real containers, seen from inside and from outside: one program of tests, so that `fallbacks` can run all of it again.

mod applet;
mod attacks;
mod attacks_by_cve;
mod exec;
mod fallbacks;
mod filter;
mod groups;
mod hooks;
mod mounts;
mod namespaces;
mod network;
mod program;
mod root;
#[path = "../support/mod.rs"]
mod support;
mod users;
