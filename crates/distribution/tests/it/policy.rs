//! policy.json with signatures made here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_distribution::{Policy, PullOptions};
use knarr_spec::{Descriptor, Digest, Raw};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use crate::image::{Layer, Shelf, manifest_of};
use crate::server::Server;
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

#[test]
fn openpgp_is_refused_by_name() {
    let policy = r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/x"}]}"#;
    let server = Server::start(Shelf::of(&[Layer::big()]).into_handler());
    let options = PullOptions { policy: Policy::parse(policy).unwrap(), ..options() };
    fails(Place::new().pull_with(&format!("{}/app:v1", server.host()), &options), "OpenPGP");
}
