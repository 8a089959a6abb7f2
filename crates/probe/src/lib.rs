//! Reports what a process sees of the machine it runs in.
#![forbid(unsafe_code)]
