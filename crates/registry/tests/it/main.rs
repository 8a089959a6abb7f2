//! The server over the wire: a real listener on 127.0.0.1, requests as clients write them.

mod access;
mod bounds;
mod check;
mod clients;
mod export;
mod harness;
mod instances;
mod listing;
mod manifests;
mod mirror;
mod operations;
mod page;
mod policy;
mod pull;
mod push;
mod race;
mod restart;
mod tls;
