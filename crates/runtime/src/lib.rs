//! The OCI runtime: plan, verify, apply.
#![forbid(unsafe_code)]
