//! The registry client and the image archives: resolve, authenticate, fetch.
#![forbid(unsafe_code)]
