//! Blobs and records as objects of S3, GCS or Azure, named as the files are.
//!
//! Law: an object appears whole or not at all. What is larger than a part is sent in parts of one size, as some stores want
//! it, and becomes an object when the last has come.
//!
//! ```text
//! <prefix>/blobs/<algorithm>/<first two>/<encoded>
//! <prefix>/records/<repository>/_manifests/<algorithm>/<encoded>.json
//! <prefix>/damaged/<algorithm>-<encoded>
//! <prefix>/uploads/<id>/<segment>          see `upload::shared`
//! ```

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use futures_util::TryStreamExt;
use knarr_spec::Digest;
use object_store::client::{HttpClient, HttpConnector};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig};

use super::{Blobs, Content, Result, Stored};
use crate::config::storage::{self, Cloud, ObjectUrl};
use crate::driver::Driver;
use crate::error::{IoContext, StorageError};
use crate::outlet::Outlet;

/// Bytes sent at once. The stores want 5 MiB at least, and parts of one size; one is held in memory for each upload.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
/// Most parts of one object, in every store: 78 GiB.
const PARTS_MAX: usize = 10_000;
/// Largest object that S3 copies by itself.
const COPY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// An operation that is refused for a while (throttling, restarts) is tried again for so long: well within a client's patience.
const RETRY_MAX: Duration = Duration::from_secs(20);

/// What we need of a store.
trait Store: ObjectStore + MultipartStore + Signer {}
impl<T: ObjectStore + MultipartStore + Signer> Store for T {}

/// The objects below a prefix; clones share everything.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn Store>,
    driver: Driver,
    prefix: String,
    /// How long addresses for clients hold; `None` where they get none.
    redirect: Option<Duration>,
}

/// Hands the store a client that trusts whom the settings say.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Names the operation that failed.
trait ObjectContext<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> ObjectContext<T> for object_store::Result<T> {
    fn what(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| StorageError::Objects { what: what(), source })
    }
}

/// An object that is being written in parts.
pub struct Segment {
    objects: Objects,
    path: Path,
    /// What the store calls it, once there is more than a part.
    id: Option<String>,
    parts: Vec<PartId>,
    /// On its way.
    sending: Option<tokio::task::JoinHandle<object_store::Result<PartId>>>,
    rest: Vec<u8>,
    size: u64,
}

impl Objects {
    /// Connects to what the settings name, and looks whether it answers.
    pub fn open(settings: &storage::Objects, client: reqwest::Client, driver: Driver) -> Result<Objects> {
        let credentials = match &settings.credentials {
            Some(path) => std::fs::read_to_string(path).what(|| format!("read {}", path.display()))?,
            None => String::new(),
        };
        let store = connect(settings, &pairs(&credentials), client).what(|| "connect".into())?;
        let redirect = settings.redirect.then_some(settings.redirect_lifetime.0);
        let objects = Objects { store, driver, prefix: settings.url.prefix.clone(), redirect };
        // Asked for an object, a store does not tell a bucket that is missing from one that is empty.
        let some = objects.wait(objects.store.list(Some(&objects.path("blobs"))).try_next());
        some.what(|| format!("look into {}", settings.url.bucket))?;
        Ok(objects)
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.driver.wait(work)
    }

    /// The object called `name` below the prefix.
    fn path(&self, name: &str) -> Path {
        if self.prefix.is_empty() { Path::from(name) } else { Path::from(format!("{}/{name}", self.prefix)) }
    }

    fn blob(&self, digest: &Digest) -> Path {
        let encoded = digest.encoded();
        let shelf = &encoded[..encoded.len().min(2)];
        self.path(&format!("blobs/{}/{shelf}/{encoded}", digest.algorithm().as_str()))
    }

    fn record(&self, repository: &str, digest: &Digest) -> Path {
        let algorithm = digest.algorithm();
        self.path(&format!("records/{repository}/_manifests/{}/{}.json", algorithm.as_str(), digest.encoded()))
    }

