use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::unwind::arena::PlainWords;
use crate::unwind::table::Builder;
use crate::unwind::{Row, Table};

/// Where the table of a [`World`] lies in the process; code without a table lies at [`JIT`].
const BASE: u64 = 0x40_0000;
const JIT: u64 = 0x70_0000;
const SP: u64 = 0x7fff_0000;

/// A process with one table and a range of generated code.
struct World {
    mappings: Vec<Mapping>,
    words: PlainWords,
    rules: Rules,
    table: Table,
}

impl World {
    /// Each rule holds for 16 bytes from `BASE` on.
    fn of(by_address: &[Rule]) -> Self {
        let mut rules = Rules::default();
        let mut builder = Builder::new(0, &mut rules);
        for (at, &rule) in by_address.iter().enumerate() {
            builder.push(Row {
                address: 16 * at as u64,
                rule,
            });
        }
        builder.push(Row {
            address: 16 * by_address.len() as u64,
            rule: Rule::UNKNOWN,
        });
        let table = builder.finish().tables.remove(0);
        let mut words = PlainWords::default();
        words.write(1, 64, &table.words);
        let mapping = |start, walk| Mapping {
            start,
            end: start + 0x1_0000,
            walk,
            ..Mapping::default()
        };
        let mappings = vec![
            Mapping {
                base: BASE,
                arena: 1,
                word: 64,
                pages: table.pages,
                ..mapping(BASE, Walk::Table)
            },
            mapping(JIT, Walk::FramePointers),
        ];
        Self {
            mappings,
            words,
            rules,
            table,
        }
    }

    fn walk(&self, registers: Registers, stack: &[u64], code: Option<&Code>) -> (Vec<u64>, End) {
        let bytes: Vec<u8> = stack.iter().flat_map(|word| word.to_le_bytes()).collect();
        let tables = Tables {
            mappings: &self.mappings,
            words: &self.words,
            rules: self.rules.all(),
        };
        let mut addresses = vec![1, 2, 3];
        let end = walk(
            registers,
            &Stack {
                start: SP,
                bytes: &bytes,
            },
            code,
            &tables,
            &mut addresses,
        );
        (addresses, end)
    }
}

fn at(ip: u64) -> Registers {
    Registers {
        ip,
        sp: SP,
        fp: LOST,
        link: 0,
    }
}

fn of(cfa: Cfa, cfa_offset: i32) -> Rule {
    Rule {
        cfa,
        ..Rule::stack(cfa_offset)
    }
}

#[test]
fn a_return_address_belongs_to_the_call_before_it() {
    // The callee's call is the last instruction of its caller; the next function says the stack ends.
    let world = World::of(&[Rule::stack(8), Rule::stack(24), Rule::END]);
    let (addresses, end) = world.walk(at(BASE), &[BASE + 0x20, 0, 0, BASE + 0x28], None);
    assert_eq!(
        (addresses, end),
        (vec![BASE, BASE + 0x20, BASE + 0x28], End::Complete)
    );
}

#[test]
fn a_frame_pointer_is_restored_from_where_it_was_saved() {
    let saving = Rule {
        frame_pointer: FramePointer::Saved,
        frame_pointer_offset: -16,
        ..Rule::stack(16)
    };
    let world = World::of(&[saving, of(Cfa::Frame, 16), Rule::END]);
    let stack = [SP + 0x20, BASE + 0x18, 9, 9, 9, BASE + 0x28];
    let (addresses, end) = world.walk(at(BASE), &stack, None);
    assert_eq!(
        (addresses, end),
        (vec![BASE, BASE + 0x18, BASE + 0x28], End::Complete)
    );
    let losing = World::of(&[
        Rule {
            frame_pointer: FramePointer::Lost,
            ..saving
        },
        of(Cfa::Frame, 16),
        Rule::END,
    ]);
    assert_eq!(
        losing
            .walk(
                Registers {
                    fp: SP + 0x20,
                    ..at(BASE)
                },
                &stack,
                None
            )
            .1,
        End::NoRule
    );
}

#[test]
fn the_first_word_of_a_plt_entry_depends_on_the_instruction() {
    let world = World::of(&[of(Cfa::Plt, 11), Rule::END]);
    assert_eq!(
        world.walk(at(BASE + 10), &[BASE + 0x18, 0], None).0[1],
        BASE + 0x18
    );
    assert_eq!(
        world.walk(at(BASE + 11), &[3, BASE + 0x18], None).0[1],
        BASE + 0x18
    );
}

