//! The verbs of images, one file each.

pub mod alter;
pub mod artifact;
pub mod budget;
pub mod change;
pub mod compose;
pub mod copy;
pub mod df;
pub mod diff;
pub mod edit;
pub mod hello;
pub mod history;
pub mod import;
pub mod inspect;
pub mod list;
pub mod load;
pub mod manifest;
pub mod problem;
pub mod prune;
pub mod pull;
pub mod push;
pub mod remove;
pub mod save;
pub mod shelf;
pub mod tag;
pub mod tree;