    /// Begins an object.
    pub fn segment(&self, name: &str) -> Segment {
        self.writing(self.path(name))
    }

    /// Begins a blob.
    fn writing(&self, path: Path) -> Segment {
        let objects = self.clone();
        Segment { objects, path, id: None, parts: Vec::new(), sending: None, rest: Vec::new(), size: 0 }
    }

    /// Begins a blob whose bytes are known to have the digest when it is finished.
    pub fn blob_segment(&self, digest: &Digest) -> Segment {
        self.writing(self.blob(digest))
    }

    /// Makes a blob of an object, which stays.
    pub fn adopt(&self, name: &str, size: u64, digest: &Digest) -> Result<()> {
        let (from, to) = (self.path(name), self.blob(digest));
        if size <= COPY_BYTES_MAX {
            return self.wait(self.store.copy(&from, &to)).what(|| format!("copy an upload to {digest}"));
        }
        let mut blob = self.writing(to);
        self.read_through(name, &mut |bytes| blob.append(bytes))?;
        blob.finish().map(|_| ())
    }

    /// Shows all bytes of an object, in order.
    pub fn read_through(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let what = || format!("read {name}");
        let mut bytes = self.wait(self.store.get(&self.path(name))).what(what)?.into_stream();
        while let Some(some) = self.wait(bytes.try_next()).what(what)? {
            visit(&some)?;
        }
        Ok(())
    }

    /// Removes an object; its absence is no error.
    pub fn remove_object(&self, name: &str) -> Result<()> {
        self.delete(&self.path(name))
    }

    /// Removes objects nobody misses, without waiting for it.
    pub fn remove_soon(&self, names: Vec<String>) {
        let (store, paths) = (self.store.clone(), names.iter().map(|name| self.path(name)).collect::<Vec<_>>());
        if !paths.is_empty() {
            self.driver.handle().spawn(async move {
                for path in paths {
                    // What stays is removed with the uploads nobody continues.
                    let _ = store.delete(&path).await;
                }
            });
        }
    }

    fn delete(&self, path: &Path) -> Result<()> {
        match self.wait(self.store.delete(path)) {
            Err(error) if !matches!(error, Error::NotFound { .. }) => Err(error).what(|| format!("remove {path}")),
            _ => Ok(()),
        }
    }

    /// Gives up parts somebody else sent; that they are gone already is no error.
    pub fn abort(&self, name: &str, id: &str) -> Result<()> {
        match self.wait(self.store.abort_multipart(&self.path(name), &id.to_owned())) {
            Err(error) if !matches!(error, Error::NotFound { .. }) => Err(error).what(|| format!("give up {name}")),
            _ => Ok(()),
        }
    }

    /// Shows the names of the objects below `directory`, and when each was written.
    pub fn names(&self, directory: &str, visit: &mut dyn FnMut(&str, SystemTime) -> Result<()>) -> Result<()> {
        self.each(directory, &mut |name, object| visit(name, object.last_modified.into()))
    }

    fn each(
        &self,
        directory: &str,
        visit: &mut dyn FnMut(&str, &object_store::ObjectMeta) -> Result<()>,
    ) -> Result<()> {
        let below = self.path("").to_string();
        let mut objects = self.store.list(Some(&self.path(directory)));
        while let Some(object) = self.wait(objects.try_next()).what(|| format!("list {directory}"))? {
            let location = object.location.to_string();
            let name = location.strip_prefix(&below).unwrap_or(&location).trim_start_matches('/');
            visit(name, &object)?;
        }
        Ok(())
    }

