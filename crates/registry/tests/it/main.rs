//! The server over the wire: a real listener on 127.0.0.1, requests as clients write them.

mod access;
mod bounds;
mod clients;
mod harness;
mod listing;
mod manifests;
mod operations;
mod page;
mod pull;
mod push;
mod restart;
mod tls;
