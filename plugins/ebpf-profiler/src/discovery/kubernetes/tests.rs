use serde_json::json;

use super::*;

/// A pod of a mesh whose service is `shop`: two containers.
fn pod() -> Pod {
    let container = |name: &str| Container {
        name: name.to_owned(),
        id: format!("containerd://{name}"),
        lasting: true,
        ..Container::default()
    };
    let mut pod = Pod {
        name: "shop-7d-x".to_owned(),
        namespace: "prod".to_owned(),
        labels: [("app".to_owned(), "shop".to_owned())].into(),
        containers: vec![container("app"), container("istio-proxy")],
        ..Pod::default()
    };
    pod.set_services(vec!["shop".to_owned()]);
    pod
}

fn named(settings: &KubernetesSettings, pod: &Pod, container: usize, cluster: &str) -> Vec<Named> {
    let facts = Facts {
        comm: "java".to_owned(),
        ..Facts::default()
    };
    let analyzers = Analyzers::new(settings).unwrap();
    analyzers.named(
        &Host::default(),
        &facts,
        (pod, &pod.containers[container]),
        cluster,
    )
}

fn summary(named: &[Named]) -> Vec<String> {
    let one = |it: &Named| {
        let labels = it.labels.join("+");
        format!(
            "{} {} {} {} {labels}",
            it.layer, it.service, it.instance, it.process
        )
    };
    named.iter().map(one).collect()
}

/// Rover's `configs/rover_configs.yaml`.
#[test]
fn rovers_stock_analyzers_name_a_pod_of_a_mesh_twice() {
    let stock = KubernetesSettings::default();
    let application = summary(&named(&stock, &pod(), 0, ""));
    let expected = [
        "MESH shop.prod shop-7d-x java mesh-application",
        "K8S_SERVICE shop.prod shop-7d-x java k8s-service",
    ];
    assert_eq!(application, expected);
    let envoy = summary(&named(&stock, &pod(), 1, ""));
    let expected = [
        "MESH_DP shop.prod shop-7d-x java mesh-envoy",
        "K8S_SERVICE shop.prod shop-7d-x java k8s-service",
    ];
    assert_eq!(envoy, expected);
}

#[test]
fn a_pod_without_mesh_and_service_has_no_name() {
    let mut pod = pod();
    pod.containers.truncate(1);
    let stock = KubernetesSettings::default();
    assert_eq!(summary(&named(&stock, &pod, 0, "")).len(), 1);
    pod.set_services(Vec::new());
    assert!(named(&stock, &pod, 0, "").is_empty());
}

#[test]
fn a_sidecar_among_the_init_containers_makes_a_mesh() {
    let mut pod = pod();
    assert!(pod.has_container("istio-proxy"));
    pod.containers[1].lasting = false;
    assert!(!pod.has_container("istio-proxy"));
}

#[test]
fn the_cluster_comes_before_the_service_unless_one_is_there() {
    let mut settings = KubernetesSettings::default();
    let service = |settings: &_| named(settings, &pod(), 0, "east")[0].service.clone();
    assert_eq!(service(&settings), "east::shop.prod");
    settings.analyzers[1].service_name = "west::{{.Pod.Name}}".to_owned();
    assert_eq!(service(&settings), "west::shop-7d-x");
}

#[test]
fn only_processes_of_the_chosen_namespaces_are_named() {
    let mut settings = KubernetesSettings {
        namespaces: vec!["test".to_owned()],
        ..KubernetesSettings::default()
    };
    assert!(named(&settings, &pod(), 0, "").is_empty());
    settings.namespaces.push("prod".to_owned());
    assert_eq!(named(&settings, &pod(), 0, "").len(), 2);
}

/// In Rover the first error takes all of a process's entities away.
#[test]
fn an_analyzer_that_fails_does_not_stop_the_others() {
    let mut settings = KubernetesSettings::default();
    settings.analyzers[0].filters = vec![r#"eq (.Container.EnvValue "NONE") "x""#.to_owned()];
    settings.analyzers[1].service_name = r#"{{.Pod.OwnerName "Deployment"}}"#.to_owned();
    let named = summary(&named(&settings, &pod(), 0, ""));
    assert_eq!(named, ["K8S_SERVICE shop.prod shop-7d-x java k8s-service"]);
}

#[test]
fn an_analyzer_can_be_switched_off() {
    let mut settings = KubernetesSettings::default();
    settings.analyzers[2].active = false;
    // What is not used may be wrong.
    settings.analyzers[2].layer.clear();
    assert_eq!(named(&settings, &pod(), 0, "").len(), 1);
}

#[test]
fn a_mistake_in_an_analyzer_is_told_with_its_field_and_value() {
    let cases = [
        (
            json!({"service_name": "a"}),
            "layer is empty: expected a layer of SkyWalking",
        ),
        (
            json!({"layer": "MESH"}),
            "service_name is empty: expected a template",
        ),
        (
            json!({"layer": "MESH", "service_name": "a", "instance_name": "{{"}),
            "instance_name: \"{{\" is no template: at 2: an action is not closed",
        ),
        (
            json!({"layer": "MESH", "service_name": "a", "filters": ["true", "eq .Pod.Name"]}),
            "filters[1]: \"eq .Pod.Name\" is no template: at 0: eq takes at least 2 arguments, given 1",
        ),
    ];
    for (analyzer, expected) in cases {
        let settings = json!({"analyzers": [analyzer]});
        let settings: KubernetesSettings = serde_json::from_value(settings).unwrap();
        let error = Analyzers::new(&settings).unwrap_err().to_string();
        assert_eq!(error, format!("kubernetes.analyzers[0].{expected}"));
    }
}

#[test]
fn members_of_pods_and_containers_are_those_of_rover() {
    let mut pod = pod();
    pod.node = "node-1".to_owned();
    pod.owners = [("ReplicaSet", "shop-7d"), ("Deployment", "shop")]
        .map(|(kind, name)| Owner {
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
        .into();
    pod.containers[0].environment = vec![("VERSION".to_owned(), "v2".to_owned())];
    for (template, expected) in [
        ("{{.Pod.Node}}", Some("node-1")),
        (
            r#"{{.Pod.OwnerName "StatefulSet,Deployment"}}"#,
            Some("shop"),
        ),
        (r#"{{.Pod.OwnerName "Service,Deployment"}}"#, Some("shop")),
        (r#"{{.Pod.OwnerName "Job"}}"#, None),
        (
            r#"{{if .Pod.HasOwnerName "Job"}}a{{else}}b{{end}}"#,
            Some("b"),
        ),
        (r#"{{.Container.EnvValue "NONE,VERSION"}}"#, Some("v2")),
        ("{{.Container.ID}}", Some("containerd://app")),
        (
            r#"{{(.Pod.FindContainer "istio-proxy").ID}}"#,
            Some("containerd://istio-proxy"),
        ),
        (r#"{{.Pod.LabelValue "x" "none"}}"#, Some("none")),
    ] {
        let settings = KubernetesSettings {
            analyzers: vec![AnalyzerSettings::stock("MESH", &[], template, "x")],
            ..KubernetesSettings::default()
        };
        let named = named(&settings, &pod, 0, "");
        let service = named.first().map(|it| it.service.as_str());
        assert_eq!(service, expected, "{template}");
    }
}
