//! `knarr registry …`: its command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::server::{self, Config, Registry};

const HELP: &str = "\
Serve a registry from a directory

Usage: knarr registry serve [OPTIONS]

Options:
      --root DIR            where everything is kept [default: /var/lib/knarr-registry]
      --listen ADDRESS      [default: 127.0.0.1:5000]
      --require-blobs       refuse image manifests whose blobs have not been pushed [default]
      --allow-sparse        accept image manifests whose blobs have not been pushed
  -h, --help

Example:
  knarr registry serve --root ./registry &
  knarr pull 127.0.0.1:5000/team/app:1.0
";

/// Runs `knarr registry` with the words behind it.
pub fn applet(args: Vec<OsString>) -> ExitCode {
    match parse(&args) {
        Ok(Some(config)) => run(config),
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("knarr registry: {message}\nhint: see 'knarr registry serve --help'");
            ExitCode::from(125)
        }
    }
}

/// `None` where help is asked for.
fn parse(args: &[OsString]) -> Result<Option<Config>, String> {
    let mut words = args.iter().map(|word| word.to_str().ok_or_else(|| format!("{word:?} is not UTF-8")));
    match words.next().transpose()? {
        Some("serve") => {}
        None | Some("-h" | "--help" | "help") => return Ok(None),
        Some(other) => return Err(format!("unknown command {other:?}")),
    }
    let mut config = Config {
        root: PathBuf::from("/var/lib/knarr-registry"),
        listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
        sparse_manifests: false,
    };
    while let Some(word) = words.next().transpose()? {
        let (flag, attached) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
        let mut value = || match attached {
            Some(value) => Ok(value),
            None => words.next().transpose()?.ok_or_else(|| format!("{flag} needs a value")),
        };
        match flag {
            "--root" => config.root = PathBuf::from(value()?),
            "--listen" => config.listen = address(value()?)?,
            "--require-blobs" => config.sparse_manifests = false,
            "--allow-sparse" => config.sparse_manifests = true,
            "-h" | "--help" => return Ok(None),
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    Ok(Some(config))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let with_host = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    with_host.parse().map_err(|_| format!("{text:?} is not an address: expected IP:PORT, as in 127.0.0.1:5000"))
}

fn run(config: Config) -> ExitCode {
    let root = config.root.clone();
    let outcome =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(server::ServeError::Serve).and_then(
            |runtime| {
                let registry = Registry::open(config)?;
                runtime.block_on(server::serve(registry, |address| {
                    eprintln!("knarr registry: serving {} on http://{address}", root.display());
                }))
            },
        );
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Option<Config>, String> {
        parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_listens_beyond_loopback_unless_asked() {
        assert!(parse_words(&["serve"]).unwrap().unwrap().listen.ip().is_loopback());
        assert!(parse_words(&["serve", "--listen", ":6000"]).unwrap().unwrap().listen.ip().is_loopback());
        assert!(!parse_words(&["serve", "--listen=0.0.0.0:5000"]).unwrap().unwrap().listen.ip().is_loopback());
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(parse_words(&["server"]).is_err());
        assert!(parse_words(&["serve", "--port", "1"]).is_err());
        assert!(parse_words(&["serve", "--root"]).is_err());
    }
}