#[test]
fn a_cfa_may_lie_on_the_stack() {
    let stack = Rule {
        cfa_addend: 8,
        ..of(Cfa::StackIndirect, 16)
    };
    let saved = FramePointer::SavedAtFrame;
    let aligned = Rule {
        frame_pointer: saved,
        frame_pointer_offset: 0,
        ..of(Cfa::FrameIndirect, -8)
    };
    let world = World::of(&[stack, aligned, of(Cfa::Frame, 16), Rule::END]);
    let memory = [
        7,
        7,
        SP + 0x20,
        7, // CFA is SP + 0x28
        BASE + 0x18,
        SP + 0x50,
        SP + 0x60,
        7, // frame record of the aligned function at SP + 0x30
        7,
        BASE + 0x28,
        7,
        7,
        7,
        BASE + 0x38,
    ];
    let (addresses, end) = world.walk(
        Registers {
            fp: SP + 0x30,
            ..at(BASE)
        },
        &memory,
        None,
    );
    assert_eq!(end, End::Complete);
    assert_eq!(addresses, [BASE, BASE + 0x18, BASE + 0x28, BASE + 0x38]);
}

#[test]
fn an_interrupted_frame_is_looked_up_where_it_was_interrupted() {
    let signal = Rule {
        cfa: Cfa::Signal,
        frame_pointer: FramePointer::Saved,
        frame_pointer_offset: 8,
        return_address_offset: 16,
        cfa_offset: 24,
        ..Rule::default()
    };
    let world = World::of(&[Rule::stack(8), signal, of(Cfa::Frame, 16), Rule::END]);
    let stack = [
        BASE + 0x18,
        7,
        SP + 0x40,
        BASE + 0x20,
        SP + 0x30,
        7,
        7,
        7,
        7,
        BASE + 0x38,
    ];
    let (addresses, end) = world.walk(at(BASE), &stack, None);
    assert_eq!(end, End::Complete);
    assert_eq!(addresses, [BASE, BASE + 0x18, BASE + 0x21, BASE + 0x38]);
}

#[test]
fn a_link_register_serves_the_innermost_frame_alone() {
    let linked = Rule {
        cfa: Cfa::Stack,
        return_address: ReturnAddress::Link,
        ..Rule::default()
    };
    let world = World::of(&[linked, Rule::END]);
    let registers = Registers {
        link: BASE + 0x18,
        ..at(BASE)
    };
    assert_eq!(
        world.walk(registers, &[], None),
        (vec![BASE, BASE + 0x18], End::Complete)
    );
    let registers = Registers {
        link: BASE + 8,
        ..at(BASE)
    };
    assert_eq!(
        world.walk(registers, &[], None),
        (vec![BASE, BASE + 8], End::NoRule)
    );
}

#[test]
fn unknown_code_is_walked_by_frame_pointers() {
    let world = World::of(&[Rule::stack(8), Rule::END]);
    let registers = Registers {
        fp: SP + 16,
        ..at(JIT)
    };
    let stack = [7, 7, SP + 32, JIT + 8, 0, BASE + 0x18];
    assert_eq!(
        world.walk(registers, &stack, None),
        (vec![JIT, JIT + 8, BASE + 0x18], End::Complete)
    );
    // Outside of every mapping the same, but nobody knows whether it is right.
    for ip in [0x1000, JIT + 0x2_0000] {
        assert_eq!(
            world.walk(Registers { ip, ..registers }, &stack, None),
            (vec![ip, JIT + 8, BASE + 0x18], End::NoRule)
        );
    }
    for fp in [SP - 8, SP + 12, SP + FARTHEST, 0, LOST] {
        assert_eq!(
            world.walk(Registers { fp, ..registers }, &stack, None),
            (vec![JIT], End::NoRule)
        );
    }
    let ends = [7, 7, 0, JIT + 8];
    assert_eq!(
        world.walk(registers, &ends, None),
        (vec![JIT, JIT + 8], End::Complete)
    );
}

