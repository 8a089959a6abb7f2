//! `--dry-run`: what would happen, in the text the golden tests use too. Nothing is made and nothing is pulled.

use knarr_store::RootMounts;

use super::{bundle, create};
use crate::image::pull::NoPulls;
use crate::wanted::{PullPolicy, Wanted};
use crate::{Context, Error, Result, resolve};

/// Stands for the id that does not exist yet.
const ID: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Which representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The wish, as JSON.
    Options,
    /// The runtime document, as JSON.
    Spec,
    /// The steps of the runtime.
    Plan,
}

impl std::str::FromStr for Stage {
    type Err = crate::wanted::ParseError;

    fn from_str(text: &str) -> Result<Stage, Self::Err> {
        match text {
            "options" => Ok(Stage::Options),
            "spec" => Ok(Stage::Spec),
            "plan" => Ok(Stage::Plan),
            _ => Err(crate::wanted::ParseError::new("dry-run", text, "expected options, spec or plan")),
        }
    }
}

/// The text of one stage.
pub fn dry_run(context: &Context, wanted: Wanted, stage: Stage) -> Result<String> {
    if stage == Stage::Options {
        return Ok(options_text(&wanted));
    }
    let image = resolve::image(context, &wanted.image, PullPolicy::Never, wanted.platform.as_deref(), &NoPulls)?;
    let root = context.store.image_mounts(&image)?;
    let draft = create::draft(context, wanted, &image, ID, &root, true)?;
    if stage == Stage::Spec {
        return Ok(spec_text(&draft.spec));
    }
    let dir = context.paths.container(ID);
    let snapshot = context.paths.state.join("snapshots").join(ID);
    let root = RootMounts { upper: Some(snapshot.join("upper")), work: Some(snapshot.join("work")), ..root };
    let options = bundle::create_options(ID, dir, root, draft.no_cgroup);
    let plan = knarr_runtime::plan(&draft.spec, &knarr_runtime::Host::probe(), &options).map_err(Error::Plan)?;
    Ok(plan.to_string())
}

/// A wish as indented JSON.
pub fn options_text(wanted: &Wanted) -> String {
    serde_json::to_string_pretty(wanted).expect("a wish has string keys and finite numbers") + "\n"
}

/// A document as indented JSON with its keys in order.
pub fn spec_text(spec: &knarr_spec::runtime::Spec) -> String {
    let mut value = serde_json::to_value(spec).expect("a document has string keys and finite numbers");
    // The sets of capabilities come in any order.
    let sets = value.pointer_mut("/process/capabilities").and_then(|sets| sets.as_object_mut());
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(|set| set.as_array_mut()) {
        set.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    serde_json::to_string_pretty(&value).expect("a value has string keys") + "\n"
}
