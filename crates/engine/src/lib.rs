//! The verbs of the engine: policy and the paths between store, runtime and supervisor.
#![forbid(unsafe_code)]