    fn read_whole(&self, path: &Path) -> Result<Bytes> {
        let read = self.wait(async { self.store.get(path).await?.bytes().await });
        read.what(|| format!("read {path}"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let sent = self.wait(self.store.put(path, Bytes::copy_from_slice(bytes).into()));
        sent.map(|_| ()).what(|| format!("write {path}"))
    }
}

/// The `NAME=VALUE` lines of a text, names as the stores know them.
fn pairs(text: &str) -> Vec<(String, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once('=').unwrap_or((line, "")));
    pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'))).collect()
}

fn connect(
    settings: &storage::Objects,
    credentials: &[(String, &str)],
    client: reqwest::Client,
) -> object_store::Result<Arc<dyn Store>> {
    let ObjectUrl { cloud, account, bucket, .. } = &settings.url;
    let (connector, retry) = (Connector(client), RetryConfig { retry_timeout: RETRY_MAX, ..RetryConfig::default() });
    let plain = settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let options = ClientOptions::new().with_allow_http(plain);
    Ok(match cloud {
        Cloud::S3 => {
            let mut builder = object_store::aws::AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_client_options(options)
                .with_http_connector(connector)
                .with_retry(retry);
            for (name, value) in credentials {
                builder = builder.with_config(name.parse()?, *value);
            }
            if let Some(region) = &settings.region {
                builder = builder.with_region(region);
            }
            if let Some(endpoint) = &settings.endpoint {
                builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
            }
            Arc::new(builder.build()?)
        }
        Cloud::Gcs => {
            let mut builder = object_store::gcp::GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_client_options(options)
                .with_http_connector(connector)
                .with_retry(retry);
            for (name, value) in credentials {
                builder = builder.with_config(name.parse()?, *value);
            }
            if let Some(endpoint) = &settings.endpoint {
                builder = builder.with_base_url(endpoint);
            }
            Arc::new(builder.build()?)
        }
        Cloud::Azure => {
            let mut builder = object_store::azure::MicrosoftAzureBuilder::from_env()
                .with_account(account.as_deref().unwrap_or_default())
                .with_container_name(bucket)
                .with_client_options(options)
                .with_http_connector(connector)
                .with_retry(retry);
            for (name, value) in credentials {
                builder = builder.with_config(name.parse()?, *value);
            }
            if let Some(endpoint) = &settings.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            Arc::new(builder.build()?)
        }
    })
}

impl Segment {
    /// What the store calls it, once it has parts.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes so far, while they are fewer than a part.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.id.is_none().then_some(&self.rest)
    }

    /// Appends bytes. Part by part they are sent while the next ones come.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.rest.len() == PART_BYTES {
                self.send()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(PART_BYTES - self.rest.len()));
            self.rest.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let id = self.objects.wait(self.objects.store.create_multipart(&self.path));
                self.id.insert(id.what(|| format!("begin {}", self.path))?).clone()
            }
        };
        self.sent()?;
        let number = self.parts.len();
        if number >= PARTS_MAX {
            let bytes_max = PARTS_MAX * PART_BYTES;
            let source = std::io::Error::other(format!("an object has {bytes_max} bytes at most"));
            return Err(source).what(|| format!("write {}", self.path));
        }
        let bytes = Bytes::from(std::mem::take(&mut self.rest));
        let (store, path) = (self.objects.store.clone(), self.path.clone());
        let part = async move { store.put_part(&path, &id, number, bytes.into()).await };
        self.sending = Some(self.objects.driver.handle().spawn(part));
        Ok(())
    }

    /// Waits for the part that is on its way.
    fn sent(&mut self) -> Result<()> {
        let Some(sending) = self.sending.take() else { return Ok(()) };
        let part = self.objects.wait(sending).map_err(|_| StorageError::Worker)?;
        self.parts.push(part.what(|| format!("write {}", self.path))?);
        Ok(())
    }

    /// Makes an object of all that was appended; its size.
    pub fn finish(mut self) -> Result<u64> {
        if self.id.is_none() {
            self.objects.write(&self.path, &self.rest)?;
            return Ok(self.size);
        }
        self.send()?;
        self.sent()?;
        if let Some(id) = self.id.clone() {
            let (store, parts) = (self.objects.store.clone(), std::mem::take(&mut self.parts));
            self.objects
                .wait(store.complete_multipart(&self.path, &id, parts))
                .what(|| format!("finish {}", self.path))?;
            self.id = None;
        }
        Ok(self.size)
    }
}

