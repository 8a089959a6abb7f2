//! Turns layer tars into trees and trees into layer tars.
#![forbid(unsafe_code)]
