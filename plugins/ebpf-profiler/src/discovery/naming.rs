//! The names of an entity, from templates.

use std::sync::atomic::{AtomicBool, Ordering};

use super::scene::Scene;
use super::settings::SettingsError;
use super::template::{Failure, Filter, Shape, Template};

/// How something is to be named, as it stands in the file.
pub(super) struct Names<'a> {
    /// The keys of the three templates.
    pub(super) keys: [&'static str; 3],
    /// Service, instance and process.
    pub(super) templates: [&'a str; 3],
    pub(super) layer: &'a str,
    pub(super) labels: &'a [String],
}

/// Templates for an entity's names.
#[derive(Debug)]
pub(super) struct Naming {
    service: Template,
    instance: Template,
    process: Template,
    layer: String,
    labels: Vec<String>,
    /// Whether a failure was told.
    told: AtomicBool,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) layer: String,
    pub(super) service: String,
    pub(super) instance: String,
    pub(super) process: String,
    pub(super) labels: Vec<String>,
}

impl Naming {
    pub(super) fn new(names: &Names<'_>, root: &'static Shape) -> Result<Self, SettingsError> {
        let template = |index: usize| {
            let (key, text) = (names.keys[index], names.templates[index]);
            required(key, text, "a template")?;
            template(key, text, root)
        };
        required("layer", names.layer, "a layer of SkyWalking")?;
        let mut labels = names.labels.to_vec();
        labels.sort();
        labels.dedup();
        Ok(Self {
            service: template(0)?,
            instance: template(1)?,
            process: template(2)?,
            layer: names.layer.to_owned(),
            labels,
            told: AtomicBool::new(false),
        })
    }

    /// The names of a process. The first failure of each rule is told, for it may be one of all processes.
    pub(super) fn of(&self, scene: &Scene<'_>, cluster: &str) -> Option<Named> {
        self.tell(self.render(scene, cluster))
    }

    /// What `outcome` is, if it is no failure.
    pub(super) fn tell<T>(&self, outcome: Result<T, Failure>) -> Option<T> {
        outcome
            .inspect_err(|failure| {
                if !self.told.swap(true, Ordering::Relaxed) {
                    let layer = &self.layer;
                    tracing::warn!(layer, %failure, "a process has no name by this rule; told once");
                }
            })
            .ok()
    }

    fn render(&self, scene: &Scene<'_>, cluster: &str) -> Result<Named, Failure> {
        let name = |field: &'static str, template: &Template| match template.render(scene)? {
            name if name.is_empty() => Err(Failure::Empty { field }),
            name => Ok(name),
        };
        let mut service = name("service", &self.service)?;
        if !cluster.is_empty() && !service.contains("::") {
            service = format!("{cluster}::{service}");
        }
        Ok(Named {
            layer: self.layer.clone(),
            service,
            instance: name("instance", &self.instance)?,
            process: name("process", &self.process)?,
            labels: self.labels.clone(),
        })
    }
}

fn required(key: &str, text: &str, expected: &'static str) -> Result<(), SettingsError> {
    if text.trim().is_empty() {
        let field = key.to_owned();
        return Err(SettingsError::Empty { field, expected });
    }
    Ok(())
}

fn template(key: &str, text: &str, root: &'static Shape) -> Result<Template, SettingsError> {
    Template::parse(text, root).map_err(|source| SettingsError::Template {
        field: key.to_owned(),
        value: text.to_owned(),
        source,
    })
}

pub(super) fn filter(
    key: String,
    text: &str,
    root: &'static Shape,
) -> Result<Filter, SettingsError> {
    Filter::parse(text, root).map_err(|source| SettingsError::Template {
        field: key,
        value: text.to_owned(),
        source,
    })
}
