use serde_json::{Value, json};

use super::*;
use crate::discovery::{Container, Owner};

/// As `kubectl get pods,services,replicasets -A -o json` prints them, less what we do not read.
fn listed() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "kind": "Pod",
                "metadata": {
                    "name": "shop-7d-x", "namespace": "prod", "uid": "u-1",
                    "labels": {"app": "shop", "tier": "web"},
                    "ownerReferences": [
                        {"kind": "ReplicaSet", "name": "shop-7d", "controller": true},
                        {"kind": "Auditor", "name": "a", "controller": false},
                    ],
                },
                "spec": {
                    "nodeName": "node-1",
                    "containers": [{
                        "name": "app",
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}],
                    }],
                    "initContainers": [
                        {"name": "prepare"},
                        {"name": "istio-proxy", "restartPolicy": "Always"},
                    ],
                    "ephemeralContainers": null,
                },
                "status": {
                    "podIP": "10.1.0.5",
                    "containerStatuses": [{"name": "app", "containerID": "containerd://aa"}],
                    "initContainerStatuses": [
                        {"name": "istio-proxy", "containerID": "docker://bb"},
                        {"name": "prepare", "containerID": ""},
                    ],
                },
            },
            {
                "kind": "Pod",
                "metadata": {"name": "new", "namespace": "prod", "labels": null},
                "spec": {"nodeName": "node-2", "containers": [{"name": "app"}]},
                "status": {"phase": "Pending"},
            },
            {
                "kind": "ReplicaSet",
                "metadata": {
                    "name": "shop-7d", "namespace": "prod",
                    "ownerReferences": [{"kind": "Deployment", "name": "shop", "controller": true}],
                },
                "spec": {"selector": {"matchLabels": {"app": "shop"}}},
            },
            service("prod", "a-long-one", &json!({"app": "shop"})),
            service("prod", "shops", &json!({"app": "shop"})),
            service("prod", "shopb", &json!({"app": "shop", "tier": "web"})),
            service("prod", "shopa", &json!({"tier": "web"})),
            service("prod", "no", &json!({"app": "shop", "tier": "db"})),
            service("prod", "all", &json!({})),
            service("prod", "any", &Value::Null),
            service("test", "s", &json!({"app": "shop"})),
        ],
    })
}

fn service(namespace: &str, name: &str, selector: &Value) -> Value {
    json!({
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": selector},
    })
}

struct File(tempfile::TempDir);

impl File {
    fn new(content: &str) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.write(content);
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("pods.json")
    }

    fn write(&self, content: &str) {
        // As `mv` does: nobody sees half of it.
        let path = self.0.path().join("new");
        fs::write(&path, content).unwrap();
        fs::rename(path, self.path()).unwrap();
    }
}

#[test]
fn a_pod_is_found_by_each_of_its_containers() {
    let pods = PodFile::open(File::new(&listed().to_string()).path(), "");
    let pod = pods.of_container("aa").unwrap();
    let owner = |kind: &str, name: &str| Owner {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    assert_eq!(
        (pod.name.as_str(), pod.namespace.as_str()),
        ("shop-7d-x", "prod")
    );
    assert_eq!(
        (pod.node.as_str(), pod.ip.as_str(), pod.uid.as_str()),
        ("node-1", "10.1.0.5", "u-1")
    );
    let owners = [
        owner("ReplicaSet", "shop-7d"),
        owner("Auditor", "a"),
        owner("Deployment", "shop"),
    ];
    assert_eq!(pod.owners, owners);
    let app = Container {
        name: "app".to_owned(),
        id: "containerd://aa".to_owned(),
        environment: [("A", "1"), ("B", "")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into(),
        lasting: true,
    };
    assert_eq!(pod.container_of("aa"), Some(&app));
    // Istio's sidecar is an init container that stays.
    assert_eq!(pods.of_container("bb"), Some(Arc::clone(&pod)));
    assert!(pod.has_container("istio-proxy"));
    assert!(!pod.has_container("prepare"));
    assert_eq!(pods.of_container("cc"), None);
    assert_eq!(pods.of_container(""), None);
}

#[test]
fn of_several_services_the_shortest_name_wins_then_the_first() {
    let pods = PodFile::open(File::new(&listed().to_string()).path(), "");
    let pod = pods.of_container("aa").unwrap();
    assert_eq!(pod.services, ["shopa", "shopb", "shops", "a-long-one"]);
    assert_eq!(pod.service(), Some("shopa"));
}

#[test]
fn pods_of_other_nodes_are_not_known() {
    let file = File::new(&listed().to_string());
    assert!(
        PodFile::open(file.path(), "node-1")
            .of_container("aa")
            .is_some()
    );
    assert!(
        PodFile::open(file.path(), "node-2")
            .of_container("aa")
            .is_none()
    );
}

#[test]
fn several_documents_and_single_objects_are_read_as_one_list() {
    let list = listed();
    let items = list["items"].as_array().unwrap();
    let text: String = items.iter().map(|item| format!("{item}\n")).collect();
    let pod = PodFile::open(File::new(&text).path(), "")
        .of_container("aa")
        .unwrap();
    assert_eq!(pod.service(), Some("shopa"));
}

#[test]
fn a_changed_file_is_read_again_and_an_unchanged_one_is_not() {
    let file = File::new(&listed().to_string());
    let pods = PodFile::open(file.path(), "");
    let version = pods.version();
    pods.refresh();
    assert_eq!(pods.version(), version);
    file.write(&listed().to_string().replace("//aa", "//dd"));
    pods.refresh();
    assert_ne!(pods.version(), version);
    assert!(pods.of_container("aa").is_none());
    assert!(pods.of_container("dd").is_some());
}

#[test]
fn a_file_that_is_absent_or_not_complete_changes_nothing() {
    let file = File::new(&listed().to_string());
    let pods = PodFile::open(file.path(), "");
    let whole = listed().to_string();
    file.write(&whole[..whole.len() / 2]);
    pods.refresh();
    assert!(pods.of_container("aa").is_some());
    fs::remove_file(file.path()).unwrap();
    pods.refresh();
    assert!(pods.of_container("aa").is_some());
    file.write("{\"items\": []}");
    pods.refresh();
    assert!(pods.of_container("aa").is_none());

    let late = File::new("");
    fs::remove_file(late.path()).unwrap();
    let pods = PodFile::open(late.path(), "");
    late.write(&whole);
    pods.refresh();
    assert!(pods.of_container("aa").is_some());
}
