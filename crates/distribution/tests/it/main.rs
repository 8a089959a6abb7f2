//! The crate from outside: pulls from servers that behave and from servers that do not, loads of good and bad archives.

mod archives;
mod auth;
mod debian_registry;
mod files;
mod hostile;
mod image;
mod mirrors;
mod parts;
mod policy;
mod proxy;
mod pull;
mod push;
mod resume;
mod server;
mod setup;
mod tls;
