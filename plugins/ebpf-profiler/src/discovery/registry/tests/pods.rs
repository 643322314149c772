//! Processes in pods.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::*;
use crate::discovery::{Container, Pod};

/// Pods that a test changes, as the API server will tell them.
#[derive(Default)]
struct Told(Mutex<(u64, HashMap<String, Arc<Pod>>)>);

impl Told {
    fn tell(&self, pods: &[Pod]) {
        let mut told = self.0.lock();
        told.0 += 1;
        let ids = pods.iter().flat_map(|pod| {
            let ids = pod.containers.iter().map(|it| it.runtime_id().to_owned());
            ids.map(|id| (id, Arc::new(pod.clone())))
        });
        told.1 = ids.collect();
    }
}

impl Pods for Told {
    fn of_container(&self, id: &str) -> Option<Arc<Pod>> {
        self.0.lock().1.get(id).cloned()
    }

    fn version(&self) -> u64 {
        self.0.lock().0
    }
}

fn id(letter: char) -> String {
    letter.to_string().repeat(64)
}

fn cgroup(letter: char) -> String {
    format!("0::/kubepods.slice/cri-containerd-{}.scope\n", id(letter))
}

fn pod(letter: char, services: &[&str]) -> Pod {
    let container = |name: &str, id: String| Container {
        name: name.to_owned(),
        id: format!("containerd://{id}"),
        lasting: true,
        ..Container::default()
    };
    let containers = vec![
        container("app", id(letter)),
        container("istio-proxy", String::new()),
    ];
    let mut pod = Pod {
        name: format!("pod-{letter}"),
        namespace: "prod".to_owned(),
        ip: "10.1.0.5".to_owned(),
        labels: [("app".to_owned(), "shop".to_owned())].into(),
        containers,
        ..Pod::default()
    };
    pod.set_services(services.iter().map(|it| (*it).to_owned()).collect());
    pod
}

fn node() -> (Pretended, Arc<Told>, Discovery) {
    let proc = Pretended::new();
    let pods = Arc::new(Told::default());
    let settings = settings(json!({
        "proc_root": proc.root(),
        "rules": [{"match": {"command": "."}, "service": "host"}],
    }));
    let discovery = Discovery::with_pods(&settings, Arc::clone(&pods) as Arc<dyn Pods>).unwrap();
    (proc, pods, discovery)
}

fn layers(discovery: &Discovery) -> Vec<String> {
    let entities = discovery.entities();
    entities.iter().map(|it| it.layer.clone()).collect()
}

#[test]
fn every_analyzer_that_fits_yields_an_entity_of_one_process() {
    let (proc, pods, mut discovery) = node();
    proc.run(7, 100, &["/usr/bin/java", "-jar"], &cgroup('a'));
    proc.run(8, 100, &["nginx"], "0::/\n");
    pods.tell(&[pod('a', &["shop"])]);
    discovery.scan().unwrap();
    assert_eq!(layers(&discovery), ["MESH", "K8S_SERVICE", "OS_LINUX"]);
    let entities = discovery.entities();
    let service = &entities[1];
    assert_eq!((entities[0].pid, service.pid), (7, 7));
    assert_eq!(
        (service.place, entities[2].place),
        (Place::Kubernetes, Place::Host)
    );
    assert_eq!(service.service, "shop.prod");
    assert_eq!(service.instance, "pod-a");
    assert_eq!(service.process, "java");
    assert_eq!(service.labels, ["k8s-service"]);
    let properties = service
        .properties
        .iter()
        .map(|(name, value)| (&**name, &**value));
    let expected = [
        ("host_ip", &*discovery.host.address),
        ("container_ip", "10.1.0.5"),
        ("container_name", "app"),
        ("pod_name", "pod-a"),
        ("pid", "7"),
        ("command_line", "/usr/bin/java -jar"),
        ("support_ebpf_profiling", "true"),
    ];
    assert_eq!(properties.collect::<Vec<_>>(), expected);
}

/// Rover's `SyncAllProcessInFinder` is called only with processes in hand.
#[test]
fn when_the_last_pod_dies_its_entities_go() {
    let (proc, pods, mut discovery) = node();
    proc.run(7, 100, &["app"], &cgroup('a'));
    pods.tell(&[pod('a', &["shop"])]);
    discovery.scan().unwrap();
    assert_eq!(discovery.entities().len(), 2);
    proc.end(7);
    pods.tell(&[]);
    discovery.scan().unwrap();
    assert!(discovery.entities().is_empty());
}

/// Rover keeps the empty outcome of the first scan for ever.
#[test]
fn a_pod_that_joins_a_service_later_is_named_then() {
    let (proc, pods, mut discovery) = node();
    proc.run(7, 100, &["app"], &cgroup('a'));
    let mut alone = pod('a', &[]);
    alone.containers.truncate(1);
    pods.tell(std::slice::from_ref(&alone));
    discovery.scan().unwrap();
    assert!(discovery.entities().is_empty());
    alone.set_services(vec!["shop".to_owned()]);
    pods.tell(std::slice::from_ref(&alone));
    discovery.scan().unwrap();
    assert_eq!(layers(&discovery), ["K8S_SERVICE"]);
    alone.set_services(Vec::new());
    pods.tell(&[alone]);
    discovery.scan().unwrap();
    assert!(discovery.entities().is_empty());
}

#[test]
fn a_pod_that_is_told_of_after_its_processes_is_named_then() {
    let (proc, pods, mut discovery) = node();
    proc.run(7, 100, &["app"], &cgroup('a'));
    discovery.scan().unwrap();
    assert_eq!(services(&discovery), ["host"]);
    pods.tell(&[pod('a', &["shop"])]);
    discovery.scan().unwrap();
    assert_eq!(services(&discovery), ["shop.prod", "shop.prod"]);
}

#[test]
fn a_container_in_a_pods_container_belongs_to_the_pod() {
    let (proc, pods, mut discovery) = node();
    let nested = format!("{}/docker/{}\n", cgroup('a').trim(), id('f'));
    proc.run(7, 100, &["app"], &nested);
    pods.tell(&[pod('a', &["shop"])]);
    discovery.scan().unwrap();
    assert_eq!(layers(&discovery), ["MESH", "K8S_SERVICE"]);
}
