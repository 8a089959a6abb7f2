//! `ps`.

use knarr_engine::container;
use knarr_engine::image::df::container_bytes;
use knarr_engine::{Container, Context, Status, time};

use crate::failure::Failure;
use crate::listing::render;
use crate::output::{print, terminal_width};
use crate::rows::{self, CONTAINERS, CONTAINERS_WITH_SIZE, state_word};
use crate::verb::Verb;
use crate::world::World;

/// List containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Those that do not run as well
    #[arg(long, short = 'a')]
    all: bool,
    /// Only those that fit (id, name, label, status, ancestor, volume, exited, before, since, network)
    #[arg(long, short = 'f', value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// A Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The last so many, whatever they do
    #[arg(long, short = 'n', value_name = "NUMBER", allow_hyphen_values = true)]
    last: Option<i64>,
    /// The last one, whatever it does
    #[arg(long, short = 'l')]
    latest: bool,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Ids only
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Sizes too
    #[arg(long, short = 's')]
    size: bool,
}

impl Verb for Ps {
    const NAMES: &'static [&'static str] = &["ps", "container ls", "container list", "container ps"];
    const ABOUT: &'static str = "List containers";
    const EXAMPLE: &'static str = "knarr ps -a --filter status=exited --format '{{.Names}}: {{.Status}}'";

    fn run(self, world: &World) -> Result<u8, Failure> {
        let filters = self.filter.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let context = world.reading()?;
        let mut list = container::list(&context)?;
        let last = if self.latest { Some(1) } else { self.last.and_then(|last| usize::try_from(last).ok()) };
        let all = self.all || last.is_some() || filters.iter().any(Filter::is_about_rest);
        let everyone = list.clone();
        list.retain(|c| (all || c.state.status == Status::Running) && Filter::all_fit(&filters, c, &everyone));
        list.truncate(last.unwrap_or(usize::MAX));
        let now = time::now_ns();
        let shown = |c: &Container| Ok(rows::container(c, now, self.no_trunc, self.sizes(&context, c)?));
        let rows = list.iter().map(shown).collect::<Result<Vec<_>, Failure>>()?;
        world.notes_of(&context);
        let columns = if self.size { &CONTAINERS_WITH_SIZE } else { &CONTAINERS };
        let width = terminal_width().filter(|_| !self.no_trunc);
        print(&render(columns, self.format.as_deref(), self.quiet, &rows, width)?)?;
        Ok(0)
    }
}

impl Ps {
    fn sizes(&self, context: &Context, container: &Container) -> Result<Option<(u64, u64)>, Failure> {
        // What is printed whole is asked for whole.
        let shows = |format: &String| format.contains(".Size") || format.contains("json .}");
        if !self.size && !self.format.as_ref().is_some_and(shows) {
            return Ok(None);
        }
        sizes(context, container).map(Some)
    }
}

/// What a container wrote, and that with its image.
pub(crate) fn sizes(context: &Context, container: &Container) -> Result<(u64, u64), Failure> {
    let own = container_bytes(context, &container.record.id)?;
    let image = match &container.record.image_id {
        Some(id) => context.store.image(id).map_err(knarr_engine::Error::from)?.map_or(0, |image| image.bytes),
        None => 0,
    };
    Ok((own, own + image))
}

/// A condition; those of one key are alternatives, those of several keys must all hold, as in docker.
struct Filter {
    key: String,
    value: String,
}

/// What a filter can be about.
pub(crate) const KEYS: [&str; 10] =
    ["id", "name", "label", "status", "ancestor", "volume", "exited", "before", "since", "network"];

impl Filter {
    fn parse(text: &str) -> Result<Filter, Failure> {
        let split = text.split_once('=').filter(|(key, _)| KEYS.contains(key));
        let (key, value) = split.ok_or_else(|| {
            Failure::usage(format!("invalid filter {text:?}"))
                .hint(format!("expected KEY=VALUE, KEY one of {}", KEYS.join(", ")))
        })?;
        let known = ["created", "running", "exited", "paused", "restarting", "removing", "dead"];
        if key == "status" && !known.contains(&value) {
            return Err(Failure::usage(format!("invalid filter {text:?}"))
                .hint(format!("status is one of {}", known.join(", "))));
        }
        Ok(Filter { key: key.to_owned(), value: value.to_owned() })
    }

    /// Whether asking for it means that containers at rest are wanted as well.
    fn is_about_rest(&self) -> bool {
        self.key == "exited" || self.key == "status"
    }

    fn all_fit(filters: &[Filter], container: &Container, everyone: &[Container]) -> bool {
        filters.iter().all(|filter| {
            let alternatives = filters.iter().filter(|other| other.key == filter.key);
            match filter.key.as_str() {
                // Labels are all meant at once.
                "label" => filter.fits(container, everyone),
                _ => alternatives.into_iter().any(|other| other.fits(container, everyone)),
            }
        })
    }

    fn fits(&self, container: &Container, everyone: &[Container]) -> bool {
        let (record, value) = (&container.record, self.value.as_str());
        let same = |other: &Container| other.record.name == value || other.record.id.starts_with(value);
        let created = || everyone.iter().find(|other| same(other)).map(|other| other.record.created_ns);
        match self.key.as_str() {
            "id" => record.id.starts_with(value),
            "name" => record.name.contains(value.trim_start_matches('/')),
            "label" => match value.split_once('=') {
                Some((key, value)) => record.labels.get(key).is_some_and(|label| label == value),
                None => record.labels.contains_key(value),
            },
            "status" => state_word(container) == value,
            "ancestor" => {
                let reference = |text: &str| text.parse::<knarr_spec::Reference>().ok();
                let id = record.image_id.as_ref();
                record.image_name == value
                    || reference(value).is_some_and(|wanted| reference(&record.image_name) == Some(wanted))
                    || id.is_some_and(|id| id.as_str() == value || value.len() >= 4 && id.encoded().starts_with(value))
            }
            "volume" => container.options.mounts.iter().any(|mount| {
                mount.volume.as_deref() == Some(value) || mount.target == value || mount.source.as_os_str() == value
            }),
            "exited" => container.state.status == Status::Exited && value.parse() == Ok(container.state.exit_code),
            "before" => created().is_some_and(|moment| record.created_ns < moment),
            "since" => created().is_some_and(|moment| record.created_ns > moment),
            "network" => container.options.wanted.namespaces.network.as_str() == value,
            _ => false,
        }
    }
}
