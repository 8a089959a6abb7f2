//! Settings of distribution's registry, translated.
//!
//! Spec: distribution's config.yml, version 0.1. Law: what has no counterpart is named with its line and never passed over;
//! what comes out is checked as if somebody had written it.
//! Not here: content, which its own layout keeps.

use std::collections::BTreeMap;
use std::fmt::Write;

use saphyr_parser::{Event, Parser};

/// Keys and elements that may stand inside one another.
const DEPTH_MAX: usize = 32;
/// Values one file may have; real ones have fifty.
const VALUES_MAX: usize = 10_000;

/// A translation.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// Our settings.
    pub toml: String,
    /// What was left out, or means something else here.
    pub notes: Vec<Note>,
}

/// A remark about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where it stands.
    pub line: usize,
    /// Its path.
    pub key: String,
    /// What about it.
    pub what: String,
}

/// Why a file could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ImportError {
    line: usize,
    what: String,
}

/// A scalar with the path that leads to it: `http.tls.clientcas.0`.
#[derive(Debug, PartialEq, Eq)]
struct Leaf {
    value: String,
    line: usize,
}

/// Translates the text of a config.yml.
pub fn import(yaml: &str) -> Result<Imported, ImportError> {
    let mut source = Source { leaves: flatten(yaml)?, notes: Vec::new() };
    let mut out = Tables::default();
    source.drop_silently("version");
    log(&mut source, &mut out);
    http(&mut source, &mut out);
    auth(&mut source, &mut out);
    storage(&mut source, &mut out);
    proxy(&mut source, &mut out);
    notifications(&mut source, &mut out);
    let mut notes = source.notes;
    for (key, leaf) in source.leaves {
        notes.push(Note { line: leaf.line, key, what: "has no counterpart".into() });
    }
    notes.sort_by_key(|note| note.line);
    Ok(Imported { toml: out.render(), notes })
}

fn flatten(yaml: &str) -> Result<BTreeMap<String, Leaf>, ImportError> {
    /// A mapping waits for a key or has one; a sequence counts.
    enum Frame {
        Mapping(Option<String>),
        Sequence(usize),
    }
    fn path(stack: &[Frame]) -> String {
        let words = stack.iter().map(|frame| match frame {
            Frame::Mapping(key) => key.clone().unwrap_or_default(),
            Frame::Sequence(index) => index.to_string(),
        });
        words.collect::<Vec<_>>().join(".")
    }
    fn done(stack: &mut [Frame]) {
        match stack.last_mut() {
            Some(Frame::Mapping(key)) => *key = None,
            Some(Frame::Sequence(index)) => *index += 1,
            None => {}
        }
    }
    let (mut leaves, mut stack) = (BTreeMap::new(), Vec::new());
    for event in Parser::new_from_str(yaml) {
        let (event, span) =
            event.map_err(|error| ImportError { line: error.marker().line(), what: error.info().to_owned() })?;
        let line = span.start.line();
        let fail = |what: &str| ImportError { line, what: what.to_owned() };
        match event {
            Event::Scalar(text, ..) => match stack.last_mut() {
                Some(Frame::Mapping(key @ None)) => *key = Some(text.into_owned()),
                Some(_) => {
                    leaves.insert(path(&stack), Leaf { value: text.into_owned(), line });
                    done(&mut stack);
                }
                None if text.is_empty() || &*text == "~" => {}
                None => return Err(fail("expected keys and values")),
            },
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                if matches!(stack.last(), Some(Frame::Mapping(None))) {
                    return Err(fail("a key must be a word"));
                }
                let mapping = matches!(event, Event::MappingStart(..));
                stack.push(if mapping { Frame::Mapping(None) } else { Frame::Sequence(0) });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                stack.pop();
                done(&mut stack);
            }
            Event::Alias(_) => return Err(fail("aliases (*name) are not understood here")),
            _ => {}
        }
        if stack.len() > DEPTH_MAX || leaves.len() > VALUES_MAX {
            return Err(fail("too deep or too long for settings"));
        }
    }
    Ok(leaves)
}

struct Source {
    leaves: BTreeMap<String, Leaf>,
    notes: Vec<Note>,
}

impl Source {
    fn take(&mut self, key: &str) -> Option<String> {
        self.leaves.remove(key).map(|leaf| leaf.value)
    }

    /// A value, with a remark.
    fn take_noting(&mut self, key: &str, what: &str) -> Option<String> {
        let leaf = self.leaves.remove(key)?;
        self.notes.push(Note { line: leaf.line, key: key.to_owned(), what: what.to_owned() });
        Some(leaf.value)
    }

