//! Placeholders: Satellite's valid results kept, its panics and garbage gone.

use proptest::prelude::*;

use super::{good, load, load_with};
use crate::config::placeholder::expand_scalar;
use crate::config::tree::{Raw, Style};
use crate::config::{kind, units, yaml};

const UNSET: &dyn Fn(&str) -> Option<String> = &|_| None;

fn expanded(text: &str) -> Option<(String, Raw)> {
    let scalar = expand_scalar(text, UNSET)?;
    let raw = scalar.raw();
    Some((scalar.text, raw))
}

#[test]
fn what_satellite_expands_is_expanded_alike() {
    let text = |text: &str| Some((text.to_owned(), Raw::Text));
    assert_eq!(expanded("${FOO:1}"), Some(("1".into(), Raw::Whole(1))));
    assert_eq!(expanded("${FOO::1234}"), text(":1234"));
    assert_eq!(expanded("${FOO:}"), text(""));
    assert_eq!(expanded(r#"${FOO:"ca.pem"}"#), text("ca.pem"));
    assert_eq!(expanded(r#"${FOO:"5"}"#), text("5"));
    assert_eq!(expanded("${A:${B:c}}"), text("${B:c}"));
}

#[test]
fn names_may_have_digits_and_small_letters() {
    for name in [
        "FOO_2",
        "foo",
        "FOO_bar",
        "SATELLITE_grpc_CA_PEM_PATH",
        "NATIVELOG-TOPIC",
    ] {
        let found = expanded(&format!("${{{name}:1}}"));
        assert_eq!(found, Some(("1".into(), Raw::Whole(1))), "{name}");
    }
}

#[test]
fn what_is_not_wholly_a_placeholder_is_text() {
    let texts = [
        "pre-${FOO:1}",
        "${FOO:1}-post",
        "http://HOST:80/{id}",
        "A:}",
        "${FOO}",
        "${:1}",
        "${",
        "",
        "${A B:1}",
        "}",
    ];
    for text in texts {
        assert_eq!(expanded(text), None, "{text}");
    }
}

#[test]
fn a_single_quote_character_is_no_panic() {
    assert_eq!(expanded("${FOO:\"}"), Some(("\"".into(), Raw::Text)));
}

#[test]
fn an_empty_variable_counts_as_unset_and_two_quotes_as_empty() {
    let empty = expand_scalar("${FOO:x}", &|_| Some(String::new())).expect("a placeholder");
    assert_eq!((empty.text.as_str(), empty.style), ("x", Style::Expanded));
    let quotes = expand_scalar("${FOO:x}", &|_| Some("\"\"".to_owned())).expect("a placeholder");
    assert_eq!((quotes.text.as_str(), quotes.style), ("", Style::Quoted));
}

#[test]
fn texts_keep_their_letters_and_numbers_are_coerced() {
    let text = "
sharing:
  clients:
    - plugin_name: grpc-client
      authentication: ${TOKEN:}
      check_period: ${PERIOD_2:5}
      enable_tls: ${tls:true}
      insecure_skip_verify: ${SKIP:1}
      max_in_flight: '${FLIGHT:1}'
  servers: [{plugin_name: grpc-server}]
";
    let variables = [("TOKEN", "007"), ("PERIOD_2", "007"), ("FLIGHT", "0x10p2")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = load_with(text, &variables.into()).expect("valid");
    let client = &config.settings.client;
    assert_eq!(client.authentication.as_deref(), Some("007"));
    assert_eq!(client.check_period.as_secs(), 7);
    assert_eq!(client.max_in_flight, 64);
    assert!(
        client
            .tls
            .as_ref()
            .is_some_and(|tls| tls.insecure_skip_verify)
    );
    let flat = config.flat();
    assert_eq!(flat["sharing.clients[0].authentication"], "007");
    assert_eq!(flat["sharing.clients[0].check_period"], 7);
}

#[test]
fn anchors_and_merge_keys_work() {
    let config = good(&super::with_pipes(
        "  - &base
    gatherer: &gatherer
      receiver: {plugin_name: grpc-native-tracing-receiver}
      queue: &queue {partition: 3}
  - gatherer:
      receiver: {plugin_name: grpc-native-log-receiver}
      queue: {<<: *queue, event_buffer_size: 7}
",
    ));
    let queue = config.settings.pipes[1].queue.expect("a queue");
    assert_eq!((queue.partition, queue.event_buffer_size), (3, 7));
}

#[test]
fn deep_and_wide_files_are_refused() {
    for (levels, limit) in [(65, "levels of nesting"), (5_000, "recursion limit")] {
        let deep = load(&"[".repeat(levels)).expect_err("too deep");
        assert!(deep.to_string().contains(limit), "{deep}");
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    let wide = load(&bomb).expect_err("too wide");
    assert!(wide.to_string().contains("nodes"), "{wide}");
}

proptest! {
    #[test]
    fn no_text_makes_expansion_panic(text in "(\\$\\{)?[A-Za-z_:\"{}$0-9. ]{0,12}\\}?", value in ".{0,8}") {
        let _ = expand_scalar(&text, &|_| Some(value.clone())).map(|scalar| {
            (scalar.raw(), kind::whole(&scalar), kind::flag(&scalar))
        });
        let _ = expand_scalar(&text, UNSET).map(|scalar| scalar.raw());
    }

    #[test]
    fn no_text_makes_a_unit_panic(text in "\\PC{0,16}") {
        let _ = units::duration(&text);
        let _ = units::bytes(&text);
        let _ = units::listen_address(&text);
        let _ = units::server_address(&text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "([a-z&*!|>%@#:,'\"\\[\\]{}<\\-]|\n| ){0,60}") {
        let _ = yaml::parse(&text);
        let _ = load(&text);
    }
}

#[test]
fn durations_are_those_of_go() {
    let nanos = |text: &str| units::duration(text).map(|duration| duration.as_nanos());
    assert_eq!(nanos("5s"), Some(5_000_000_000));
    assert_eq!(nanos("300ms"), Some(300_000_000));
    assert_eq!(nanos("1h30m"), Some(5_400_000_000_000));
    assert_eq!(nanos("1.5h"), Some(5_400_000_000_000));
    assert_eq!(nanos(".5us"), Some(500));
    assert_eq!(nanos("0"), Some(0));
    for bad in [
        "",
        "+",
        "5",
        "s",
        "5 s",
        "-5s",
        "1.5",
        ".s",
        "1..5s",
        "5d",
        "9999999999h",
    ] {
        assert_eq!(nanos(bad), None, "{bad}");
    }
}
