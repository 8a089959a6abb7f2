//! Images from one place to another: source, transform, sink.
//!
//! ```text
//! root ─► policy ─► which platforms ─► per manifest: family, compression ─► blobs, several at once ─► manifest ─► … ─► root
//! ```
//! Law: where nothing is asked and the destination takes it, every byte and digest stays. Blobs go before the manifests that
//! name them, manifests before their index, referrers after what they refer to. What comes is verified by what named it.
//! Not here: reading and writing of places (`registry`, `archive`, `stored`).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use knarr_layer::UnpackOptions;
use knarr_spec::image::Annotations;
use knarr_spec::media_type::{self, Compression};
use knarr_spec::{Descriptor, DiffId, Digest, Index, Manifest, Platform, Raw, Reference};
use knarr_store::Store;

use crate::archive::{self, ArchiveForm, DirSink, LayoutSink, TarSink};
use crate::convert::{self, format_of, is_foreign, is_image};
use crate::error::{Inconsistency, Part};
use crate::fetch::{self, Fetch, embedded};
use crate::http::Http;
use crate::network::Network;
use crate::origin::{Carried, Document, Origin, Stream, check_content, read_all};
use crate::policy::{Policy, Subject};
use crate::progress::{LayerState, Outcome, Progress, Silent};
use crate::recompress::recompress;
use crate::registry::{Mounts, Push, Registry};
use crate::segments::{self, Connections};
use crate::sign::{Signature, Signing};
use crate::sink::{Opener, Presence, Sink};
use crate::stored::Stored;
use crate::together::together;
use crate::{Error, Place, Problem, PullOptions, limits};

/// The two families of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OCI's.
    Oci,
    /// Docker's v2 schema 2.
    Docker,
}

/// What becomes of an index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MultiArch {
    /// The image for one platform is taken out of it.
    #[default]
    System,
    /// All its images are copied.
    All,
    /// It alone is copied; its images must be there or will come later.
    IndexOnly,
}

/// How layers are to be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recompression {
    /// As what.
    pub kind: Compression,
    /// So that files can be fetched one by one: zstd:chunked, or eStargz where `kind` is gzip. eStargz changes the tar, and so the
    /// diff ids, the config and the image's id.
    pub chunked: bool,
    /// How hard; the form's usual level without.
    pub level: Option<i32>,
}

impl Recompression {
    /// Whether the tar inside becomes another one.
    fn changes_tar(&self) -> bool {
        self.chunked && self.kind == Compression::Gzip
    }
}

/// How images are copied.
#[derive(Clone)]
pub struct CopyOptions<'a> {
    /// The platform that is taken out of an index.
    pub platform: Platform,
    /// What becomes of an index.
    pub multi: MultiArch,
    /// The family to write; the source's where the destination takes it.
    pub format: Option<Format>,
    /// The compression to write; the source's without.
    pub recompress: Option<Recompression>,
    /// Plain layers stay plain, also where they are usually compressed.
    pub keep_plain: bool,
    /// Fail rather than change a digest.
    pub preserve_digests: bool,
    /// Signatures, attestations and whatever else refers to the images come too.
    pub referrers: bool,
    /// Signatures that are kept beside the images are left out.
    pub remove_signatures: bool,
    /// Who signs what is written: the root, and the images of an index.
    pub signing: Signing,
    /// How the source is reached.
    pub source: Network,
    /// How the destination is reached.
    pub destination: Network,
    /// What may be copied.
    pub policy: Policy,
    /// Where temporary files are made.
    pub spool: PathBuf,
    /// Where the blobs of an `oci:` source are kept instead of in it.
    pub source_blobs: Option<PathBuf>,
    /// Where the blobs of an `oci:` destination are kept instead of in it.
    pub shared_blobs: Option<PathBuf>,
    /// More names in a docker archive.
    pub more_names: Vec<Reference>,
    /// How layers are unpacked into the store; needed for `local:` as destination.
    pub unpack: Option<UnpackOptions>,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Blobs at once.
    pub concurrency: usize,
}