    /// Keys that say what holds here anyway.
    fn drop_silently(&mut self, key: &str) {
        self.leaves.remove(key);
    }

    fn is(&mut self, key: &str) -> bool {
        self.take(key).as_deref() == Some("true")
    }

    /// The elements of a list.
    fn list(&mut self, key: &str) -> Vec<String> {
        (0..).map_while(|index| self.take(&format!("{key}.{index}"))).collect()
    }

    /// What stands below a key: the rest of each path, and the value.
    fn below(&mut self, key: &str) -> Vec<(String, String)> {
        let prefix = format!("{key}.");
        let keys: Vec<String> = self.leaves.keys().filter(|found| found.starts_with(&prefix)).cloned().collect();
        keys.iter().filter_map(|found| Some((found[prefix.len()..].to_owned(), self.take(found)?))).collect()
    }

    fn has_below(&self, key: &str) -> bool {
        let prefix = format!("{key}.");
        self.leaves.keys().any(|found| found.starts_with(&prefix))
    }
}

/// Lines by table, in the order of their first line.
#[derive(Default)]
struct Tables(Vec<(String, Vec<String>)>);

impl Tables {
    fn text(&mut self, table: &str, key: &str, value: &str) {
        self.raw(table, key, &quoted(value));
    }

    fn raw(&mut self, table: &str, key: &str, value: &str) {
        let line = format!("{key} = {value}");
        match self.0.iter_mut().find(|(name, _)| name == table) {
            Some((_, lines)) => lines.push(line),
            None => self.0.push((table.to_owned(), vec![line])),
        }
    }

    /// An element of a list of tables.
    fn element(&mut self, table: &str, lines: Vec<String>) {
        self.0.push((format!("[{table}]"), lines));
    }

    fn render(&self) -> String {
        let mut out = String::from("# Made by `knarr registry config import`.\n");
        for (table, lines) in &self.0 {
            let _ = write!(out, "\n[{table}]\n{}\n", lines.join("\n"));
        }
        out
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out + "\""
}

fn quoted_list(all: &[String]) -> String {
    format!("[{}]", all.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", "))
}

fn log(source: &mut Source, out: &mut Tables) {
    let level = source.take("log.level").or_else(|| source.take("loglevel"));
    match level.as_deref() {
        Some("debug" | "trace") => out.text("log", "level", "debug"),
        Some("warn" | "warning") => out.text("log", "level", "warn"),
        Some("error" | "fatal" | "panic") => out.text("log", "level", "error"),
        _ => out.text("log", "level", "info"),
    }
    match source.leaves.get("log.formatter").map(|leaf| leaf.value.as_str()) {
        Some("json") => out.text("log", "format", "json"),
        Some("text") | None => {}
        Some(_) => {
            source.take_noting("log.formatter", "only text and json are known here; text is used");
        }
    }
    source.drop_silently("log.formatter");
    let quiet = source.is("log.accesslog.disabled");
    out.raw("log", "requests", if quiet { "false" } else { "true" });
}

fn http(source: &mut Source, out: &mut Tables) {
    let listen = source.take("http.addr").unwrap_or_else(|| ":5000".into());
    // Go listens everywhere where no host is named.
    let listen = match listen.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => listen.replacen("localhost:", "127.0.0.1:", 1),
    };
    let local = listen.starts_with("127.") || listen.starts_with("[::1]");
    out.text("http", "listen", &listen);
    if let Some(url) = source.take("http.host") {
        out.text("http", "url", &url);
    }
    if let Some(grace) = source.take("http.draintimeout") {
        out.text("http", "shutdown_grace", &grace);
    }
    for needless in ["http.secret", "http.relativeurls", "http.http2.disabled", "http.net"] {
        source.drop_silently(needless);
    }
    let (certificate, key) = (source.take("http.tls.certificate"), source.take("http.tls.key"));
    if let (Some(certificate), Some(key)) = (&certificate, &key) {
        out.text("tls", "certificate", certificate);
        out.text("tls", "key", key);
        if matches!(source.leaves.get("http.tls.minimumtls"), Some(leaf) if leaf.value == "tls1.2") {
            source.drop_silently("http.tls.minimumtls");
        }
        match source.list("http.tls.clientcas").as_slice() {
            [] => {}
            [one] => out.text("tls", "client_ca", one),
            [first, ..] => {
                out.text("tls", "client_ca", first);
                let what = "one file of authorities is read here: put them all into the first".to_owned();
                source.notes.push(Note { line: 0, key: "http.tls.clientcas".into(), what });
            }
        }
    } else if !local {
        out.raw("http", "plain", "true");
    }
    let metrics = source.is("http.debug.prometheus.enabled");
    source.drop_silently("http.debug.prometheus.path");
    let debug = source.leaves.get("http.debug.addr").map(|leaf| leaf.value.clone());
    if let Some(address) = debug.filter(|_| metrics) {
        source.drop_silently("http.debug.addr");
        let listen = address.strip_prefix(':').map_or(address.clone(), |port| format!("0.0.0.0:{port}"));
        out.text("metrics", "listen", &listen.replacen("localhost:", "127.0.0.1:", 1));
    }
}

