use super::*;

#[test]
fn a_units_name_has_no_suffix_and_no_escapes() {
    for (unit, expected) in [
        ("nginx.service", "nginx"),
        ("getty@tty1.service", "getty@tty1"),
        (r"my\x2dapp\x20x.service", "my-app x"),
        (r"odd\x2.service", r"odd\x2"),
        (r"odd\xzz\x2d.scope", r"odd\xzz-"),
        (r"a\xc3\xa4.service", "a\u{e4}"),
    ] {
        let groups = Groups {
            unit: Some(unit.to_owned()),
            ..Groups::default()
        };
        assert_eq!(unit_name(&groups).as_deref(), Some(expected));
    }
    assert_eq!(unit_name(&Groups::default()), None);
}

#[test]
fn secrets_of_the_command_line_get_into_no_name() {
    let facts = Facts {
        arguments: vec!["app".to_owned(), "--token=x".to_owned()],
        ..Facts::default()
    };
    let process = Process(&facts);
    let Ok(Value::Text(line)) = process.member("CommandLine", &[]) else {
        panic!("no text");
    };
    assert_eq!(line, "app --token=***");
}
