//! The server over the wire: a real listener on 127.0.0.1, requests as clients write them.

mod bounds;
mod harness;
mod listing;
mod manifests;
mod pull;
mod push;
mod restart;
