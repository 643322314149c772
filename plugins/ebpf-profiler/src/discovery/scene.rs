//! What templates can speak of, and what it is for one process.

use std::borrow::Cow;

use super::cgroup::Groups;
use super::command_line;
use super::facts::Facts;
use super::host::Host;
use super::kubernetes::{Container, Pod};
use super::template::{Failure, Subject, Value};

/// A process and what is around it. Its members are those of the shapes `HOST` and `KUBERNETES`.
pub(super) struct Scene<'a> {
    host: &'a Host,
    process: Process<'a>,
    pod: Option<(PodHere<'a>, &'a Container)>,
}

struct Process<'a>(&'a Facts);

struct PodHere<'a>(&'a Pod);

impl<'a> Scene<'a> {
    /// On a plain host.
    pub(super) fn on_host(host: &'a Host, facts: &'a Facts) -> Self {
        Self {
            host,
            process: Process(facts),
            pod: None,
        }
    }

    /// In a container of a pod.
    pub(super) fn in_pod(
        host: &'a Host,
        facts: &'a Facts,
        pod: &'a Pod,
        of: &'a Container,
    ) -> Self {
        Self {
            pod: Some((PodHere(pod), of)),
            ..Self::on_host(host, facts)
        }
    }
}

/// A member that the shapes do not have: none gets here.
fn no_member<'a>(of: &str, name: &str) -> Result<Value<'a>, Failure> {
    Err(absent(format!("{of}.{name}")))
}

fn absent(what: impl Into<String>) -> Failure {
    let what = what.into();
    Failure::Absent { what }
}

impl Subject for Scene<'_> {
    fn name(&self) -> &'static str {
        "."
    }

    fn member<'a>(&'a self, name: &str, _: &[&str]) -> Result<Value<'a>, Failure> {
        match (name, &self.pod) {
            ("Rover", _) => Ok(Value::Subject(self.host)),
            ("Process", _) => Ok(Value::Subject(&self.process)),
            ("Pod", Some((pod, _))) => Ok(Value::Subject(pod)),
            ("Container", Some((_, container))) => Ok(Value::Subject(*container)),
            _ => no_member("", name),
        }
    }
}

impl Subject for Host {
    fn name(&self) -> &'static str {
        ".Rover"
    }

    fn member<'a>(&'a self, name: &str, arguments: &[&str]) -> Result<Value<'a>, Failure> {
        match (name, arguments) {
            ("InstanceID", []) => Ok(Value::borrowed(&self.agent_id)),
            ("HostName", []) => Ok(Value::borrowed(&self.name)),
            ("HostIPV4" | "HostIPV6", [interface]) => {
                let address = self.address_of(interface, name == "HostIPV4");
                let address = address.map(|address| Value::owned(address.to_string()));
                address.ok_or_else(|| absent(format!("{name} of interface \"{interface}\"")))
            }
            _ => no_member(".Rover", name),
        }
    }
}

impl Subject for Process<'_> {
    fn name(&self) -> &'static str {
        ".Process"
    }

    fn member<'a>(&'a self, name: &str, _: &[&str]) -> Result<Value<'a>, Failure> {
        let Self(facts) = self;
        let known = |text: Option<&'a String>, what: &str| {
            let text = text.map(|text| Value::borrowed(text));
            text.ok_or_else(|| absent(format!("{what} of process {}", facts.pid)))
        };
        match name {
            "ExeFilePath" => known(facts.exe.as_ref(), "program file"),
            "ExeName" => Ok(Value::borrowed(facts.name())),
            "CommandLine" => Ok(Value::owned(command_line::shown(facts))),
            "Pid" => Ok(Value::Number(facts.pid.into())),
            "WorkDir" => known(facts.directory.as_ref(), "working directory"),
            "ExeNameInCommandLine" => match facts.arguments.first() {
                Some(first) => Ok(Value::owned(command_line::shown_alone(first))),
                None => known(None, "command line"),
            },
            "Unit" => known(facts.groups.unit.as_ref(), "unit"),
            "UnitName" => match unit_name(&facts.groups) {
                Some(name) => Ok(Value::Text(name)),
                None => known(None, "unit"),
            },
            "ContainerID" => known(facts.groups.containers.first(), "container"),
            _ => no_member(".Process", name),
        }
    }
}

