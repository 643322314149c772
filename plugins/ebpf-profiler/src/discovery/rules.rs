//! How processes of a plain host are named.

use regex::Regex;
use serde::Deserialize;

use super::facts::Facts;
use super::host::Host;
use super::naming::{Named, Names, Naming};
use super::scene::Scene;
use super::settings::{SettingsError, regex, words};
use super::template::HOST;

/// A rule: which processes, and what they are called. The names are templates.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleSettings {
    /// Which processes it is for.
    #[serde(rename = "match")]
    pub matches: MatchSettings,
    /// Service name. Without a default.
    pub service: String,
    /// Instance name. Default `{{.Rover.HostName}}`.
    pub instance: String,
    /// Process name. Default `{{.Process.ExeName}}`.
    pub process: String,
    /// SkyWalking's layer. Default `OS_LINUX`.
    pub layer: String,
    /// Labels, by which tasks choose processes: a list, or words with commas between.
    #[serde(deserialize_with = "words")]
    pub labels: Vec<String>,
}

/// Regular expressions, not anchored; those that are set have to match, and one has to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchSettings {
    /// On the command line as one would type it, or the name where there is none.
    pub command: Option<String>,
    /// On the systemd unit, for example `^nginx\.service$`.
    pub unit: Option<String>,
    /// On the control groups' paths; one of them is enough.
    pub cgroup: Option<String>,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            matches: MatchSettings::default(),
            service: String::new(),
            instance: "{{.Rover.HostName}}".to_owned(),
            process: "{{.Process.ExeName}}".to_owned(),
            layer: "OS_LINUX".to_owned(),
            labels: Vec::new(),
        }
    }
}

/// Rules in their order.
#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    command: Option<Regex>,
    unit: Option<Regex>,
    cgroup: Option<Regex>,
    naming: Naming,
}

impl Rules {
    /// Compiles rules; behind them, with `units`, the one that names services of systemd.
    pub(super) fn new(settings: &[RuleSettings], units: bool) -> Result<Self, SettingsError> {
        let each = settings.iter().enumerate();
        let rules = each.map(|(index, rule)| {
            Rule::new(rule).map_err(|error| error.within(&format!("rules[{index}]")))
        });
        let units = units.then(|| Rule::new(&RuleSettings::for_units()));
        rules.chain(units).collect::<Result<_, _>>().map(Self)
    }

    /// What the first rule that matches calls the process.
    pub(super) fn named(&self, host: &Host, facts: &Facts, cluster: &str) -> Option<Named> {
        if self.0.is_empty() {
            return None;
        }
        let command = facts.command();
        let rule = self.0.iter().find(|rule| rule.matches(facts, &command))?;
        rule.naming.of(&Scene::on_host(host, facts), cluster)
    }
}

impl RuleSettings {
    fn for_units() -> Self {
        let unit = Some(r"\.service$".to_owned());
        Self {
            matches: MatchSettings {
                unit,
                ..MatchSettings::default()
            },
            service: "{{.Process.UnitName}}".to_owned(),
            ..Self::default()
        }
    }
}

impl Rule {
    fn new(settings: &RuleSettings) -> Result<Self, SettingsError> {
        let MatchSettings {
            command,
            unit,
            cgroup,
        } = &settings.matches;
        if command.is_none() && unit.is_none() && cgroup.is_none() {
            let field = "match".to_owned();
            let expected = "command, unit or cgroup";
            return Err(SettingsError::Empty { field, expected });
        }
        let compiled = |name: &str, text: &Option<String>| {
            let text = text.as_ref();
            text.map(|text| regex(format!("match.{name}"), text))
                .transpose()
        };
        let names = Names {
            keys: ["service", "instance", "process"],
            templates: [&settings.service, &settings.instance, &settings.process],
            layer: &settings.layer,
            labels: &settings.labels,
        };
        Ok(Self {
            command: compiled("command", command)?,
            unit: compiled("unit", unit)?,
            cgroup: compiled("cgroup", cgroup)?,
            naming: Naming::new(&names, &HOST)?,
        })
    }

    fn matches(&self, facts: &Facts, command: &str) -> bool {
        let groups = &facts.groups;
        let is_match = |regex: &Option<Regex>, texts: &[&str]| match regex {
            Some(regex) => texts.iter().any(|text| regex.is_match(text)),
            None => true,
        };
        let unit: Vec<&str> = groups.unit.iter().map(String::as_str).collect();
        let paths: Vec<&str> = groups.paths.iter().map(String::as_str).collect();
        is_match(&self.unit, &unit)
            && is_match(&self.cgroup, &paths)
            && is_match(&self.command, &[command])
    }
}

#[cfg(test)]
mod tests;