fn auth(source: &mut Source, out: &mut Tables) {
    if let Some(path) = source.take("auth.htpasswd.path") {
        out.text("auth", "htpasswd", &path);
        out.text("auth", "scheme", "basic");
    }
    if let Some(realm) = source.take("auth.htpasswd.realm") {
        out.text("auth", "realm", &realm);
    }
    let Some(url) = source.take("auth.token.realm") else { return };
    out.text("auth.token", "url", &url);
    let service = source.take("auth.token.service").unwrap_or_default();
    out.text("auth.token", "service", &service);
    let issuer = source.take("auth.token.issuer").unwrap_or_default();
    let mut lines = vec![
        format!("issuer = {}", quoted(&issuer)),
        format!("audience = {}", quoted_list(&[service])),
        "grants = \"token\"".to_owned(),
    ];
    match source.take("auth.token.jwks") {
        Some(jwks) => lines.push(format!("jwks = {}", quoted(&jwks))),
        None => {
            lines.push("jwks = \"/etc/knarr/jwks.json\"".into());
            let what = "certificates are not read here: give the same keys as a JWK set in auth.issuer.jwks";
            source.take_noting("auth.token.rootcertbundle", what);
        }
    }
    out.element("auth.issuer", lines);
}

fn storage(source: &mut Source, out: &mut Tables) {
    let other =
        "the content is not taken over: its layout is another; push it again, or mirror it from the old registry";
    if let Some(root) = source.take_noting("storage.filesystem.rootdirectory", other) {
        out.text("storage", "root", &root);
    }
    objects(source, out, other);
    source.drop_silently("storage.filesystem.maxthreads");
    for (key, _) in [("blobdescriptor", ()), ("layerinfo", ())] {
        source.drop_silently(&format!("storage.cache.{key}"));
    }
    if out.0.iter().any(|(table, _)| table == "storage.blobs") && !source.is("storage.redirect.disable") {
        out.raw("storage.blobs", "redirect", "true");
    }
    source.drop_silently("storage.redirect.disable");
    let read_only = source.is("storage.maintenance.readonly.enabled");
    let deletes = source.is("storage.delete.enabled");
    let names = out.0.iter().any(|(table, _)| table == "auth" || table == "[auth.issuer]");
    // There, deleting is off until it is switched on; here policies say it. A token server decides by itself.
    let decided_elsewhere = out.0.iter().any(|(table, _)| table == "[auth.issuer]");
    if !decided_elsewhere && (read_only || !deletes) {
        let allow = if read_only { "[\"pull\"]" } else { "[\"pull\", \"push\"]" };
        let subjects = if names { "[\"**\"]" } else { "[\"anonymous\"]" };
        out.element("policy", vec![format!("subjects = {subjects}"), format!("allow = {allow}")]);
    }
}

/// The object store, if the blobs are in one.
fn objects(source: &mut Source, out: &mut Tables, other: &str) {
    let clouds = [("s3", "s3", "bucket"), ("gcs", "gs", "bucket"), ("azure", "azure", "container")];
    for (driver, scheme, bucket) in clouds {
        let Some(bucket) = source.take_noting(&format!("storage.{driver}.{bucket}"), other) else { continue };
        let account = source.take("storage.azure.accountname").map(|name| format!("{name}/")).unwrap_or_default();
        let prefix = source.take(&format!("storage.{driver}.rootdirectory")).unwrap_or_default();
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        out.text("storage.blobs", "url", &format!("{scheme}://{account}{bucket}{slash}{prefix}"));
        if let Some(region) = source.take(&format!("storage.{driver}.region")) {
            out.text("storage.blobs", "region", &region);
        }
        if let Some(endpoint) = source.take(&format!("storage.{driver}.regionendpoint")) {
            let scheme = if endpoint.contains("://") { "" } else { "https://" };
            out.text("storage.blobs", "endpoint", &format!("{scheme}{endpoint}"));
        }
        for secret in ["accesskey", "secretkey", "accountkey", "keyfile"] {
            let where_to = "belongs into the environment, or into a file named by storage.blobs.credentials";
            source.take_noting(&format!("storage.{driver}.{secret}"), where_to);
        }
    }
}

