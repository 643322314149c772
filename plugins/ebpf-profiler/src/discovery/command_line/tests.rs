use proptest::prelude::*;

use super::*;

fn of(arguments: &[&str]) -> String {
    shown(&Facts {
        comm: "comm".to_owned(),
        arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
        ..Facts::default()
    })
}

#[test]
fn an_ordinary_command_line_stays_as_it_is() {
    let lines: [&[&str]; 5] = [
        &["nginx:", "worker", "process"],
        &["java", "-Xmx1g", "-Dserver.port=80", "-jar", "/a b/c.jar"],
        &["app", "--token-file=/run/token", "--passwordFile", "/run/p"],
        &["app", "--tokenizer=x", "--compass", "--bypass", "north"],
        &["sh", "-c", "exec  app --a=b\n\t--c   "],
    ];
    for line in lines {
        assert_eq!(of(line), line.join(" "));
    }
    assert_eq!(of(&[]), "[comm]");
}

#[test]
fn secrets_are_masked_wherever_they_stand() {
    let cases: [(&[&str], &str); 19] = [
        (&["a", "--password=x", "b"], "a --password=*** b"),
        (&["a", "--password", "x", "b"], "a --password *** b"),
        (&["a", "--password=x y", "b"], "a --password=*** b"),
        (&["a", "--password", "--b", "c"], "a --password *** c"),
        (
            &["a", "-Dspring.datasource.password=x"],
            "a -Dspring.datasource.password=***",
        ),
        (
            &["env", "DB_PASSWORD=x", "PGPASSWORD=y", "a"],
            "env DB_PASSWORD=*** PGPASSWORD=*** a",
        ),
        (
            &["a", "--api-key", "x", "--apiKey=y"],
            "a --api-key *** --apiKey=***",
        ),
        (
            &["a", "--accessToken=x", "--TOKEN=y"],
            "a --accessToken=*** --TOKEN=***",
        ),
        (&["a", "--client-secret=x=y=="], "a --client-secret=***"),
        (
            &["docker", "--env=A_PASSWORD=x"],
            "docker --env=A_PASSWORD=***",
        ),
        (&["a", "{\"secret\":\"x\"}"], "a {\"secret\":***"),
        (
            &["a", "db://me:x@db/?password=y"],
            "a db://me:***@db/?password=***",
        ),
        (
            &["curl", "-H", "Authorization: Bearer x y"],
            "curl -H Authorization: ***",
        ),
        (
            &["curl", "-H", "X-Auth-Token:x"],
            "curl -H X-Auth-Token:***",
        ),
        (
            &["a", "postgres://me:x@db/shop?a=b"],
            "a postgres://me:***@db/shop?a=b",
        ),
        (&["a", "--url=amqp://me:x@y@mq"], "a --url=amqp://me:***@mq"),
        (
            &["sh", "-c", "mysql --user a --password x b"],
            "sh -c mysql --user a --password ***",
        ),
        (&["sh", "-c", "P_TOKEN='a b' run"], "sh -c P_TOKEN=***"),
        (&["sh", "-c", "TOKEN=a run -v"], "sh -c TOKEN=*** run -v"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(of(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn a_long_command_line_is_cut_between_letters() {
    let long = "\u{e4}".repeat(SHOWN);
    let shown = of(&["a", &long, "--password=x"]);
    assert_eq!(shown.len(), SHOWN);
    assert!(shown.ends_with('\u{e4}'));
}

#[test]
fn what_stands_around_a_secret_is_shown() {
    let cases: [(&[&str], &str); 17] = [
        (&["a", "-u", "me:x", "b"], "a -u me:*** b"),
        (&["a", "-ume:x", "--user=me:x"], "a -ume:*** --user=me:***"),
        (&["a", "-u", "root", "b:c"], "a -u root b:c"),
        (&["a", "--users", "b:c"], "a --users b:c"),
        (&["a", "-u", "http://b/c"], "a -u http://b/c"),
        (
            &["mysql", "-uroot", "-px", "-P3306", "-p", "shop"],
            "mysql -uroot -p*** -P3306 -p shop",
        ),
        (
            &["sudo", "/usr/bin/mariadb-dump", "-px y", "shop"],
            "sudo /usr/bin/mariadb-dump -p*** shop",
        ),
        (
            &["sh", "-c", "x=`mysqladmin -px ping`"],
            "sh -c x=`mysqladmin -p*** ping`",
        ),
        (&["tar", "-pxf", "b"], "tar -pxf b"),
        (&["sshpass", "-px", "ssh", "h"], "sshpass -p*** ssh h"),
        (&["sshpass", "-p", "x", "ssh", "h"], "sshpass -p *** ssh h"),
        (&["ssh", "-p", "22", "h"], "ssh -p 22 h"),
        (&["a", "--password", "--token", "x"], "a --password *** ***"),
        (
            &["a", "https://x@h/p,https://me:x@h/q"],
            "a https://***@h/p,https://me:***@h/q",
        ),
        (&["a", "b://c,d://x@e"], "a b://c,d://***@e"),
        (
            &["java", "-Dapi.key=x", "-Da=b"],
            "java -Dapi.key=*** -Da=b",
        ),
        (&["sh", "-c", "curl -u 'me:a b' h"], "sh -c curl -u 'me:***"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(of(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn secrets_of_well_known_programs_are_masked() {
    let cases: [&[&str]; 10] = [
        &["redis-server", "--requirepass", "Q7Z"],
        &["redis-server", "--masterauth", "Q7Z"],
        &["curl", "-u", "me:Q7Z", "http://h"],
        &["curl", "--user", "me:Q7Z", "http://h"],
        &["mysql", "-uroot", "-pQ7Z"],
        &["sshpass", "-p", "Q7Z", "ssh", "h"],
        &["git", "clone", "https://Q7Z@github.com/a/b"],
        &["a", "--password", "-Q7Z"],
        &["java", "-Dpwd=Q7Z"],
        &["java", "-Djavax.net.ssl.keyStorePass=Q7Z"],
    ];
    let shown: Vec<_> = cases.iter().map(|it| of(it)).collect();
    let leaks: Vec<_> = shown.iter().filter(|it| it.contains("Q7Z")).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

proptest! {
    #[test]
    fn no_arguments_panic_and_no_option_shows_its_secret(
        arguments in proptest::collection::vec(".{0,20}", 0..6),
        secret in "[a-zA-Z0-9 /:@-]{0,8}Q7Z",
    ) {
        let option = format!("--token={secret}");
        let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
        all.push(&option);
        prop_assert!(!of(&all).contains("Q7Z"));
    }
}
