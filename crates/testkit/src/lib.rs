//! Root trees, registries and containers for tests.
#![forbid(unsafe_code)]
