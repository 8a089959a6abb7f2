//! policy.json with signatures made here.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_distribution::{Policy, PullOptions};
use knarr_spec::{Descriptor, Digest, Raw};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use crate::image::{Layer, Shelf, manifest_of};
use crate::server::{Reply, Server};
use crate::setup::{Place, fails, options};

struct Signer(EcdsaKeyPair, SystemRandom);

impl Signer {
    fn new() -> Signer {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random).unwrap();
        Signer(pair, random)
    }

    /// As a PEM file would hold it, in base64 as `keyData` wants it.
    fn key_data(&self) -> String {
        let mut der = vec![
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        der.extend_from_slice(self.0.public_key().as_ref());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        STANDARD.encode(pem)
    }

    fn policy(&self, identity: &str) -> Policy {
        let text = format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"":[
                {{"type":"sigstoreSigned","keyData":"{}","signedIdentity":{identity}}}]}}}}}}"#,
            self.key_data()
        );
        Policy::parse(&text).unwrap()
    }

    /// Puts cosign's signature of `image` beside it, for the name `signed`.
    fn sign(&self, shelf: &mut Shelf, image: &Digest, of: &Digest, signed: &str) {
        let claim = serde_json::json!({"critical": {"type": "cosign container image signature",
            "image": {"docker-manifest-digest": of}, "identity": {"docker-reference": signed}}, "optional": null});
        let claim = serde_json::to_vec(&claim).unwrap();
        let signature = self.0.sign(&self.1, &claim).unwrap();
        let digest = shelf.add_blob(&claim);
        let mut layer = Descriptor::new("application/vnd.dev.cosign.simplesigning.v1+json", digest, claim.len() as u64);
        layer.annotations.insert("dev.cosignproject.cosign/signature".to_owned(), STANDARD.encode(signature));
        let config = b"{}";
        shelf.add_blob(config);
        let manifest = Raw::from_document(manifest_of(config, vec![layer]));
        let tag = format!("sha256-{}.sig", image.encoded());
        shelf.add_document(&tag, knarr_spec::media_type::OCI_MANIFEST, manifest.bytes());
    }
}

const REPOSITORY: &str = r#"{"type":"matchRepository"}"#;

/// Pulls an image that `sign` put signatures to, under `signer`'s policy.
fn pull(
    signer: &Signer,
    identity: &str,
    sign: impl Fn(&mut Shelf, &Digest),
) -> Result<knarr_store::ImageRecord, knarr_distribution::Error> {
    let mut shelf = Shelf::of(&[Layer::gzip(&[("a", b"x")])]);
    let (_, manifest) = &shelf.manifests["v1"];
    let digest = Digest::sha256_of(manifest);
    sign(&mut shelf, &digest);
    let server = Server::start(shelf.into_handler());
    let place = Place::new();
    let options = PullOptions { policy: signer.policy(&identity.replace("HOST", &server.host())), ..options() };
    let pulled = place.pull_with(&format!("{}/app:v1", server.host()), &options);
    if pulled.is_err() {
        assert!(place.store.images().unwrap().is_empty(), "a rejected image became visible");
    }
    pulled
}

const EXACT: &str = r#"{"type":"exactRepository","dockerRepository":"HOST/app"}"#;

#[test]
fn a_signature_of_the_right_key_for_the_right_image_lets_it_in() {
    let signer = Signer::new();
    pull(&signer, r#"{"type":"exactRepository","dockerRepository":"signed.example/app"}"#, |shelf, image| {
        signer.sign(shelf, image, image, "signed.example/app");
    })
    .unwrap();
}

#[test]
fn without_a_signature_it_stays_out() {
    fails(pull(&Signer::new(), REPOSITORY, |_, _| {}), "A signature was required, but no signature exists");
}

#[test]
fn a_signature_of_another_key_does_not_count() {
    let other = Signer::new();
    let signed = pull(&Signer::new(), EXACT, |shelf, image| other.sign(shelf, image, image, "signed.example/app"));
    fails(signed, "cryptographic signature verification failed");
}

#[test]
fn a_signature_of_another_image_does_not_count() {
    let signer = Signer::new();
    let other = Digest::sha256_of(b"another image");
    let signed = pull(&signer, EXACT, |shelf, image| signer.sign(shelf, image, &other, "signed.example/app"));
    fails(signed, "the signature is for");
}

#[test]
fn a_signature_for_another_name_does_not_count() {
    let signer = Signer::new();
    let signed = pull(&signer, REPOSITORY, |shelf, image| signer.sign(shelf, image, image, "signed.example/app"));
    fails(signed, "is not accepted");
}

/// A key of GnuPG's, in a home of its own.
struct Gpg(tempfile::TempDir);

