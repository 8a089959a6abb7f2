//! `--security-opt`.

use serde::{Deserialize, Serialize};

use super::ParseError;

/// Which system calls the processes inside may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompChoice {
    /// The built-in profile.
    #[default]
    Default,
    /// All of them.
    Unconfined,
    /// A profile in docker's JSON, already read.
    Profile(String),
}

/// What `--security-opt` says, all of its occurrences together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// `seccomp=…`
    pub seccomp: SeccompChoice,
    /// `no-new-privileges[=true|false]`
    pub no_new_privileges: bool,
    /// `apparmor=PROFILE`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// `label=…`: `user:x`, `role:x`, `type:x`, `level:x`, `disable`
    pub label: Vec<String>,
    /// `systempaths=unconfined`: nothing masked, nothing read-only under /proc and /sys.
    pub systempaths_unconfined: bool,
}

impl Security {
    /// Takes one `--security-opt`. `read_profile` gives the text of a profile file.
    pub fn apply(
        &mut self,
        text: &str,
        read_profile: impl FnOnce(&str) -> Result<String, ParseError>,
    ) -> Result<(), ParseError> {
        // Docker accepts a colon as the older separator.
        let split = text.split_once('=').or_else(|| text.split_once(':'));
        match split.unwrap_or((text, "")) {
            ("no-new-privileges", "" | "true") => self.no_new_privileges = true,
            ("no-new-privileges", "false") => self.no_new_privileges = false,
            ("seccomp", "unconfined") => self.seccomp = SeccompChoice::Unconfined,
            ("seccomp", "builtin" | "default") => self.seccomp = SeccompChoice::Default,
            ("seccomp", path) if !path.is_empty() => self.seccomp = SeccompChoice::Profile(read_profile(path)?),
            ("apparmor", profile) if !profile.is_empty() => self.apparmor = Some(profile.to_owned()),
            ("label", value) if !value.is_empty() => self.label.push(value.to_owned()),
            ("systempaths", "unconfined") => self.systempaths_unconfined = true,
            _ => {
                let why = "expected seccomp=…, no-new-privileges, apparmor=…, label=… or systempaths=unconfined";
                return Err(ParseError::new("security-opt", text, why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[&str]) -> Result<Security, ParseError> {
        let mut security = Security::default();
        for option in options {
            security.apply(option, |path| Ok(format!("text of {path}")))?;
        }
        Ok(security)
    }

    #[test]
    fn a_profile_is_kept_as_text() {
        let security = parsed(&["seccomp=p.json", "no-new-privileges:true"]).unwrap();
        assert_eq!(security.seccomp, SeccompChoice::Profile("text of p.json".into()));
        assert!(security.no_new_privileges);
    }

    #[test]
    fn the_last_word_wins() {
        let security = parsed(&["seccomp=unconfined", "seccomp=builtin", "no-new-privileges=false"]).unwrap();
        assert_eq!(security, Security::default());
    }

    #[test]
    fn unknown_options_are_refused() {
        for text in ["", "seccomp", "seccomp=", "proc=x", "systempaths=x", "no-new-privileges=maybe"] {
            assert!(parsed(&[text]).is_err(), "{text:?}");
        }
    }
}