/// Elsewhere the frame pointer is a register like others.
#[test]
fn a_frame_pointer_of_zero_ends_only_a_chain_of_them() {
    let world = World::of(&[Rule::stack(8), Rule::END]);
    let registers = Registers { fp: 0, ..at(BASE) };
    assert_eq!(
        world.walk(registers, &[JIT + 8], None),
        (vec![BASE, JIT + 8], End::NoRule)
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_frame_that_is_not_made_yet_does_not_hide_the_caller() {
    let world = World::of(&[Rule::stack(8), Rule::END]);
    let registers = Registers {
        fp: SP + 0x20,
        ..at(JIT + 0x100)
    };
    let callers = [7, 7, SP + 0x40, BASE + 0x18];
    let with = |code: Code, top: &[u64]| {
        let mut stack = top.to_vec();
        stack.resize(4, 7);
        stack.extend(callers.iter().skip(2));
        world.walk(registers, &stack, Some(&code)).0
    };
    let mut code = [0x90; 16];
    code[4..8].copy_from_slice(&[0x55, 0x48, 0x89, 0xe5]);
    assert_eq!(with(code, &[JIT + 8]), [JIT + 0x100, JIT + 8, BASE + 0x18]);
    code.rotate_left(1);
    assert_eq!(
        with(code, &[SP + 0x20, JIT + 8]),
        [JIT + 0x100, JIT + 8, BASE + 0x18]
    );
    assert_eq!(with([0x90; 16], &[JIT + 8]), [JIT + 0x100, BASE + 0x18]);
}

#[test]
fn a_walk_stops_at_the_end_of_the_copy_and_at_its_most_frames() {
    let world = World::of(&[Rule::stack(16), Rule::END]);
    assert_eq!(
        world.walk(at(BASE), &[0], None),
        (vec![BASE], End::Truncated)
    );
    let forever: Vec<u64> = std::iter::repeat_n(BASE + 8, 2 * MOST_FRAMES + 2).collect();
    let (addresses, end) = world.walk(at(BASE), &forever, None);
    assert_eq!((addresses.len(), end), (MOST_FRAMES, End::Deep));
}

#[test]
fn a_rule_for_a_whole_mapping_needs_no_table() {
    let mut world = World::of(&[Rule::stack(8), Rule::END]);
    let number = world.rules.take(Rule::stack(16));
    world.mappings[1].walk = Walk::Rule;
    world.mappings[1].word = number.into();
    let (addresses, end) = world.walk(at(JIT), &[7, BASE + 0x18], None);
    assert_eq!((addresses, end), (vec![JIT, BASE + 0x18], End::Complete));
    world.mappings[1].word = 5000;
    assert_eq!(
        world.walk(at(JIT), &[7, BASE + 0x18], None).1,
        End::Unsupported
    );
}

proptest! {
    /// For all tables: the walker finds the same row as `Table::lookup`.
    #[test]
    fn rules_are_those_of_the_table(kinds in vec(0..4_i32, 1..600), at in 0..10_000_u64) {
        let world = World::of(&kinds.iter().map(|kind| Rule::stack(8 * kind)).collect::<Vec<_>>());
        let tables = Tables { mappings: &world.mappings, words: &world.words, rules: world.rules.all() };
        let number = world.table.lookup(at).unwrap_or(Rules::UNKNOWN);
        prop_assert_eq!(tables.rule(BASE + at), world.rules.all()[usize::from(number)]);
    }

    /// For all memory, even of broken tables: a walk ends, and within its most frames.
    #[test]
    fn any_memory_is_walked_to_an_end(
        kinds in vec((0..9_u8, -64..64_i32, -64..64_i32), 1..100),
        stack in vec(prop_oneof![BASE..BASE + 1600, SP..SP + 0x400, any::<u64>()], 0..200),
        broken in vec(any::<u32>(), 0..8),
        ip in BASE..BASE + 1600,
        fp in SP..SP + 0x400,
    ) {
        use Cfa::{End, Frame, FrameIndirect, Plt, Signal, Stack, StackIndirect, Unknown, Unsupported};
        let all = [End, Stack, Frame, Plt, Unsupported, Unknown, Signal, StackIndirect, FrameIndirect];
        let rule = |&(kind, offset, frame_pointer_offset): &(u8, i32, i32)| Rule {
            frame_pointer: FramePointer::Saved,
            frame_pointer_offset,
            ..of(all[usize::from(kind)], offset)
        };
        let mut world = World::of(&kinds.iter().map(rule).collect::<Vec<_>>());
        world.words.write(1, 64, &broken);
        let (addresses, _) = world.walk(Registers { ip, sp: SP, fp, link: 0 }, &stack, None);
        prop_assert!((1..=MOST_FRAMES).contains(&addresses.len()));
    }
}
