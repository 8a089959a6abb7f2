//! Signing: the options of copies and pushes; skopeo's `generate-sigstore-key`, `standalone-sign` and `standalone-verify`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use knarr_distribution::sign::{self, Gpg, Signer, SigstoreKey};
use knarr_distribution::{Error, Signing};

use crate::access;
use crate::failure::Failure;
use crate::output::print;
use crate::passphrase;
use crate::verb::Verb;
use crate::world::World;

/// Who signs what is copied.
#[derive(Debug, clap::Args)]
pub(crate) struct SignFlags {
    /// Sign with this key of gpg's
    #[arg(long, value_name = "FINGERPRINT")]
    sign_by: Option<String>,
    /// Sign with sigstore's private key in this file
    #[arg(long, value_name = "FILE")]
    sign_by_sigstore_private_key: Option<PathBuf>,
    /// A file whose content unlocks the key
    #[arg(long, value_name = "FILE")]
    sign_passphrase_file: Option<PathBuf>,
    /// The name to sign, instead of the destination's
    #[arg(long, value_name = "REFERENCE")]
    sign_identity: Option<String>,
}

impl SignFlags {
    /// Whether somebody signs.
    pub(crate) fn is_given(&self) -> bool {
        self.sign_by.is_some() || self.sign_by_sigstore_private_key.is_some()
    }

    /// Who signs, once their keys are unlocked.
    pub(crate) fn signing(&self) -> Result<Signing, Failure> {
        let given = self.sign_passphrase_file.as_deref().map(passphrase::of_file).transpose()?;
        if given.is_some() && self.sign_by.is_some() && self.sign_by_sigstore_private_key.is_some() {
            let what = "--sign-passphrase-file unlocks one key, of --sign-by or of --sign-by-sigstore-private-key";
            return Err(Failure::usage(what));
        }
        if !self.is_given() && (given.is_some() || self.sign_identity.is_some()) {
            let hint = "--sign-by FINGERPRINT or --sign-by-sigstore-private-key FILE";
            return Err(Failure::usage("--sign-passphrase-file and --sign-identity need a key to sign with").hint(hint));
        }
        let mut signers = Vec::new();
        if let Some(key) = &self.sign_by {
            signers.push(Signer::Gpg(Gpg { key: key.clone(), passphrase: given.clone() }));
        }
        if let Some(path) = &self.sign_by_sigstore_private_key {
            signers.push(Signer::Sigstore(private_key(path, given)?));
        }
        Ok(Signing { signers, identity: self.sign_identity.clone() })
    }
}

/// Make a pair of keys to sign images with.
#[derive(Debug, clap::Args)]
pub(crate) struct GenerateSigstoreKey {
    /// Write PREFIX.pub and PREFIX.private
    #[arg(long, value_name = "PREFIX")]
    output_prefix: PathBuf,
    /// A file whose content locks the private key
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Sign a manifest in a file with a key of gpg's.
#[derive(Debug, clap::Args)]
pub(crate) struct StandaloneSign {
    /// Write the signature to this file
    #[arg(long, short = 'o', value_name = "FILE")]
    output: PathBuf,
    /// A file whose content unlocks the key
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The file
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// What the image is called
    #[arg(value_name = "DOCKER-REFERENCE")]
    reference: String,
    /// The key
    #[arg(value_name = "KEY-FINGERPRINT")]
    key: String,
}

/// Verify a signature of a manifest, both in files.
#[derive(Debug, clap::Args)]
pub(crate) struct StandaloneVerify {
    /// Keys in a file, instead of gpg's
    #[arg(long, value_name = "FILE")]
    public_key_file: Option<PathBuf>,
    /// The file
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// What the image is called
    #[arg(value_name = "DOCKER-REFERENCE")]
    reference: String,
    /// Whose signature counts; `any` of the keys in the file
    #[arg(value_name = "KEY-FINGERPRINTS")]
    keys: String,
    /// The signature
    #[arg(value_name = "SIGNATURE")]
    signature: PathBuf,
}

/// The private key in `path`, unlocked with what was given or is asked for.
fn private_key(path: &Path, given: Option<String>) -> Result<SigstoreKey, Failure> {
    let pem = std::fs::read_to_string(path).map_err(|error| read_failed(path, &error))?;
    let ask = || passphrase::ask(&format!("Passphrase for key {}", path.display()), "--sign-passphrase-file");
    let passphrase = given.map_or_else(ask, Ok)?;
    SigstoreKey::unlock(&pem, passphrase.as_bytes())
        .map_err(|problem| Failure::new(format!("{}: {problem}", path.display())))
}

fn read_failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("read {}: {error}", path.display()))
}