impl Gpg {
    /// `None` where there is no GnuPG.
    fn new() -> Option<Gpg> {
        if !["/usr/bin/gpg", "/usr/bin/gpgv"].iter().all(|program| std::path::Path::new(program).exists()) {
            eprintln!("skipped: gpg or gpgv is missing");
            return None;
        }
        let gpg = Gpg(tempfile::tempdir().unwrap());
        gpg.run(&["--quick-gen-key", "ship@fleet.example", "ed25519", "sign", "never"], b"");
        Some(gpg)
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("/usr/bin/gpg");
        command.arg("--homedir").arg(self.0.path()).args(["--batch", "--quiet", "--pinentry-mode", "loopback"]);
        command.args(["--passphrase", ""]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn policy(&self, more: &str) -> Policy {
        let key = STANDARD.encode(self.run(&["--armor", "--export"], b""));
        Policy::parse(&format!(r#"{{"default":[{{"type":"signedBy","keyType":"GPGKeys","keyData":"{key}"{more}}}]}}"#))
            .unwrap()
    }

    /// A signature that says that `digest` is called `name`.
    fn sign(&self, name: &str, digest: &Digest) -> Vec<u8> {
        let claim = serde_json::json!({"critical": {"type": "atomic container signature",
            "image": {"docker-manifest-digest": digest}, "identity": {"docker-reference": name}},
            "optional": {"creator": "a test", "timestamp": 1_767_225_600}});
        self.run(&["--sign"], claim.to_string().as_bytes())
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).status();
    }
}

/// Pulls an image whose signatures, made by `sign` of its name and digest, lie beside the registry.
fn pull_signed(
    policy: Policy,
    sign: impl Fn(&str, &Digest) -> Vec<Vec<u8>>,
) -> Result<knarr_store::ImageRecord, knarr_distribution::Error> {
    let shelf = Shelf::of(&[Layer::gzip(&[("a", b"x")])]);
    let digest = Digest::sha256_of(&shelf.manifests["v1"].1);
    let server = Server::start(shelf.into_handler());
    let (place, lookaside) = (Place::new(), tempfile::tempdir().unwrap());
    let name = format!("{}/app:v1", server.host());
    let dir = lookaside.path().join(format!("app@sha256={}", digest.encoded()));
    std::fs::create_dir(&dir).unwrap();
    for (number, signature) in sign(&name, &digest).iter().enumerate() {
        std::fs::write(dir.join(format!("signature-{}", number + 1)), signature).unwrap();
    }
    let mut options = PullOptions { policy, ..options() };
    options.network.lookaside.scopes.insert(server.host(), format!("file://{}", lookaside.path().display()));
    let pulled = place.pull_with(&name, &options);
    assert_eq!(pulled.is_ok(), !place.store.images().unwrap().is_empty(), "a rejected image became visible");
    pulled
}

#[test]
fn an_openpgp_signature_of_the_right_key_lets_it_in() {
    let (Some(gpg), Some(other)) = (Gpg::new(), Gpg::new()) else { return };
    pull_signed(gpg.policy(""), |name, digest| vec![gpg.sign(name, digest)]).unwrap();
    // The first that counts is enough.
    pull_signed(gpg.policy(""), |name, digest| vec![other.sign(name, digest), gpg.sign(name, digest)]).unwrap();
    let repository = r#","signedIdentity":{"type":"matchRepository"}"#;
    pull_signed(gpg.policy(repository), |name, digest| vec![gpg.sign(&name.replace(":v1", ":v2"), digest)]).unwrap();
}

#[test]
fn openpgp_signatures_that_do_not_count_are_told_why() {
    let (Some(gpg), Some(other)) = (Gpg::new(), Gpg::new()) else { return };
    let pull =
        |sign: &dyn Fn(&str, &Digest) -> Vec<u8>| pull_signed(gpg.policy(""), |name, digest| vec![sign(name, digest)]);
    fails(pull_signed(gpg.policy(""), |_, _| Vec::new()), "A signature was required, but no signature exists");
    fails(pull(&|name, digest| other.sign(name, digest)), "which the policy does not name");
    fails(pull(&|name, digest| gpg.sign(&name.replace(":v1", ":v2"), digest)), "is not accepted");
    fails(pull(&|name, _| gpg.sign(name, &Digest::sha256_of(b"other"))), "does not match");
    fails(pull(&|_, _| b"no signature at all".to_vec()), "Invalid GPG signature");
    let bent = |name: &str, digest: &Digest| {
        let mut signature = gpg.sign(name, digest);
        let middle = signature.len() / 2;
        signature[middle] ^= 1;
        signature
    };
    fails(pull(&bent), "Invalid GPG signature");
    let both = pull_signed(gpg.policy(""), |name, digest| vec![other.sign(name, digest), b"x".to_vec()]);
    fails(both, "None of the signatures were accepted, reasons: ");
}

#[test]
fn openpgp_signatures_come_over_http_too() {
    let Some(gpg) = Gpg::new() else { return };
    let shelf = Shelf::of(&[Layer::gzip(&[("a", b"x")])]);
    let digest = Digest::sha256_of(&shelf.manifests["v1"].1);
    let server = Server::start(shelf.into_handler());
    let name = format!("{}/app:v1", server.host());
    let (path, signature) = (format!("/sigs/app@sha256={}/signature-1", digest.encoded()), gpg.sign(&name, &digest));
    let aside = Server::start(move |request| match request.path == path {
        true => Reply::new(200, signature.clone()),
        false => Reply::new(404, ""),
    });
    let mut options = PullOptions { policy: gpg.policy(""), ..options() };
    options.network.lookaside.default = Some(format!("http://{}/sigs/", aside.host()));
    Place::new().pull_with(&name, &options).unwrap();
    // The second is asked for and is not there.
    assert_eq!(aside.requests().len(), 2);
}
