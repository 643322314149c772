//! Kubernetes' objects as `kubectl -o json` prints them, as far as names need them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::pod::{Container, Owner, Pod};

/// A list of objects, or one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Document {
    List { items: Vec<Object> },
    Single(Box<Object>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    kind: String,
    metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    owner_references: Vec<Reference>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Reference {
    kind: String,
    name: String,
    controller: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    #[serde(deserialize_with = "or_default")]
    containers: Vec<ContainerSpec>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<ContainerSpec>,
    #[serde(deserialize_with = "or_default")]
    ephemeral_containers: Vec<ContainerSpec>,
    /// Labels for a service, something else for others.
    selector: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerSpec {
    name: String,
    #[serde(deserialize_with = "or_default")]
    env: Vec<Variable>,
    restart_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: String,
}

/// Kubernetes writes `null` for nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    input: D,
) -> Result<T, D::Error> {
    Option::deserialize(input).map(Option::unwrap_or_default)
}

/// The owners of an object, by its namespace, kind and name.
type Owners<'a> = HashMap<(&'a str, &'a str, &'a str), &'a [Reference]>;

/// The pods of one or several documents, with the services and owners that stand in the same.
///
/// # Errors
/// This is not what `kubectl` prints.
pub(super) fn pods(bytes: &[u8], node: &str) -> Result<Vec<Pod>, serde_json::Error> {
    let mut objects = Vec::new();
    for document in serde_json::Deserializer::from_slice(bytes).into_iter() {
        match document? {
            Document::List { items } => objects.extend(items),
            Document::Single(object) => objects.push(*object),
        }
    }
    let owners: Owners<'_> = objects
        .iter()
        .map(
            |Object {
                 kind, metadata: it, ..
             }| {
                let key = (it.namespace.as_str(), kind.as_str(), it.name.as_str());
                (key, it.owner_references.as_slice())
            },
        )
        .collect();
    let services = services(&objects);
    let pods = objects.iter().filter(|it| it.kind == "Pod");
    let here = pods.filter(|it| node.is_empty() || it.spec.node_name == node);
    Ok(here.map(|object| pod(object, &owners, &services)).collect())
}

/// The services that select anything: one without a selector does not select everything.
fn services(objects: &[Object]) -> Vec<(&Metadata, &serde_json::Map<String, Value>)> {
    let services = objects.iter().filter(|it| it.kind == "Service");
    services
        .filter_map(|it| Some((&it.metadata, it.spec.selector.as_object()?)))
        .filter(|(_, selector)| !selector.is_empty())
        .collect()
}

fn pod(
    object: &Object,
    owners: &Owners<'_>,
    services: &[(&Metadata, &serde_json::Map<String, Value>)],
) -> Pod {
    let Object {
        metadata,
        spec,
        status,
        ..
    } = object;
    let selecting = services.iter().filter(|(service, selector)| {
        let mut labels = selector.iter();
        service.namespace == metadata.namespace
            && labels.all(|(name, value)| {
                let label = metadata.labels.get(name).map(String::as_str);
                label.is_some() && label == value.as_str()
            })
    });
    let services = selecting.map(|(service, _)| service.name.clone()).collect();
    let mut pod = Pod {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        node: spec.node_name.clone(),
        ip: status.pod_ip.clone(),
        labels: metadata.labels.clone(),
        owners: all_owners(metadata, owners),
        containers: containers(spec, status),
        services: Vec::new(),
    };
    pod.set_services(services);
    pod
}

fn containers(spec: &Spec, status: &Status) -> Vec<Container> {
    let groups = [
        (&spec.containers, &status.container_statuses),
        (&spec.init_containers, &status.init_container_statuses),
        (
            &spec.ephemeral_containers,
            &status.ephemeral_container_statuses,
        ),
    ];
    let mut containers = Vec::new();
    for (index, (specs, statuses)) in groups.into_iter().enumerate() {
        for spec in specs {
            let status = statuses.iter().find(|it| it.name == spec.name);
            let environment = spec
                .env
                .iter()
                .map(|it| (it.name.clone(), it.value.clone()));
            containers.push(Container {
                name: spec.name.clone(),
                id: status.map_or_else(String::new, |it| it.container_id.clone()),
                environment: environment.collect(),
                lasting: index == 0 || spec.restart_policy.as_deref() == Some("Always"),
            });
        }
    }
    containers
}

/// Owners and their owners, nearest first. Only those that control what they own are followed.
fn all_owners(metadata: &Metadata, owners: &Owners<'_>) -> Vec<Owner> {
    let mut found: Vec<Owner> = Vec::new();
    let mut next: VecDeque<&Reference> = metadata.owner_references.iter().collect();
    while let Some(reference) = next.pop_front() {
        let Reference { kind, name, .. } = reference;
        // An object may own itself by mistake.
        if found.iter().any(|it| it.kind == *kind && it.name == *name) {
            continue;
        }
        found.push(Owner {
            kind: kind.clone(),
            name: name.clone(),
        });
        let key = (metadata.namespace.as_str(), kind.as_str(), name.as_str());
        if reference.controller != Some(false) {
            next.extend(owners.get(&key).copied().unwrap_or_default());
        }
    }
    found
}
