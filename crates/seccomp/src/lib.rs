//! Compiles a seccomp profile document into a BPF program.
#![forbid(unsafe_code)]
