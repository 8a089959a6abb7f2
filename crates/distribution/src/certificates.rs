//! TLS: system trust roots, `certs.d` directories, client certificates.