/// The unit without its suffix, systemd's escapes (`\x2d`) undone.
fn unit_name(groups: &Groups) -> Option<Cow<'_, str>> {
    let (name, _) = groups.unit.as_ref()?.rsplit_once('.')?;
    if !name.contains("\\x") {
        return Some(Cow::Borrowed(name));
    }
    let mut bytes = Vec::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).map(|digits| u8::from_str_radix(digits, 16));
        let Some(Ok(byte)) = digits else {
            bytes.extend_from_slice(b"\\x");
            rest = after;
            continue;
        };
        bytes.push(byte);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

impl Subject for PodHere<'_> {
    fn name(&self) -> &'static str {
        ".Pod"
    }

    fn member<'a>(&'a self, name: &str, arguments: &[&str]) -> Result<Value<'a>, Failure> {
        let Self(pod) = self;
        let missing = |what: String| absent(format!("{what} in pod {}", pod.name));
        match (name, arguments) {
            ("Name", []) => Ok(Value::borrowed(&pod.name)),
            ("Namespace", []) => Ok(Value::borrowed(&pod.namespace)),
            ("Node", []) => Ok(Value::borrowed(&pod.node)),
            ("ServiceName", []) => Ok(Value::borrowed(pod.service().unwrap_or_default())),
            ("HasServiceName", []) => Ok(Value::Flag(pod.service().is_some())),
            ("LabelValue", [names, default]) => match label(pod, names) {
                Some(value) => Ok(Value::borrowed(value)),
                None => Ok(Value::owned(*default)),
            },
            ("FindContainer", [name]) => match pod.container(name) {
                Some(container) => Ok(Value::Subject(container)),
                None => Err(missing(format!("container \"{name}\""))),
            },
            ("HasContainer", [name]) => Ok(Value::Flag(pod.has_container(name))),
            ("OwnerName", [kinds]) => match pod.owner(kinds) {
                Some(name) => Ok(Value::borrowed(name)),
                None => Err(missing(format!("owner of kind \"{kinds}\""))),
            },
            ("HasOwnerName", [kinds]) => Ok(Value::Flag(pod.owner(kinds).is_some())),
            ("LabelSelector", [selector]) => match pod.fits(selector) {
                Some(fits) => Ok(Value::Flag(fits)),
                None => Err(Value::borrowed(selector).unfit("LabelSelector")),
            },
            _ => no_member(".Pod", name),
        }
    }
}

/// The first of these labels that is there and not empty.
fn label<'a>(pod: &'a Pod, names: &str) -> Option<&'a str> {
    let values = names.split(',').filter_map(|name| pod.labels.get(name));
    values.map(String::as_str).find(|value| !value.is_empty())
}

impl Subject for Container {
    fn name(&self) -> &'static str {
        ".Container"
    }

    fn member<'a>(&'a self, name: &str, arguments: &[&str]) -> Result<Value<'a>, Failure> {
        match (name, arguments) {
            ("Name", []) => Ok(Value::borrowed(&self.name)),
            ("ID", []) => Ok(Value::borrowed(&self.id)),
            ("EnvValue", [names]) => {
                let mut variables = self.environment.iter();
                let found = variables.find(|(name, _)| names.split(',').any(|it| it == name));
                let value = found.map(|(_, value)| Value::borrowed(value));
                value.ok_or_else(|| {
                    absent(format!("variable \"{names}\" in container {}", self.name))
                })
            }
            _ => no_member(".Container", name),
        }
    }
}

#[cfg(test)]
mod tests;