impl CopyOptions<'static> {
    /// For this machine, anonymous, unobserved, everything allowed.
    pub fn new(spool: &Path) -> CopyOptions<'static> {
        CopyOptions {
            platform: Platform::host(),
            multi: MultiArch::System,
            format: None,
            recompress: None,
            keep_plain: false,
            preserve_digests: false,
            referrers: false,
            remove_signatures: false,
            signing: Signing::default(),
            source: Network::default(),
            destination: Network::default(),
            policy: Policy::default(),
            spool: spool.to_owned(),
            source_blobs: None,
            shared_blobs: None,
            more_names: Vec::new(),
            unpack: None,
            progress: &Silent,
            concurrency: limits::CONCURRENCY_DEFAULT,
        }
    }
}

impl fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOptions")
            .field("platform", &self.platform)
            .field("multi", &self.multi)
            .field("format", &self.format)
            .field("recompress", &self.recompress)
            .field("preserve_digests", &self.preserve_digests)
            .finish_non_exhaustive()
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The root's digest at the destination.
    pub digest: Digest,
    /// The root's media type there.
    pub media_type: String,
    /// The root's size there.
    pub bytes: u64,
}

/// Copies the image `from` means to `to`. `store` is needed for `local:` on either side.
pub fn copy(store: Option<&Store>, from: &Place, to: &Place, options: &CopyOptions<'_>) -> Result<Copied, Error> {
    let copied = with_origin(store, from, options, |origin, names| match (to, store) {
        (Place::Local(_), Some(_)) if !options.signing.signers.is_empty() => {
            Err(Problem::Unsupported("signatures cannot be kept in the store".to_owned()))
        }
        (Place::Local(name), Some(store)) => into_store(store, from, name, names, origin, options),
        _ => with_sink(store, to, origin, options, |sink| {
            let copied = Copier { origin, sink, from, to, options }.run()?;
            sink.finish()?;
            Ok(copied)
        }),
    });
    copied.map_err(|problem| Error { verb: "copy", subject: from.to_string(), problem: Box::new(problem) })
}

/// Opens `place` for reading.
pub(crate) fn with_origin<T>(
    store: Option<&Store>,
    place: &Place,
    options: &CopyOptions<'_>,
    then: impl FnOnce(&dyn Origin, &[Reference]) -> Result<T, Problem>,
) -> Result<T, Problem> {
    match place {
        Place::Registry(reference) => {
            let http = Http::new(&options.source)?;
            let registry = Registry::new(&http, reference, options.progress, false)?;
            then(&registry, std::slice::from_ref(reference))
        }
        Place::Local(name) => {
            let store = store.ok_or_else(|| Problem::Unsupported("local: needs the store".to_owned()))?;
            let image = store.resolve_image(name)?;
            let names = image.names.clone();
            match options.multi {
                MultiArch::System => then(&Stored::manifest_of(store, &image), &names),
                _ => then(&Stored::new(store, &image), &names),
            }
        }
        file => {
            let blobs = options.source_blobs.as_deref();
            archive::with_image(file, &options.platform, &options.spool, blobs, |image| {
                then(image.origin(), image.names())
            })
        }
    }
}

/// Opens `place` for writing.
fn with_sink<T>(
    store: Option<&Store>,
    place: &Place,
    origin: &dyn Origin,
    options: &CopyOptions<'_>,
    then: impl FnOnce(&dyn Sink) -> Result<T, Problem>,
) -> Result<T, Problem> {
    match place {
        Place::Registry(reference) => {
            let http = Http::new(&options.destination)?;
            let here = origin.repository().filter(|(registry, _)| *registry == reference.registry());
            let of_all = here.map(|(_, repository)| repository.to_owned()).into_iter().collect();
            let mounts = Mounts { of_all, ..Mounts::default() };
            then(&Push::new(&http, reference, mounts, options.progress, store)?)
        }
        Place::OciLayout { dir, tag } => {
            then(&LayoutSink::create(dir, tag.as_deref(), options.shared_blobs.as_deref())?)
        }
        Place::OciArchive { path, tag } => {
            let sink = TarSink::create(path, ArchiveForm::Oci)?;
            sink.name_next(tag.iter().cloned().collect());
            then(&sink)
        }
        Place::DockerArchive { path, tag } => {
            if path.is_file() {
                let what = "docker-archive doesn't support modifying existing images".to_owned();
                return Err(Problem::Unsupported(what));
            }
            let sink = TarSink::create(path, ArchiveForm::Docker)?;
            let named = tag.iter().map(|tag| tag.parse::<Reference>());
            let named: Result<Vec<Reference>, _> = named.collect();
            let named = named.map_err(|error| Problem::Unsupported(error.to_string()))?;
            sink.name_next(named.iter().chain(&options.more_names).map(Reference::to_string).collect());
            then(&sink)
        }
        Place::Dir(path) => then(&DirSink::create(path)?),
        Place::Local(_) => Err(Problem::Unsupported("local: needs the store".to_owned())),
    }
}

