//! Tables of contents.
#![no_main]

#[path = "../checks/toc.rs"]
mod toc;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| toc::check(bytes));
