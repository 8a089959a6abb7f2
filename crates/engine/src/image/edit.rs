//! Changes of an image's config and manifest, one by one: umoci's `config`, crane's `mutate`.
//!
//! Law: pure.

use knarr_spec::image::{ContainerConfig, Empty};

use super::compose::Draft;
use super::problem::ImageProblem;

/// What is to be another; what is `None` or empty stays.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// `user[:group]`.
    pub user: Option<String>,
    /// Current directory of the process.
    pub workdir: Option<String>,
    /// Signal that asks the process to end.
    pub stop_signal: Option<String>,
    /// `NAME=value`, each replaces its like.
    pub env: Vec<String>,
    /// `name=value`.
    pub labels: Vec<String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Directories that get a volume.
    pub volumes: Vec<String>,
    /// Replaces the entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the command.
    pub cmd: Option<Vec<String>>,
    /// Who made it.
    pub author: Option<String>,
    /// When, RFC 3339.
    pub created: Option<String>,
    /// `amd64`.
    pub architecture: Option<String>,
    /// `linux`.
    pub os: Option<String>,
    /// `v8`.
    pub variant: Option<String>,
    /// `name=value`, of the manifest.
    pub annotations: Vec<String>,
    /// Fields to empty first, in umoci's words.
    pub clear: Vec<String>,
}

impl Edit {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        format!("{self:?}") == format!("{:?}", Edit::default())
    }

    /// Makes the changes.
    pub fn apply(&self, draft: &mut Draft) -> Result<(), ImageProblem> {
        self.clear.iter().try_for_each(|field| clear(draft, field))?;
        let config = &mut draft.config.config;
        set(&mut config.user, &self.user);
        set(&mut config.working_dir, &self.workdir);
        replace(&mut config.stop_signal, &self.stop_signal);
        replace(&mut config.entrypoint, &self.entrypoint);
        replace(&mut config.cmd, &self.cmd);
        for entry in &self.env {
            pair(entry)?;
            put_env(config, entry);
        }
        for label in &self.labels {
            let (name, value) = pair(label)?;
            config.labels.insert(name, value);
        }
        let named = |names: &[String]| names.iter().map(|name| (name.clone(), Empty {})).collect::<Vec<_>>();
        config.exposed_ports.extend(named(&self.exposed_ports));
        config.volumes.extend(named(&self.volumes));
        replace(&mut draft.config.author, &self.author);
        replace(&mut draft.config.created, &self.created);
        set(&mut draft.config.platform.architecture, &self.architecture);
        set(&mut draft.config.platform.os, &self.os);
        replace(&mut draft.config.platform.variant, &self.variant);
        for annotation in &self.annotations {
            let (name, value) = pair(annotation)?;
            draft.manifest.annotations.insert(name, value);
        }
        Ok(())
    }
}

fn set(field: &mut String, value: &Option<String>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

fn replace<T: Clone>(field: &mut Option<T>, value: &Option<T>) {
    if value.is_some() {
        field.clone_from(value);
    }
}

fn pair(text: &str) -> Result<(String, String), ImageProblem> {
    let wrong = || ImageProblem::Change { text: text.to_owned(), why: "expected NAME=VALUE" };
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    Ok((name.to_owned(), value.to_owned()))
}

fn put_env(config: &mut ContainerConfig, entry: &str) {
    let name = |entry: &str| entry.split('=').next().map(str::to_owned);
    match config.env.iter_mut().find(|known| name(known) == name(entry)) {
        Some(known) => entry.clone_into(known),
        None => config.env.push(entry.to_owned()),
    }
}

fn clear(draft: &mut Draft, field: &str) -> Result<(), ImageProblem> {
    let config = &mut draft.config.config;
    match field {
        "config.labels" => config.labels.clear(),
        "config.exposedports" => config.exposed_ports.clear(),
        "config.env" => config.env.clear(),
        "config.entrypoint" => config.entrypoint = None,
        "config.cmd" => config.cmd = None,
        "config.volume" => config.volumes.clear(),
        "manifest.annotations" => draft.manifest.annotations.clear(),
        _ => return Err(ImageProblem::Change { text: field.to_owned(), why: "is no field that can be cleared" }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use knarr_spec::Platform;

    use super::*;

    #[test]
    fn changes_replace_add_and_clear() {
        let mut draft = Draft::scratch(Platform::host());
        draft.config.config.env = vec!["A=1".to_owned(), "B=1".to_owned()];
        draft.config.config.labels.insert("old".to_owned(), String::new());
        let edit = Edit {
            env: vec!["A=2".to_owned(), "C=3=4".to_owned()],
            labels: vec!["new=x".to_owned()],
            cmd: Some(vec!["sh".to_owned()]),
            clear: vec!["config.labels".to_owned()],
            ..Edit::default()
        };
        edit.apply(&mut draft).unwrap();
        assert_eq!(draft.config.config.env, ["A=2", "B=1", "C=3=4"]);
        assert_eq!(draft.config.config.labels.keys().collect::<Vec<_>>(), ["new"]);
        assert!(Edit { clear: vec!["rootfs".to_owned()], ..Edit::default() }.apply(&mut draft).is_err());
        assert!(Edit { env: vec!["A".to_owned()], ..Edit::default() }.apply(&mut draft).is_err());
        assert!(Edit::default().is_empty() && !edit.is_empty());
    }
}
