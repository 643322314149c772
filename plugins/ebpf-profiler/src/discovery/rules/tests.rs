use serde_json::json;

use super::super::cgroup::Groups;
use super::*;

fn rules(value: serde_json::Value, units: bool) -> Result<Rules, SettingsError> {
    let settings: Vec<RuleSettings> = serde_json::from_value(value).unwrap();
    Rules::new(&settings, units)
}

fn process(command: &str, cgroup: &str) -> Facts {
    Facts {
        pid: 7,
        comm: "comm".to_owned(),
        arguments: command.split_whitespace().map(str::to_owned).collect(),
        groups: Groups::parse(cgroup),
        ..Facts::default()
    }
}

fn host() -> Host {
    Host {
        name: "node-1".to_owned(),
        ..Host::default()
    }
}

fn service(rules: &Rules, facts: &Facts) -> Option<String> {
    rules.named(&host(), facts, "").map(|named| named.service)
}

#[test]
fn the_first_rule_that_matches_names_a_process() {
    let rules = rules(
        json!([
            {"match": {"command": "shop\\.jar"}, "service": "shop", "labels": ["b", "a", "b"]},
            {"match": {"command": "^java "}, "service": "java", "layer": "GENERAL",
             "instance": "{{.Process.Pid}}", "process": "p"},
        ]),
        false,
    )
    .unwrap();
    let shop = rules.named(&host(), &process("java -jar shop.jar", ""), "");
    let expected = Named {
        layer: "OS_LINUX".to_owned(),
        service: "shop".to_owned(),
        instance: "node-1".to_owned(),
        process: "comm".to_owned(),
        labels: vec!["a".to_owned(), "b".to_owned()],
    };
    assert_eq!(shop, Some(expected));
    let other = rules
        .named(&host(), &process("java -jar other.jar", ""), "east")
        .unwrap();
    assert_eq!(
        (other.service.as_str(), other.layer.as_str()),
        ("east::java", "GENERAL")
    );
    assert_eq!(
        (other.instance.as_str(), other.process.as_str()),
        ("7", "p")
    );
    assert_eq!(rules.named(&host(), &process("nginx", ""), ""), None);
}

#[test]
fn all_that_a_rule_asks_for_has_to_match() {
    let rules = rules(
        json!([{
            "match": {"command": "worker", "unit": "^nginx\\.service$", "cgroup": "web\\.slice"},
            "service": "web",
        }]),
        false,
    )
    .unwrap();
    let group = "4:memory:/\n0::/web.slice/nginx.service";
    assert_eq!(
        service(&rules, &process("nginx: worker", group)).as_deref(),
        Some("web")
    );
    assert_eq!(service(&rules, &process("nginx: master", group)), None);
    assert_eq!(
        service(&rules, &process("worker", "0::/web.slice/other.service")),
        None
    );
    assert_eq!(
        service(&rules, &process("worker", "0::/system.slice/nginx.service")),
        None
    );
    assert_eq!(service(&rules, &process("worker", "")), None);
}

#[test]
fn without_rules_services_of_systemd_are_named_and_nothing_else() {
    let rules = rules(json!([]), true).unwrap();
    let named = |cgroup: &str| service(&rules, &process("app", cgroup));
    assert_eq!(
        named("0::/system.slice/nginx.service").as_deref(),
        Some("nginx")
    );
    assert_eq!(
        named(r"0::/system.slice/my\x2dapp.service").as_deref(),
        Some("my-app")
    );
    assert_eq!(named("0::/user.slice/user-0.slice/session-3.scope"), None);
    assert_eq!(
        named("0::/user.slice/user-0.slice/user@0.service/init.scope"),
        None
    );
    let id = "a".repeat(64);
    assert_eq!(named(&format!("0::/system.slice/docker-{id}.scope")), None);
    let delegated = format!("0::/system.slice/containerd.service/a:cri-containerd:{id}");
    assert_eq!(named(&delegated), None);
    assert_eq!(named("0::/"), None);
}

#[test]
fn units_come_after_the_rules() {
    let rules = rules(
        json!([{"match": {"command": "app"}, "service": "mine"}]),
        true,
    )
    .unwrap();
    let group = "0::/system.slice/a.service";
    assert_eq!(
        service(&rules, &process("app", group)).as_deref(),
        Some("mine")
    );
    assert_eq!(
        service(&rules, &process("other", group)).as_deref(),
        Some("a")
    );
}

#[test]
fn a_rule_that_fails_or_says_nothing_names_nothing() {
    let rules = rules(
        json!([
            {"match": {"command": "a"}, "service": "s", "instance": "{{.Rover.HostIPV4 \"none0\"}}"},
            {"match": {"command": "b"}, "service": "{{print \"\"}}"},
        ]),
        false,
    )
    .unwrap();
    assert_eq!(service(&rules, &process("a b", "")), None);
    assert_eq!(service(&rules, &process("b", "")), None);
}

#[test]
fn a_mistake_in_a_rule_is_told_with_its_field_and_value() {
    let cases = [
        (
            json!([{"service": "a"}]),
            "rules[0].match is empty: expected command, unit or cgroup",
        ),
        (
            json!([{"match": {"command": "a"}}]),
            "rules[0].service is empty: expected a template",
        ),
        (
            json!([{"match": {"command": "a"}, "service": "s", "layer": " "}]),
            "rules[0].layer is empty: expected a layer of SkyWalking",
        ),
        (
            json!([{"match": {"unit": "a"}, "service": "s"}, {"match": {"unit": "("}, "service": "s"}]),
            "rules[1].match.unit: \"(\" is no regular expression: ",
        ),
        (
            json!([{"match": {"unit": "a"}, "service": "s", "process": "{{.Pod.Name}}"}]),
            "rules[0].process: \"{{.Pod.Name}}\" is no template: at 2: a process of a host has no Pod",
        ),
    ];
    for (given, expected) in cases {
        let error = rules(given.clone(), false).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{given}: {error}");
    }
}
