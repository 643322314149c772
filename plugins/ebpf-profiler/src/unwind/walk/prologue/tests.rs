use super::*;

/// Code of four bytes before the instruction pointer and some from it on.
fn code(before: [u8; 4], next: &[u8]) -> Code {
    let mut code = [0x90; 16];
    code[..4].copy_from_slice(&before);
    code[4..4 + next.len()].copy_from_slice(next);
    code
}

const NOTHING: [u8; 4] = [0x90; 4];

#[test]
fn the_first_and_last_instructions_of_x86_64_are_known() {
    let entry: [&[u8]; 5] = [
        &[0x55, 0x48, 0x89, 0xe5],
        &[0x55, 0x48, 0x8b, 0xec],
        &[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5],
        &[0xc3],
        &[0xc2, 8, 0],
    ];
    for next in entry {
        assert_eq!(
            x86_64(&code(NOTHING, next)),
            Some(Rule::stack(8)),
            "{next:x?}"
        );
    }
    let pushed = x86_64(&code([0x90, 0x90, 0x90, 0x55], &[0x48, 0x89, 0xe5])).expect("a rule");
    assert_eq!((pushed.cfa_offset, pushed.frame_pointer_offset), (16, -16));
    assert_eq!(x86_64(&code(NOTHING, &[0x48, 0x89, 0xe5])), None);
    assert_eq!(x86_64(&code(NOTHING, &[0x55, 0x53])), None);
    assert_eq!(x86_64(&code(NOTHING, &[])), None);
}

#[test]
fn the_first_and_last_instructions_of_arm64_are_known() {
    let push = 0xa9bf_7bfd_u32.to_le_bytes();
    let set = 0x9100_03fd_u32.to_le_bytes();
    let ret = 0xd65f_03c0_u32.to_le_bytes();
    for next in [push, ret] {
        assert_eq!(
            aarch64(&code(NOTHING, &next)).map(|rule| rule.return_address),
            Some(ReturnAddress::Link)
        );
    }
    let pushed = aarch64(&code(push, &set)).expect("a rule");
    assert_eq!(
        (pushed.return_address, pushed.return_address_offset),
        (ReturnAddress::Saved, 8)
    );
    assert_eq!(
        (pushed.frame_pointer, pushed.frame_pointer_offset),
        (FramePointer::Saved, 0)
    );
    assert_eq!(aarch64(&code(NOTHING, &set)), None);
}
