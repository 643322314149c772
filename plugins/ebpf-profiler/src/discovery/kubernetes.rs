//! How processes in pods are named: by analyzers, as Rover does it.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::facts::Facts;
use super::host::Host;
use super::naming::{Named, Names, Naming, filter};
use super::scene::Scene;
use super::settings::{SettingsError, words};
use super::template::{Filter, KUBERNETES};

mod file;
mod object;
mod pod;

pub use file::PodFile;
pub use pod::{Container, Owner, Pod};

/// Who knows the pods of this node. A file does now; the API server will.
pub trait Pods: Send + Sync {
    /// The pod that a container belongs to, by the ID that the runtime gave the container.
    fn of_container(&self, id: &str) -> Option<Arc<Pod>>;

    /// Another number whenever an answer may be another.
    fn version(&self) -> u64;

    /// Called at the beginning of each scan, for sources that have to look for changes themselves.
    fn refresh(&self) {}
}

/// Pods and what their processes are called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesSettings {
    /// Whether pods are looked for. Default: no.
    pub active: bool,
    /// What `kubectl get pods,services,replicasets,jobs -A -o json` printed; read again when it changes.
    pub pods_file: PathBuf,
    /// Only pods of this node are known; empty: all that the file has.
    pub node_name: String,
    /// Only processes of these namespaces are named; empty: of all. A list, or words with commas between.
    #[serde(deserialize_with = "words")]
    pub namespaces: Vec<String>,
    /// Each that fits a process yields an entity. Default: Rover's three.
    pub analyzers: Vec<AnalyzerSettings>,
}

/// Which processes in pods are called what. Keys and meaning are Rover's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnalyzerSettings {
    /// Whether it is used. Default: yes.
    pub active: bool,
    /// Conditions, all of which must hold, without braces: `.Pod.HasContainer "istio-proxy"`.
    pub filters: Vec<String>,
    /// SkyWalking's layer. Without a default.
    pub layer: String,
    /// Template of the service name. Without a default.
    pub service_name: String,
    /// Template of the instance name. Default `{{.Pod.Name}}`.
    pub instance_name: String,
    /// Template of the process name. Default `{{.Process.ExeName}}`.
    pub process_name: String,
    /// Labels, by which tasks choose processes: a list, or words with commas between.
    #[serde(deserialize_with = "words")]
    pub labels: Vec<String>,
}

impl Default for KubernetesSettings {
    /// The analyzers are those of Rover's `configs/rover_configs.yaml`.
    fn default() -> Self {
        const WORKLOAD: &str = concat!(
            r#"{{.Pod.LabelValue "service.istio.io/canonical-name,app.kubernetes.io/name,app" ""}}"#,
            ".{{.Pod.Namespace}}"
        );
        const SERVICE: &str = "{{.Pod.ServiceName}}.{{.Pod.Namespace}}";
        const MESH: &str = r#".Pod.HasContainer "istio-proxy""#;
        let envoy = [MESH, r#"eq .Container.Name "istio-proxy""#];
        let application = [MESH, r#"ne .Container.Name "istio-proxy""#];
        let service = [".Pod.HasServiceName"];
        Self {
            active: false,
            pods_file: PathBuf::new(),
            node_name: String::new(),
            namespaces: Vec::new(),
            analyzers: vec![
                AnalyzerSettings::stock("MESH_DP", &envoy, WORKLOAD, "mesh-envoy"),
                AnalyzerSettings::stock("MESH", &application, WORKLOAD, "mesh-application"),
                AnalyzerSettings::stock("K8S_SERVICE", &service, SERVICE, "k8s-service"),
            ],
        }
    }
}

impl Default for AnalyzerSettings {
    fn default() -> Self {
        Self {
            active: true,
            filters: Vec::new(),
            layer: String::new(),
            service_name: String::new(),
            instance_name: "{{.Pod.Name}}".to_owned(),
            process_name: "{{.Process.ExeName}}".to_owned(),
            labels: Vec::new(),
        }
    }
}

impl AnalyzerSettings {
    fn stock(layer: &str, filters: &[&str], service_name: &str, label: &str) -> Self {
        Self {
            filters: filters.iter().map(|it| (*it).to_owned()).collect(),
            layer: layer.to_owned(),
            service_name: service_name.to_owned(),
            labels: vec![label.to_owned()],
            ..Self::default()
        }
    }
}

/// The analyzers in use.
#[derive(Debug)]
pub(super) struct Analyzers {
    namespaces: Vec<String>,
    list: Vec<Analyzer>,
}

#[derive(Debug)]
struct Analyzer {
    filters: Vec<Filter>,
    naming: Naming,
}

impl Analyzers {
    pub(super) fn new(settings: &KubernetesSettings) -> Result<Self, SettingsError> {
        let each = settings.analyzers.iter().enumerate();
        let active = each.filter(|(_, analyzer)| analyzer.active);
        let list = active.map(|(index, analyzer)| {
            let place = format!("kubernetes.analyzers[{index}]");
            Analyzer::new(analyzer).map_err(|error| error.within(&place))
        });
        Ok(Self {
            namespaces: settings.namespaces.clone(),
            list: list.collect::<Result<_, _>>()?,
        })
    }

    /// What each analyzer that fits calls the process. One that fails does not stop the others.
    pub(super) fn named(
        &self,
        host: &Host,
        facts: &Facts,
        (pod, container): (&Pod, &Container),
        cluster: &str,
    ) -> Vec<Named> {
        if !self.namespaces.is_empty() && !self.namespaces.contains(&pod.namespace) {
            return Vec::new();
        }
        let scene = Scene::in_pod(host, facts, pod, container);
        let fitting = self.list.iter().filter(|it| it.fits(&scene));
        fitting
            .filter_map(|it| it.naming.of(&scene, cluster))
            .collect()
    }
}

impl Analyzer {
    fn new(settings: &AnalyzerSettings) -> Result<Self, SettingsError> {
        let filters = settings.filters.iter().enumerate();
        let filters =
            filters.map(|(index, text)| filter(format!("filters[{index}]"), text, &KUBERNETES));
        let names = Names {
            keys: ["service_name", "instance_name", "process_name"],
            templates: [
                &settings.service_name,
                &settings.instance_name,
                &settings.process_name,
            ],
            layer: &settings.layer,
            labels: &settings.labels,
        };
        Ok(Self {
            filters: filters.collect::<Result<_, _>>()?,
            naming: Naming::new(&names, &KUBERNETES)?,
        })
    }

    fn fits(&self, scene: &Scene<'_>) -> bool {
        let mut filters = self.filters.iter();
        filters.all(|filter| self.naming.tell(filter.holds(scene)).unwrap_or(false))
    }
}

#[cfg(test)]
mod tests;