/// There, a registry that is a proxy has the upstream's names for its own; here they begin with a prefix, and `?ns=` leads to them.
fn proxy(source: &mut Source, out: &mut Tables) {
    let names =
        "the repositories are found below the upstream's name, and by clients that say ?ns=; nothing else is read-only";
    let Some(remote) = source.take_noting("proxy.remoteurl", names) else { return };
    let (scheme, rest) = remote.split_once("://").unwrap_or(("https", &remote));
    let host = rest.split('/').next().unwrap_or_default();
    let host = if host == "registry-1.docker.io" { "docker.io" } else { host };
    let mut lines = vec![format!("upstream = {}", quoted(host))];
    if host.contains(':') {
        lines.push(format!("prefix = {}", quoted(&host.replace(':', "-"))));
    }
    if scheme == "http" {
        lines.push("insecure = true".into());
    }
    if let Some(user) = source.take("proxy.username") {
        lines.push(format!("user = {}", quoted(&user)));
    }
    source.take_noting("proxy.password", "write it into a file, and name that as password_file in [[mirror]]");
    source.take_noting("proxy.ttl", "what was fetched stays; [[retention]] with keep_pulled_within removes it, fresh says how long a tag is believed");
    out.element("mirror", lines);
}

fn notifications(source: &mut Source, out: &mut Tables) {
    for index in 0.. {
        let at = format!("notifications.endpoints.{index}");
        if !source.has_below(&at) {
            return;
        }
        source.drop_silently(&format!("{at}.name"));
        let disabled = source.is(&format!("{at}.disabled"));
        let url = source.take(&format!("{at}.url")).unwrap_or_default();
        for needless in ["timeout", "threshold", "backoff"] {
            source.take_noting(
                &format!("{at}.{needless}"),
                "deliveries are tried again with growing pauses for webhook.retry_for",
            );
        }
        let ignored = source.list(&format!("{at}.ignore.actions"));
        let events: Vec<String> = ["push", "pull", "delete", "mount"]
            .map(str::to_owned)
            .into_iter()
            .filter(|event| !ignored.contains(event))
            .collect();
        let mut headers = BTreeMap::new();
        for (name, value) in source.below(&format!("{at}.headers")) {
            let name = name.rsplit_once('.').map_or(name.as_str(), |(name, _)| name).to_owned();
            headers.insert(name, value);
        }
        if disabled {
            continue;
        }
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        let mut lines = vec![
            format!("url = {}", quoted(&url)),
            "format = \"distribution\"".to_owned(),
            "blobs = true".to_owned(),
            format!("events = {}", quoted_list(&events)),
        ];
        if !headers.is_empty() {
            lines.push(format!("headers = {{ {} }}", headers.join(", ")));
        }
        out.element("webhook", lines);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Settings;

    const YAML: &str = r#"version: 0.1
log:
  level: warn
  formatter: logstash
  fields: {service: registry}
storage:
  filesystem:
    rootdirectory: /var/lib/registry
  delete:
    enabled: true
  cache:
    blobdescriptor: inmemory
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
  tls:
    certificate: /etc/c.pem
    key: /etc/k.pem
  debug:
    addr: localhost:5001
    prometheus: {enabled: true, path: /metrics}
auth:
  htpasswd:
    realm: harbour
    path: /etc/htpasswd
notifications:
  endpoints:
    - name: hook
      url: https://hook.example/x
      headers:
        Authorization: ["Bearer \"x\""]
      ignore: {actions: [pull]}
redis:
  addrs: [localhost:6379]
"#;

    fn settings(yaml: &str) -> (Settings, Vec<String>) {
        let imported = import(yaml).unwrap();
        let settings = Settings::parse(&imported.toml, Path::new("r.toml"));
        let settings = settings.unwrap_or_else(|error| panic!("{error}\n{}", imported.toml));
        (settings, imported.notes.iter().map(|note| format!("{}: {}", note.line, note.key)).collect())
    }

    #[test]
    fn a_proxy_becomes_a_mirror() {
        let yaml = "proxy:\n  remoteurl: https://registry-1.docker.io\n  username: ship\n  password: hold-fast\n";
        let (read, notes) = settings(yaml);
        let mirror = &read.mirror[0];
        assert_eq!((mirror.upstream.as_str(), mirror.prefix(), mirror.insecure), ("docker.io", "docker.io", false));
        assert_eq!(
            (mirror.user.as_deref(), notes),
            (Some("ship"), vec!["2: proxy.remoteurl".into(), "4: proxy.password".into()])
        );
        let (read, _) = settings("proxy: {remoteurl: 'http://127.0.0.1:5001'}\n");
        let mirror = &read.mirror[0];
        assert_eq!(
            (mirror.upstream.as_str(), mirror.prefix(), mirror.insecure),
            ("127.0.0.1:5001", "127.0.0.1-5001", true)
        );
    }

    #[test]
    fn buckets_are_taken_over_and_their_secrets_named() {
        let yaml = "storage:\n  s3: {bucket: images, region: eu-1, regionendpoint: s3.example, rootdirectory: /a/b, secretkey: x}\n";
        let (read, notes) = settings(yaml);
        let blobs = read.storage.blobs.unwrap();
        assert_eq!((blobs.url.to_string().as_str(), blobs.region.as_deref()), ("s3://images/a/b", Some("eu-1")));
        assert_eq!((blobs.endpoint.as_deref(), blobs.redirect), (Some("https://s3.example"), true));
        assert_eq!(notes, ["2: storage.s3.bucket", "2: storage.s3.secretkey"]);
        let (read, _) = settings("storage: {azure: {accountname: a, container: c}, redirect: {disable: true}}\n");
        let blobs = read.storage.blobs.unwrap();
        assert_eq!((blobs.url.to_string().as_str(), blobs.redirect), ("azure://a/c", false));
    }

    #[test]
    fn what_has_a_counterpart_is_translated_and_the_rest_is_named() {
        let (settings, notes) = settings(YAML);
        assert_eq!(settings.http.listen.0.to_string(), "0.0.0.0:5000");
        assert_eq!(settings.storage.root, Path::new("/var/lib/registry"));
        assert_eq!(settings.auth.htpasswd.as_deref(), Some(Path::new("/etc/htpasswd")));
        assert_eq!((settings.auth.realm.as_str(), settings.log.requests), ("harbour", true));
        assert_eq!(settings.metrics.listen.unwrap().0.to_string(), "127.0.0.1:5001");
        assert_eq!(settings.webhook[0].headers["Authorization"], "Bearer \"x\"");
        assert_eq!(settings.webhook[0].events.len(), 3);
        assert!(settings.policy.is_empty());
        assert_eq!(
            notes,
            [
                "4: log.formatter",
                "5: log.fields.service",
                "8: storage.filesystem.rootdirectory",
                "16: http.headers.X-Content-Type-Options.0",
                "35: redis.addrs.0",
            ]
        );
    }

    #[test]
    fn deleting_stays_off_where_it_was_off() {
        let (settings, _) = settings("http: {addr: 'localhost:5000'}\n");
        assert_eq!(settings.policy[0].allow.len(), 2);
        assert!(!settings.http.plain);
    }

    #[test]
    fn a_token_server_goes_on_to_decide() {
        let (settings, notes) = settings(
            "auth: {token: {realm: 'https://auth/token', service: r, issuer: i, rootcertbundle: /etc/c.pem}}\n",
        );
        assert_eq!(settings.auth.token.url.as_deref(), Some("https://auth/token"));
        assert_eq!((settings.auth.issuer[0].issuer.as_str(), settings.http.plain), ("i", true));
        assert_eq!(notes, ["1: auth.token.rootcertbundle"]);
    }

    #[test]
    fn what_is_no_settings_file_is_refused_with_its_line() {
        assert!(import("a: [1\n").is_err());
        assert_eq!(import("a: &x 1\nb: *x\n").unwrap_err().line, 2);
        assert!(import("just words").is_err());
        assert!(import(&"[".repeat(100)).is_err());
        assert!(import("").is_ok());
    }

    proptest! {
        #[test]
        fn no_text_brings_the_reader_down(text in "([a-z]{0,4}[:\\-] ?|[\\[\\]{},\"'&*|>#\n ]|\\PC){0,60}") {
            if let Ok(imported) = import(&text) {
                prop_assert!(toml::from_str::<toml::Table>(&imported.toml).is_ok(), "{}", imported.toml);
            }
        }
    }
}
