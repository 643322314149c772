use proptest::prelude::*;

use super::super::facts::Facts;
use super::super::host::Host;
use super::super::kubernetes::{Container, Pod};
use super::super::scene::Scene;
use super::*;

mod go;

/// The root that Go had, too.
fn with_root<T>(check: impl FnOnce(&dyn Subject) -> T) -> T {
    let host = Host {
        name: "node-1".to_owned(),
        addresses: vec![super::super::addresses::Address {
            interface: "eth0".to_owned(),
            ip: [10, 0, 0, 7].into(),
        }],
        ..Host::default()
    };
    let facts = Facts {
        pid: 42,
        comm: "java".to_owned(),
        ..Facts::default()
    };
    let container = |name: &str| Container {
        name: name.to_owned(),
        lasting: true,
        ..Container::default()
    };
    let labels = [("app", "shop"), ("empty", "")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pod = Pod {
        name: "shop-7d".to_owned(),
        namespace: "prod".to_owned(),
        labels: labels.into(),
        containers: vec![container("app"), container("istio-proxy")],
        ..Pod::default()
    };
    check(&Scene::in_pod(&host, &facts, &pod, &pod.containers[0]))
}

fn render(text: &str) -> Result<String, String> {
    let template = Template::parse(text, &KUBERNETES).map_err(|error| error.to_string())?;
    with_root(|root| template.render(root)).map_err(|failure| failure.to_string())
}

#[test]
fn what_is_accepted_comes_out_as_go_has_it() {
    for (text, expected) in go::OUTCOMES {
        assert_eq!(render(text).as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn what_go_refuses_is_refused() {
    for text in go::FAILURES {
        assert!(render(text).is_err(), "{text}: {:?}", render(text));
    }
}

#[test]
fn what_no_name_needs_is_refused() {
    for text in go::STRICTER {
        assert!(render(text).is_err(), "{text}: {:?}", render(text));
    }
}

#[test]
fn mistakes_are_found_at_start_with_their_place() {
    let cases = [
        ("{{.Pod.Name", "at 2: an action is not closed"),
        ("ab{{\"a", "at 4: a string is not closed"),
        ("a{{/* b", "at 1: a comment is not closed"),
        ("{{(.Pod.Name}}", "at 12: a parenthesis is not closed"),
        ("a{{if true}}b", "at 3: an if is not closed"),
        ("a{{end}}", "at 3: found end, expected an if before it"),
        ("{{}}", "at 2: found }}, expected a value"),
        (
            "{{ eq \"a\"\"b\" }}",
            "at 9: found \"b\", expected a space, | or the end",
        ),
        ("{{.Pod}}", "at 2: found .Pod, expected one of its members"),
        (
            "{{@}}",
            "at 2: found @, expected a name, a string, a number or a parenthesis",
        ),
        ("{{nosuch 1}}", "at 2: there is no function nosuch"),
        ("{{range .Pod}}", "at 2: range is not supported"),
        ("{{$x := 1}}", "at 2: the variable $x is not supported"),
        (
            "{{.Pod.LabelValue \"app\"}}",
            "at 6: LabelValue takes 2 arguments, given 1",
        ),
        (
            "{{.Pod.FindContainer.Name}}",
            "at 6: FindContainer takes 1 argument, given 0",
        ),
        (
            "{{.Pod.Name \"x\"}}",
            "at 6: Name takes no arguments, given 1",
        ),
        ("{{and}}", "at 2: and takes at least 1 argument, given 0"),
        (
            "{{.Pod.Name.Length}}",
            "at 11: a text has no Length, it has no members",
        ),
        (
            "{{.Container.Nme}}",
            "at 12: .Container has no Nme, it has Name, ID, EnvValue",
        ),
        ("{{010}}", "at 2: 010 is no whole number of 64 bits"),
        (r#"{{"\q"}}"#, r#"at 2: "\q" is no string"#),
    ];
    for (text, expected) in cases {
        let error = Template::parse(text, &KUBERNETES).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn a_rule_of_a_host_cannot_speak_of_pods() {
    let error = Template::parse("{{.Pod.Name}}", &HOST)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "at 2: a process of a host has no Pod, it has Rover, Process"
    );
    assert!(Template::parse("{{.Process.UnitName}}", &HOST).is_ok());
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("{{{{{}1{}}}}}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(render(&nested(64)).as_deref(), Ok("1"));
    let error = render(&nested(65)).unwrap_err();
    assert_eq!(error, "at 67: nested too deeply");
    let error = render(&"{{if 1}}".repeat(100_000)).unwrap_err();
    assert!(error.ends_with("nested too deeply"), "{error}");
}

#[test]
fn a_filter_is_a_pipeline_without_braces() {
    let holds = |text: &str| {
        let filter = Filter::parse(text, &KUBERNETES).map_err(|error| error.to_string())?;
        with_root(|root| filter.holds(root)).map_err(|failure| failure.to_string())
    };
    for (text, expected) in [
        (r#".Pod.HasContainer "istio-proxy""#, Ok(true)),
        (r#"eq .Container.Name "istio-proxy""#, Ok(false)),
        (r#"ne .Container.Name "istio-proxy""#, Ok(true)),
        (".Pod.HasServiceName", Ok(false)),
        (r#".Pod.LabelSelector "app=shop""#, Ok(true)),
        (r#".Pod.LabelSelector "app=shop,tier=web""#, Ok(false)),
        (r#".Pod.LabelSelector """#, Ok(true)),
        ("1", Ok(true)),
        (r#""F""#, Ok(false)),
        (
            ".Pod.Name",
            Err("expected true or false, the filter says \"shop-7d\""),
        ),
        (
            ".Pod.LabelSelector \"app\"",
            Err("LabelSelector cannot take the text \"app\""),
        ),
        (".Pod.Nme", Err("at 4: .Pod has no Nme, it has ")),
        ("eq 1", Err("at 0: eq takes at least 2 arguments, given 1")),
        ("(eq 1 1", Err("at 7: a parenthesis is not closed")),
        ("", Err("at 0: found }}, expected a value")),
    ] {
        match (holds(text), expected) {
            (Err(error), Err(expected)) => assert!(error.starts_with(expected), "{text}: {error}"),
            (outcome, expected) => assert_eq!(outcome, expected.map_err(str::to_owned), "{text}"),
        }
    }
}

#[test]
fn every_member_of_the_shapes_exists() {
    fn check(subject: &dyn Subject, shape: &Shape) {
        for member in shape.members {
            let arguments = vec!["istio-proxy"; member.arguments];
            match (subject.member(member.name, &arguments), member.kind) {
                (Ok(Value::Subject(inner)), shape::Kind::Subject(shape)) => check(inner, shape),
                (Ok(Value::Subject(_)), _) | (Ok(_), shape::Kind::Subject(_)) => {
                    panic!("{}.{} is of another kind", shape.name, member.name)
                }
                (Ok(_), _) => {}
                (Err(failure), _) => {
                    let unknown = format!("{}.{}", shape.name, member.name);
                    let unknown = Failure::Absent { what: unknown };
                    assert_ne!(failure, unknown);
                }
            }
        }
    }
    with_root(|root| check(root, &KUBERNETES));
}

/// Texts that are likely to be templates, well formed or not.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{{"),
        Just("}}"),
        Just("{{- "),
        Just(" -}}"),
        Just("("),
        Just(")"),
        Just("|"),
        Just(" "),
        Just("."),
        Just(".Pod"),
        Just(".Name"),
        Just(".Pod.LabelValue \"a\" \"b\""),
        Just("\""),
        Just("`"),
        Just("\\"),
        Just("eq"),
        Just("and"),
        Just("if"),
        Just("else"),
        Just("end"),
        Just("printf"),
        Just("\"%s%\""),
        Just("-1"),
        Just("/*"),
        Just("*/"),
        Just("$"),
        Just("\n"),
        Just("true"),
        Just("\u{e4}"),
        Just("x"),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_text_makes_the_parser_or_the_evaluation_panic(
        text in prop_oneof![pieces(), ".{0,40}".prop_map(|inner| format!("{{{{{inner}}}}}"))],
    ) {
        let parsed = Template::parse(&text, &KUBERNETES);
        if let Err(error) = &parsed {
            prop_assert!(error.at <= text.len());
            prop_assert!(text.is_char_boundary(error.at));
        }
        let _ = render(&text);
        let _ = Filter::parse(&text, &HOST);
    }

    #[test]
    fn text_without_braces_stays_as_it_is(text in "[^{]*") {
        prop_assert_eq!(render(&text), Ok(text));
    }
}