fn into_store(
    store: &Store,
    from: &Place,
    name: &str,
    names: &[Reference],
    origin: &dyn Origin,
    options: &CopyOptions<'_>,
) -> Result<Copied, Problem> {
    if options.multi != MultiArch::System {
        let what = "the store keeps images for one platform each; name it with --platform or --override-arch";
        return Err(Problem::Unsupported(what.to_owned()));
    }
    let unpack = options.unpack.clone().expect("whoever opens the store says how layers are unpacked");
    let names = match name {
        "" => names.to_vec(),
        name => {
            vec![name.parse().map_err(|error: knarr_spec::ReferenceError| Problem::Unsupported(error.to_string()))?]
        }
    };
    let pull = PullOptions {
        platform: options.platform.clone(),
        network: options.source.clone(),
        progress: options.progress,
        concurrency: options.concurrency,
        policy: options.policy.clone(),
        ..PullOptions::new(unpack)
    };
    let image = Fetch { store, options: &pull, origin, place: from }.image(&from.to_string(), &names)?;
    options.progress.finished(&from.to_string(), Outcome::Downloaded);
    let bytes = store.blob(&image.manifest_digest)?.map_or(0, |blob| blob.bytes);
    Ok(Copied { digest: image.manifest_digest, media_type: media_type::OCI_MANIFEST.to_owned(), bytes })
}

/// One copy.
pub(crate) struct Copier<'c> {
    pub(crate) origin: &'c dyn Origin,
    pub(crate) sink: &'c dyn Sink,
    pub(crate) from: &'c Place,
    pub(crate) to: &'c Place,
    pub(crate) options: &'c CopyOptions<'c>,
}

/// A document as it was or will be written.
struct Written {
    document: Document,
    digest: Digest,
    /// Whether the digest is the source's.
    same: bool,
}

/// A layer that got another compression.
struct Made {
    digest: Digest,
    bytes: u64,
    annotations: Annotations,
    /// Of a tar that was changed.
    diff_id: Option<DiffId>,
}

/// What is done to one layer.
struct LayerPlan<'d> {
    descriptor: &'d Descriptor,
    recompress: Option<Recompression>,
}

