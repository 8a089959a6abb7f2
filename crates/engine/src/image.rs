//! The verbs of images, one file each.

pub mod df;
pub mod hello;
pub mod inspect;
pub mod list;
pub mod load;
pub mod prune;
pub mod pull;
pub mod remove;
pub mod tag;
