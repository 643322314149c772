//! The demo as anybody would run it.

use std::process::Command;

#[test]
fn a_short_demo_moves_every_protocol_and_its_books_add_up() {
    let output = Command::new(env!("CARGO_BIN_EXE_perigee"))
        .args(["demo", "--seconds", "2"])
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for protocol in perigee_protocols::PROTOCOLS {
        assert!(
            text.contains(protocol.pipe),
            "{} is not in\n{text}",
            protocol.pipe
        );
    }
    assert!(text.contains("the books add up"), "{text}");
}