impl Copier<'_> {
    pub(crate) fn run(&self) -> Result<Copied, Problem> {
        let root = self.origin.root()?;
        let digest = Digest::sha256_of(&root.bytes);
        self.options.progress.resolved(&self.from.to_string(), &digest);
        let policy = |documents: &[&[u8]]| {
            self.options.policy.check(&Subject { place: self.from, origin: self.origin, documents })
        };
        let (source, written) = match (media_type::is_index(&root.media_type), self.options.multi) {
            (false, _) => {
                policy(&[&root.bytes])?;
                (digest.clone(), self.image(root, &digest)?)
            }
            (true, MultiArch::System) => {
                let (documents, document, digest) = self.choose(root)?;
                policy(&documents.iter().map(|document| &*document.bytes).collect::<Vec<_>>())?;
                let written = self.image(document, &digest)?;
                (digest, written)
            }
            (true, _) if !self.sink.manners().indexes => {
                return Err(Problem::Archive(crate::error::ArchiveProblem::NoRoomForIndex));
            }
            (true, MultiArch::All) => {
                policy(&[&root.bytes])?;
                (digest.clone(), self.index(root, &digest, 0)?)
            }
            (true, MultiArch::IndexOnly) => {
                policy(&[&root.bytes])?;
                (digest.clone(), Written { document: root, digest, same: true })
            }
        };
        self.sign(&source, &written, true)?;
        let Written { document, digest, same } = written;
        self.sink.put_root(&document, &digest).map_err(|problem| problem.of(Part::Manifest(digest.to_string())))?;
        if self.options.referrers && same {
            self.referrers(&digest, &mut HashSet::new())?;
        }
        Ok(Copied { digest, bytes: document.bytes.len() as u64, media_type: document.media_type })
    }

    /// The signatures beside `source`, and new ones, before what is signed can be seen.
    fn sign(&self, source: &Digest, written: &Written, root: bool) -> Result<(), Problem> {
        let kept = if self.options.remove_signatures { Vec::new() } else { self.origin.signatures(source)? };
        if !kept.is_empty() && !written.same {
            let what = "the digest would change, over which there are signatures; --remove-signatures leaves them out";
            return Err(Problem::Unsupported(what.to_owned()));
        }
        let mut signatures = kept.into_iter().map(Signature::of_file).collect::<Result<Vec<_>, _>>()?;
        let signing = &self.options.signing;
        if !signing.signers.is_empty() {
            signatures.extend(signing.sign(&written.digest, &signing.name(self.to)?)?);
        }
        if signatures.is_empty() { Ok(()) } else { self.sink.put_signatures(&written.digest, root, &signatures) }
    }

    /// Goes down to the manifest for the platform; all documents on the way, and the last once more with its digest.
    fn choose(&self, root: Document) -> Result<(Vec<Document>, Document, Digest), Problem> {
        let mut digest = Digest::sha256_of(&root.bytes);
        let mut way = vec![root];
        while let Some(last) = way.last().filter(|last| media_type::is_index(&last.media_type)) {
            if way.len() > limits::INDEX_DEPTH_MAX {
                return Err(Problem::Inconsistent(Inconsistency::IndexDepth));
            }
            let index: Index =
                serde_json::from_slice(&last.bytes).map_err(|source| Problem::Malformed { what: "index", source })?;
            let wanted = &self.options.platform;
            let entry = index.choose(wanted).ok_or_else(|| fetch::not_offered(wanted, &index))?;
            digest = entry.digest.clone();
            way.push(self.child(entry)?);
        }
        let last = way.last().cloned().expect("the root is there");
        Ok((way, last, digest))
    }

    fn child(&self, entry: &Descriptor) -> Result<Document, Problem> {
        let fetch = || {
            if entry.size > limits::MANIFEST_BYTES_MAX {
                return Err(Problem::TooLarge { bytes_max: limits::MANIFEST_BYTES_MAX });
            }
            let bytes = match embedded(entry)? {
                Some(bytes) => bytes,
                None => self.origin.manifest(entry)?,
            };
            check_content(&bytes, &entry.digest, Some(entry.size), self.origin.who())?;
            Document::new(bytes, Some(&entry.media_type))
        };
        fetch().map_err(|problem| problem.of(Part::Manifest(entry.digest.to_string())))
    }

    /// An index with all it names.
    fn index(&self, document: Document, digest: &Digest, depth: usize) -> Result<Written, Problem> {
        if depth == limits::INDEX_DEPTH_MAX {
            return Err(Problem::Inconsistent(Inconsistency::IndexDepth));
        }
        let index: Raw<Index> =
            Raw::parse(document.bytes.clone()).map_err(|source| Problem::Malformed { what: "index", source })?;
        let mut entries = index.manifests.clone();
        for entry in &mut entries {
            let child = self.child(entry)?;
            let written = match media_type::is_index(&child.media_type) {
                true => self.index(child, &entry.digest, depth + 1)?,
                false => self.image(child, &entry.digest)?,
            };
            self.sign(&entry.digest, &written, false)?;
            self.sink.put_manifest(&written.document, &written.digest)?;
            if self.options.referrers && written.same {
                self.referrers(&written.digest, &mut HashSet::new())?;
            }
            entry.media_type = written.document.media_type;
            (entry.digest, entry.size) = (written.digest, written.document.bytes.len() as u64);
        }
        let format = self.format(&document.media_type)?;
        if entries == index.manifests && format == format_of(&document.media_type) {
            return Ok(Written { document, digest: digest.clone(), same: true });
        }
        let bytes = convert::rewritten_index(&document.bytes, format, &entries)?;
        Ok(Written {
            digest: Digest::sha256_of(&bytes),
            document: Document { bytes, media_type: convert::index_type(format).to_owned() },
            same: false,
        })
    }

    /// The family `media_type` is to be written in.
    fn format(&self, media_type: &str) -> Result<Format, Problem> {
        let now = format_of(media_type);
        match self.options.format {
            Some(wanted) if wanted != now && self.options.preserve_digests => {
                Err(Problem::PreserveDigests("the manifest cannot be converted"))
            }
            Some(wanted) => Ok(wanted),
            None if self.sink.manners().oci_only && !self.options.preserve_digests => Ok(Format::Oci),
            None => Ok(now),
        }
    }

    /// A manifest's blobs are copied; the manifest as it is to be written is returned.
    fn image(&self, document: Document, digest: &Digest) -> Result<Written, Problem> {
        let manifest: Raw<Manifest> =
            Raw::parse(document.bytes.clone()).map_err(|source| Problem::Malformed { what: "manifest", source })?;
        if manifest.layers.len() > limits::LAYERS_MAX {
            return Err(Problem::Inconsistent(Inconsistency::TooManyLayers(manifest.layers.len())));
        }
        let now = format_of(&document.media_type);
        let format = match (self.format(&document.media_type)?, is_image(&manifest)) {
            (wanted, false) if wanted != now && self.options.format.is_some() => {
                let kind = &manifest.config.media_type;
                return Err(Problem::Unsupported(format!("an artifact ({kind}) cannot be converted")));
            }
            (_, false) => now,
            (wanted, true) => wanted,
        };
        let plans = manifest.layers.iter().map(|layer| self.plan(layer, &manifest, format));
        let plans = plans.collect::<Result<Vec<_>, _>>()?;
        let changes_tars = plans.iter().any(|plan| plan.recompress.is_some_and(|to| to.changes_tar()));
        let (layers, diff_ids) = self.blobs(Some(&manifest.config).filter(|_| !changes_tars), &plans, format)?;
        if format == now && layers == manifest.layers {
            return Ok(Written { document, digest: digest.clone(), same: true });
        }
        let config = changes_tars.then(|| self.other_config(&manifest.config, &diff_ids)).transpose()?;
        let bytes = convert::rewritten(&document.bytes, format, &layers, config.as_ref())?;
        Ok(Written {
            digest: Digest::sha256_of(&bytes),
            document: Document { bytes, media_type: convert::manifest_type(format).to_owned() },
            same: false,
        })
    }

    fn plan<'d>(&self, layer: &'d Descriptor, manifest: &Manifest, format: Format) -> Result<LayerPlan<'d>, Problem> {
        let current = media_type::layer_compression(&layer.media_type);
        let keep = LayerPlan { descriptor: layer, recompress: None };
        let Some(current) = current.filter(|_| is_image(manifest) && !is_foreign(&layer.media_type)) else {
            return Ok(keep);
        };
        let gzip = Some(Recompression { kind: Compression::Gzip, chunked: false, level: None });
        let usual = self.sink.manners().compresses && !self.options.keep_plain && !self.options.preserve_digests;
        let wanted = match (self.options.recompress, current, format) {
            (Some(wanted), ..) if wanted.kind == Compression::Zstd && format == Format::Docker => {
                return Err(Problem::Unsupported(
                    "Docker's manifests cannot have zstd layers; say --format oci".into(),
                ));
            }
            (Some(wanted), ..) => Some(wanted),
            (None, Compression::Zstd, Format::Docker) if format_of(&layer.media_type) != Format::Docker => gzip,
            (None, Compression::None, _) if usual => gzip,
            _ => None,
        };
        let already = |wanted: &Recompression| {
            let form = if current == Compression::Gzip { "stargz" } else { "zstd-chunked" };
            let chunked = layer.annotations.keys().any(|name| name.contains(form));
            wanted.kind == current && (chunked || !wanted.chunked)
        };
        match wanted.filter(|wanted| !already(wanted)) {
            Some(_) if self.options.preserve_digests => {
                Err(Problem::PreserveDigests("layers cannot be compressed otherwise"))
            }
            recompress => Ok(LayerPlan { recompress, ..keep }),
        }
    }

    /// The config with the diff ids of tars that were changed; what describes it.
    fn other_config(&self, config: &Descriptor, diff_ids: &[Option<DiffId>]) -> Result<Descriptor, Problem> {
        let copied = || {
            if config.size > limits::CONFIG_BYTES_MAX {
                return Err(Problem::TooLarge { bytes_max: limits::CONFIG_BYTES_MAX });
            }
            let bytes = read_all(&mut *self.open(config, 0)?, limits::CONFIG_BYTES_MAX)?;
            check_content(&bytes, &config.digest, Some(config.size), self.origin.who())?;
            let bytes = bytes::Bytes::from(convert::config_with(&bytes, diff_ids)?);
            let digest = Digest::sha256_of(&bytes);
            let new = Descriptor { digest, size: bytes.len() as u64, data: None, ..config.clone() };
            self.blob(&new, &|offset| Ok(Box::new(Carried(Some(bytes.clone()), offset))))?;
            Ok(new)
        };
        copied().map_err(|problem: Problem| problem.of(Part::Config(config.digest.clone())))
    }

    /// Copies the layers and, if it stays as it is, the config, several at once; the layers as they are at the destination, and
    /// their diff ids where those are others.
    fn blobs(
        &self,
        config: Option<&Descriptor>,
        plans: &[LayerPlan<'_>],
        format: Format,
    ) -> Result<(Vec<Descriptor>, Vec<Option<DiffId>>), Problem> {
        let mut seen = HashSet::new();
        let mut jobs: Vec<LayerPlan<'_>> = Vec::new();
        for plan in plans {
            // What may not be distributed stays where its URLs say.
            let elsewhere = is_foreign(&plan.descriptor.media_type) && !plan.descriptor.urls.is_empty();
            if !elsewhere && seen.insert(&plan.descriptor.digest) {
                jobs.push(LayerPlan { descriptor: plan.descriptor, recompress: plan.recompress });
            }
        }
        if let Some(config) = config.filter(|config| seen.insert(&config.digest)) {
            jobs.push(LayerPlan { descriptor: config, recompress: None });
        }
        let kept: Vec<&Descriptor> =
            jobs.iter().filter(|job| job.recompress.is_none()).map(|job| job.descriptor).collect();
        self.sink.expect(&kept)?;
        jobs.iter().for_each(|job| self.tell(job.descriptor, LayerState::Waiting));
        let made: Mutex<HashMap<Digest, Made>> = Mutex::default();
        let connections = Connections::new(self.options.concurrency, jobs.len());
        let job = |at: usize| {
            let LayerPlan { descriptor, recompress } = &jobs[at];
            let _connection = connections.of_blob(at);
            let done = match recompress {
                None => self.kept_blob(descriptor, &connections),
                Some(to) => self.other_blob(descriptor, to).map(|new| {
                    made.lock().expect("no panic while it is held").insert(descriptor.digest.clone(), new);
                }),
            };
            let part = match config {
                Some(config) if *descriptor == config => Part::Config(config.digest.clone()),
                _ => Part::Layer(descriptor.digest.clone()),
            };
            done.map_err(|problem| problem.of(part))
        };
        let interrupt = || {
            self.origin.interrupt();
            self.sink.interrupt();
        };
        together(jobs.len(), self.options.concurrency, &interrupt, &job)?;
        let made = made.into_inner().expect("no panic while it was held");
        let diff_ids = plans.iter().map(|plan| made.get(&plan.descriptor.digest).and_then(|made| made.diff_id.clone()));
        let diff_ids = diff_ids.collect();
        let layers: Result<_, _> = plans.iter().map(|plan| described(plan, &made, format)).collect();
        Ok((layers?, diff_ids))
    }

    fn tell(&self, blob: &Descriptor, state: LayerState) {
        self.options.progress.layer(&blob.digest, state);
    }

    /// The bytes of a blob, which its descriptor may carry itself.
    fn open<'a>(&'a self, blob: &'a Descriptor, offset: u64) -> Result<Box<dyn Stream + 'a>, Problem> {
        match embedded(blob)? {
            Some(bytes) => Ok(Box::new(Carried(Some(bytes.into()), offset))),
            None => self.origin.open(blob, offset),
        }
    }

    /// A blob as it is: of a big one several parts at once, if the source has them.
    fn kept_blob(&self, blob: &Descriptor, connections: &Connections) -> Result<(), Problem> {
        std::thread::scope(|scope| {
            let open = |offset| match blob.data {
                None => segments::open(scope, self.origin, blob, offset, connections),
                Some(_) => self.open(blob, offset),
            };
            self.blob(blob, &open)
        })
    }

    fn blob<'a>(&'a self, blob: &Descriptor, open: &Opener<'a>) -> Result<(), Problem> {
        match self.sink.presence(blob)? {
            Presence::Present => self.tell(blob, LayerState::AlreadyThere),
            Presence::Mounted(from) => self.options.progress.mounted(&blob.digest, &from),
            Presence::Absent => {
                let total = blob.size;
                self.sink.put_blob(blob, open, &|bytes| self.tell(blob, LayerState::Uploading { bytes, total }))?;
                self.tell(blob, LayerState::Uploaded);
            }
        }
        Ok(())
    }

    /// A layer with another compression.
    fn other_blob(&self, layer: &Descriptor, to: &Recompression) -> Result<Made, Problem> {
        self.tell(layer, LayerState::Compressing);
        let declared = media_type::layer_compression(&layer.media_type);
        let made = recompress(self.open(layer, 0)?, layer, declared, to, &self.options.spool)?;
        let new = Descriptor { digest: made.digest.clone(), size: made.bytes, ..layer.clone() };
        self.blob(&new, &|offset| Ok(made.open(offset)))?;
        Ok(Made {
            digest: made.digest.clone(),
            bytes: made.bytes,
            annotations: made.annotations,
            diff_id: made.diff_id,
        })
    }

    /// What refers to `digest`, and what refers to that; and cosign's tags made of the digest.
    fn referrers(&self, digest: &Digest, seen: &mut HashSet<Digest>) -> Result<(), Problem> {
        if !seen.insert(digest.clone()) || seen.len() > limits::REFERRERS_MAX {
            return Ok(());
        }
        let keeping = CopyOptions { preserve_digests: true, format: None, recompress: None, ..self.options.clone() };
        let keeping = Copier { options: &keeping, ..*self };
        for entry in self.origin.referrers(digest)? {
            let child = keeping.child(&entry)?;
            let written = match media_type::is_index(&child.media_type) {
                true => keeping.index(child, &entry.digest, 0)?,
                false => keeping.image(child, &entry.digest)?,
            };
            self.sink.put_referrer(&written.document, &entry)?;
            self.referrers(&entry.digest, seen)?;
        }
        for kind in limits::COSIGN_TAGS {
            let tag = format!("{}-{}.{kind}", digest.algorithm().as_str(), digest.encoded());
            let Some(document) = self.origin.tagged(&tag)? else { continue };
            let digest = Digest::sha256_of(&document.bytes);
            let written = match media_type::is_index(&document.media_type) {
                true => keeping.index(document, &digest, 0)?,
                false => keeping.image(document, &digest)?,
            };
            self.sink.put_tagged(&written.document, &digest, &tag)?;
        }
        Ok(())
    }
}

/// A layer as it is at the destination.
fn described(plan: &LayerPlan<'_>, made: &HashMap<Digest, Made>, format: Format) -> Result<Descriptor, Problem> {
    let compression = plan.recompress.as_ref().map(|to| to.kind);
    let media_type = convert::layer_type(&plan.descriptor.media_type, compression, format).ok_or_else(|| {
        Problem::MediaType { what: "layer of Docker's manifests", media_type: plan.descriptor.media_type.clone() }
    })?;
    let mut layer = Descriptor { media_type, ..plan.descriptor.clone() };
    if let (Some(_), Some(made)) = (compression, made.get(&plan.descriptor.digest)) {
        (layer.digest, layer.size, layer.data) = (made.digest.clone(), made.bytes, None);
        // They speak of the bytes that were, as the index of zstd:chunked does.
        layer.annotations.retain(|name, _| !name.contains("zstd-chunked") && !name.contains("stargz"));
        layer.annotations.extend(made.annotations.clone());
    }
    Ok(layer)
}
