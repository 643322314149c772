//! A pod as far as names need it.

use std::collections::BTreeMap;

/// A pod with the containers it has, started or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Kubernetes' own ID of it.
    pub uid: String,
    /// The node it runs on.
    pub node: String,
    /// Its address; empty until it has one.
    pub ip: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Who made it, and who made that, as far as is known.
    pub owners: Vec<Owner>,
    /// All containers, also those that only prepare the others.
    pub containers: Vec<Container>,
    /// The services that select it, the best one first (see [`Pod::service`]).
    pub services: Vec<String>,
}

/// Who made a pod, directly or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `ReplicaSet`, `Deployment`, `StatefulSet`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// As the status has it, with the runtime: `containerd://ID`; empty until it has one.
    pub id: String,
    /// Variables that are written out in the pod.
    pub environment: Vec<(String, String)>,
    /// Whether it runs as long as the pod: an ordinary container or a sidecar.
    pub lasting: bool,
}

impl Pod {
    /// The service that the pod's processes belong to: the one with the shortest name, of equally short
    /// ones the first in ASCII order. Source: Rover's `chooseServiceName`.
    pub fn service(&self) -> Option<&str> {
        self.services.first().map(String::as_str)
    }

    /// The container of this name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|it| it.name == name)
    }

    /// The container that the runtime gave this ID.
    pub fn container_of(&self, id: &str) -> Option<&Container> {
        self.containers.iter().find(|it| it.runtime_id() == id)
    }

    /// Whether it has a container of this name that runs as long as the pod. Rover does not see sidecars
    /// that are declared among the init containers, as Istio's are since 1.27.
    pub fn has_container(&self, name: &str) -> bool {
        self.container(name).is_some_and(|it| it.lasting)
    }

    /// The name of the first of these kinds (with commas between) that is among its owners; `service`
    /// stands for the pod's service.
    pub fn owner(&self, kinds: &str) -> Option<&str> {
        kinds.split(',').find_map(|kind| {
            if kind.eq_ignore_ascii_case("service") {
                return self.service();
            }
            let owner = self.owners.iter().find(|owner| owner.kind == kind);
            owner.map(|owner| owner.name.as_str())
        })
    }

    /// Whether all labels of `a=b,c=d` are the pod's; absent where this is no list of labels.
    pub fn fits(&self, selector: &str) -> Option<bool> {
        if selector.is_empty() {
            return Some(true);
        }
        let mut fits = true;
        for pair in selector.split(',') {
            let (name, value) = pair.split_once('=').filter(|(_, it)| !it.contains('='))?;
            let label = self.labels.get(name.trim());
            fits &= label.is_some_and(|label| label == value.trim());
        }
        Some(fits)
    }

    /// Sets the services that select it.
    pub fn set_services(&mut self, mut names: Vec<String>) {
        names.sort_by(|left, right| (left.len(), left).cmp(&(right.len(), right)));
        self.services = names;
    }
}

impl Container {
    /// The ID without the runtime's name; empty until it has one.
    pub fn runtime_id(&self) -> &str {
        self.id.split_once("://").map_or("", |(_, id)| id)
    }
}