fn failure(error: Error) -> Failure {
    access::failure(error).code(1)
}

impl Verb for GenerateSigstoreKey {
    const NAMES: &'static [&'static str] = &["image generate-sigstore-key"];
    const ABOUT: &'static str = "Make a pair of keys to sign images with";
    const EXAMPLE: &'static str = "knarr image generate-sigstore-key --output-prefix ship";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let with = |ending: &str| {
            let mut name = self.output_prefix.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        let (private, public) = (with(".private"), with(".pub"));
        for path in [&private, &public] {
            if path.exists() {
                return Err(Failure::new(format!("Refusing to overwrite existing {:?}", path.display().to_string())));
            }
        }
        let passphrase = match &self.passphrase_file {
            Some(file) => passphrase::of_file(file)?,
            None => {
                let what = format!("Passphrase for key {}", private.display());
                let once = passphrase::ask(&what, "--passphrase-file")?;
                match passphrase::ask(&format!("{what}, again"), "--passphrase-file")? == once {
                    true => once,
                    false => return Err(Failure::new("the passphrases are not the same")),
                }
            }
        };
        let keys = sign::generate(passphrase.as_bytes());
        let (locked, open) = keys.map_err(|problem| Failure::new(problem.to_string()))?;
        for (path, pem, mode) in [(&private, locked, 0o600), (&public, open, 0o644)] {
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
            file.and_then(|mut file| file.write_all(pem.as_bytes()))
                .map_err(|error| Failure::new(format!("write {}: {error}", path.display())))?;
        }
        print(&format!("Key written to {:?} and {:?}\n", private.display().to_string(), public.display().to_string()))?;
        Ok(0)
    }
}

impl Verb for StandaloneSign {
    const NAMES: &'static [&'static str] = &["image standalone-sign"];
    const ABOUT: &'static str = "Sign a manifest in a file with a key of gpg's";
    const EXAMPLE: &'static str = "knarr image standalone-sign -o app.sig manifest.json registry.example/app:1 KEY";
    const USAGE: &'static str =
        "knarr image standalone-sign [OPTIONS] -o FILE MANIFEST DOCKER-REFERENCE KEY-FINGERPRINT";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let passphrase = self.passphrase_file.as_deref().map(passphrase::of_file).transpose()?;
        let gpg = Gpg { key: self.key, passphrase };
        let signature = sign::sign_file(&self.manifest, &self.reference, &gpg).map_err(failure)?;
        std::fs::write(&self.output, signature)
            .map_err(|error| Failure::new(format!("Error writing signature to {}: {error}", self.output.display())))?;
        Ok(0)
    }
}

impl Verb for StandaloneVerify {
    const NAMES: &'static [&'static str] = &["image standalone-verify"];
    const ABOUT: &'static str = "Verify a signature of a manifest, both in files";
    const EXAMPLE: &'static str = "knarr image standalone-verify manifest.json registry.example/app:1 KEY app.sig";
    const USAGE: &'static str =
        "knarr image standalone-verify [OPTIONS] MANIFEST DOCKER-REFERENCE KEY-FINGERPRINT SIGNATURE";

    fn run(self, _: &World) -> Result<u8, Failure> {
        let any = self.keys == "any";
        if any && self.public_key_file.is_none() {
            return Err(Failure::usage("Public key file must be provided when using any fingerprint"));
        }
        let named: Vec<String> = self.keys.split(',').map(|key| key.trim().to_owned()).collect();
        let read = |path: &Path| std::fs::read(path).map_err(|error| read_failed(path, &error));
        let keys = match &self.public_key_file {
            Some(path) => read(path)?,
            None => sign::export(&named).map_err(|problem| Failure::new(problem.to_string()))?,
        };
        let wanted = if any { Vec::new() } else { named };
        let signature = read(&self.signature)?;
        let (made, digest) =
            sign::verify_file(&self.manifest, &self.reference, &signature, &[keys], &wanted).map_err(failure)?;
        print(&format!("Signature verified using fingerprint {made}, digest {digest}\n"))?;
        Ok(0)
    }
}
