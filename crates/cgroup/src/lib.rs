//! Creates, attaches, limits, reads and freezes control groups: v2, v1 and hybrid.
#![forbid(unsafe_code)]