impl Drop for Segment {
    /// Parts that never become an object would be paid for forever.
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        if let Some(sending) = self.sending.take() {
            sending.abort();
        }
        let (store, path) = (self.objects.store.clone(), self.path.clone());
        // Nobody can be told; what stays is the bucket's lifecycle rule's.
        self.objects.driver.handle().spawn(async move { store.abort_multipart(&path, &id).await });
    }
}

/// A blob among the objects.
struct Remote {
    objects: Objects,
    path: Path,
    size: u64,
}

impl Content for Remote {
    fn size(&self) -> u64 {
        self.size
    }

    /// One request, whatever the length; what it has begun to send it sends, also after the blob was removed.
    fn body(self: Box<Self>, start: u64, length: u64, _: Option<Outlet>) -> Body {
        if length == 0 {
            return Body::empty();
        }
        let range = GetRange::Bounded(start..start + length);
        let content = async move {
            let options = GetOptions { range: Some(range), ..GetOptions::default() };
            Ok::<_, Error>(self.objects.store.get_opts(&self.path, options).await?.into_stream())
        };
        Body::from_stream(futures_util::stream::once(content).try_flatten())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let end = at + buffer.len() as u64;
        if end > self.size {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let read = self.objects.wait(self.objects.store.get_range(&self.path, at..end));
        let bytes = read.map_err(std::io::Error::other)?;
        if bytes.len() != buffer.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}

impl Blobs for Objects {
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Content>>> {
        let path = self.blob(digest);
        match self.wait(self.store.head(&path)) {
            Ok(object) => Ok(Some(Box::new(Remote { objects: self.clone(), path, size: object.size }))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).what(|| format!("open blob {digest}")),
        }
    }

    fn address(&self, digest: &Digest) -> Result<Option<String>> {
        let Some(lifetime) = self.redirect else { return Ok(None) };
        let path = self.blob(digest);
        let url = self.wait(self.store.signed_url(axum::http::Method::GET, &path, lifetime));
        url.map(|url| Some(url.to_string())).what(|| format!("sign an address of {digest}"))
    }

    fn contains(&self, digest: &Digest) -> Result<bool> {
        self.open(digest).map(|content| content.is_some())
    }

    fn put(&self, digest: &Digest, from: &std::path::Path) -> Result<()> {
        let what = || format!("read what is to be {digest}");
        let mut file = File::open(from).what(what)?;
        let mut blob = self.blob_segment(digest);
        let mut buffer = vec![0; crate::limits::SEND_CHUNK_BYTES];
        loop {
            match file.read(&mut buffer).what(what)? {
                0 => return blob.finish().map(|_| ()),
                read => blob.append(&buffer[..read])?,
            }
        }
    }

    fn put_manifest(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        self.write(&self.blob(digest), bytes)
    }

    fn remove(&self, digest: &Digest) -> Result<()> {
        self.delete(&self.blob(digest))
    }

    fn set_aside(&self, digest: &Digest) -> Result<()> {
        let to = self.path(&format!("damaged/{}-{}", digest.algorithm().as_str(), digest.encoded()));
        let path = self.blob(digest);
        self.wait(self.store.rename(&path, &to)).what(|| format!("set {digest} aside"))
    }

    fn list(&self, visit: &mut dyn FnMut(Stored) -> Result<()>) -> Result<()> {
        self.each("blobs", &mut |name, object| {
            let mut words = name.split('/').skip(1);
            let (Some(algorithm), Some(_), Some(encoded)) = (words.next(), words.next(), words.next()) else {
                return Ok(());
            };
            let Ok(digest) = format!("{algorithm}:{encoded}").parse() else { return Ok(()) };
            visit(Stored { digest, size: object.size, modified: object.last_modified.into() })
        })
    }

    fn put_record(&self, repository: &str, digest: &Digest, text: &[u8]) -> Result<()> {
        self.write(&self.record(repository, digest), text)
    }

    fn remove_record(&self, repository: &str, digest: &Digest) -> Result<()> {
        self.delete(&self.record(repository, digest))
    }

    fn records(&self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut names = Vec::new();
        self.each("records", &mut |name, _| {
            names.push(name.to_owned());
            Ok(())
        })?;
        for name in names.iter().filter(|name| name.ends_with(".json")) {
            visit(&self.read_whole(&self.path(name))?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use knarr_testkit::azure::{ACCOUNT, Azure, CONTAINER, KEY};
    use knarr_testkit::gcs::Gcs;
    use knarr_testkit::s3::{BUCKET, S3};

    use super::*;
    use crate::blobs::contract;

    /// The objects of a server for tests.
    pub fn open(s3: &S3, scratch: &std::path::Path) -> Objects {
        let credentials = "# for tests\nAWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=test\n";
        open_at(&format!("s3://{BUCKET}/some/where"), format!("http://{}", s3.address), credentials, scratch)
    }

    /// The same in Azure, with addresses for clients.
    fn open_azure(azure: &Azure, scratch: &std::path::Path) -> Objects {
        let credentials = format!("AZURE_STORAGE_ACCOUNT_KEY={KEY}\n");
        let endpoint = format!("http://{}/{ACCOUNT}", azure.address);
        open_at(&format!("azure://{ACCOUNT}/{CONTAINER}/some/where"), endpoint, &credentials, scratch)
    }

    /// The same in Google's.
    fn open_gcs(gcs: &Gcs, scratch: &std::path::Path) -> Objects {
        let account = scratch.join("account.json");
        std::fs::write(&account, knarr_testkit::gcs::ACCOUNT).unwrap();
        let credentials = format!("GOOGLE_SERVICE_ACCOUNT={}\n", account.display());
        open_at(&format!("gs://{BUCKET}/some/where"), format!("http://{}", gcs.address), &credentials, scratch)
    }

    fn open_at(url: &str, endpoint: String, text: &str, scratch: &std::path::Path) -> Objects {
        open_trusting(None, url, endpoint, text, scratch).unwrap()
    }

    fn open_trusting(
        authorities: Option<&std::path::PathBuf>,
        url: &str,
        endpoint: String,
        text: &str,
        scratch: &std::path::Path,
    ) -> Result<Objects> {
        let credentials = scratch.join("credentials");
        std::fs::write(&credentials, text).unwrap();
        let settings = storage::Objects {
            url: ObjectUrl::try_from(url.to_owned()).unwrap(),
            endpoint: Some(endpoint),
            credentials: Some(credentials),
            region: None,
            redirect: true,
            redirect_lifetime: crate::config::values::Span::seconds(60),
        };
        let client = crate::outbound::content_client(authorities).unwrap();
        Objects::open(&settings, client, Driver::new().unwrap())
    }

    /// Three parts, read back where two of them meet.
    fn check_large(objects: &Objects, scratch: &std::path::Path) {
        let bytes: Vec<u8> = (0..PART_BYTES * 2 + 5).map(|number| (number / 3) as u8).collect();
        let (digest, file) = (Digest::sha256_of(&bytes), scratch.join("large"));
        std::fs::write(&file, &bytes).unwrap();
        objects.put(&digest, &file).unwrap();
        let content = objects.open(&digest).unwrap().unwrap();
        let mut some = vec![0; 10];
        content.read_at(&mut some, PART_BYTES as u64 - 5).unwrap();
        assert_eq!((content.size(), some.as_slice()), (bytes.len() as u64, &bytes[PART_BYTES - 5..PART_BYTES + 5]));
    }

    /// What an upload becomes a blob by.
    fn check_adopted(objects: &Objects) -> Digest {
        let digest = Digest::sha256_of(b"sent");
        let mut segment = objects.segment("uploads/one/segment");
        segment.append(b"sent").unwrap();
        segment.finish().unwrap();
        objects.adopt("uploads/one/segment", 4, &digest).unwrap();
        objects.remove_object("uploads/one/segment").unwrap();
        assert!(objects.contains(&digest).unwrap(), "a blob is a copy of its upload");
        digest
    }

    /// The same, and an address anybody reads it under.
    fn check_adopted_and_addressed(objects: &Objects) {
        let digest = check_adopted(objects);
        let address = objects.address(&digest).unwrap().expect("redirects are asked for");
        let client = crate::outbound::content_client(None).unwrap();
        let read = async { client.get(address).send().await?.error_for_status()?.bytes().await };
        assert_eq!(objects.wait(read).unwrap(), "sent");
    }

    #[test]
    fn objects_keep_the_contract() {
        let Some(s3) = S3::start().unwrap() else { return };
        let scratch = tempfile::tempdir().unwrap();
        contract::check(&open(&s3, scratch.path()), scratch.path(), false);
    }

    #[test]
    fn what_is_larger_than_a_part_is_read_back_from_any_place() {
        let Some(s3) = S3::start().unwrap() else { return };
        let scratch = tempfile::tempdir().unwrap();
        let objects = open(&s3, scratch.path());
        check_large(&objects, scratch.path());
        check_adopted_and_addressed(&objects);
    }

    #[test]
    fn a_store_behind_tls_is_used_by_who_trusts_its_authority_and_by_nobody_else() {
        let scratch = tempfile::tempdir().unwrap();
        let certificate = scratch.path().join("s3.crt");
        let Some(s3) = S3::start_tls(&certificate, &scratch.path().join("s3.key")).unwrap() else { return };
        let make = async {
            let client = crate::outbound::content_client(Some(&certificate)).unwrap();
            client.put(format!("https://{}/{BUCKET}", s3.address)).send().await?.error_for_status()
        };
        Driver::new().unwrap().wait(make).unwrap();
        let open = |authorities| {
            let credentials = "AWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=test\n";
            let (url, endpoint) = (format!("s3://{BUCKET}/some/where"), format!("https://{}", s3.address));
            open_trusting(authorities, &url, endpoint, credentials, scratch.path())
        };
        let error = open(None).err().expect("an authority nobody knows");
        assert!(error.to_string().ends_with("UnknownIssuer"), "{error}");
        contract::check(&open(Some(&certificate)).unwrap(), scratch.path(), false);
    }

    #[test]
    fn objects_of_azure_keep_the_contract() {
        let Some(azure) = Azure::start().unwrap() else { return };
        let scratch = tempfile::tempdir().unwrap();
        contract::check(&open_azure(&azure, scratch.path()), scratch.path(), false);
    }

    #[test]
    fn what_is_larger_than_a_part_is_read_back_from_azure() {
        let Some(azure) = Azure::start().unwrap() else { return };
        let scratch = tempfile::tempdir().unwrap();
        let objects = open_azure(&azure, scratch.path());
        check_large(&objects, scratch.path());
        check_adopted_and_addressed(&objects);
    }

    #[test]
    fn objects_of_google_keep_the_contract() {
        let Some(gcs) = Gcs::start().unwrap() else { return };
        let scratch = tempfile::tempdir().unwrap();
        contract::check(&open_gcs(&gcs, scratch.path()), scratch.path(), false);
    }

    #[test]
    fn what_is_larger_than_a_part_is_read_back_from_google() {
        let Some(gcs) = Gcs::start().unwrap() else { return };
        let scratch = tempfile::tempdir().unwrap();
        let objects = open_gcs(&gcs, scratch.path());
        check_large(&objects, scratch.path());
        check_adopted(&objects);
    }

    #[test]
    fn credentials_are_lines_of_names_and_values() {
        let text = "# ours\n\nAWS_ACCESS_KEY_ID = a\nAWS_SECRET_ACCESS_KEY=\"b=c\"\n";
        let expect = [("aws_access_key_id".to_owned(), "a"), ("aws_secret_access_key".to_owned(), "b=c")];
        assert_eq!(pairs(text), expect);
    }
}
