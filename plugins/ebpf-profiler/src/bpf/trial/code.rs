//! The programs that are tried, as the kernel takes them, and the types that one of them needs.

/// `struct bpf_insn`: opcode, registers, offset, immediate.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Instruction {
    code: u8,
    /// Destination in the lower half on little-endian machines, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}
const _: () = assert!(size_of::<Instruction>() == 8);
const _: () = assert!(
    cfg!(target_endian = "little"),
    "halves of `registers` are swapped elsewhere"
);

const fn instruction(code: u8, registers: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset: 0,
        immediate,
    }
}

const fn set(register: u8, immediate: i32) -> Instruction {
    instruction(0xb7, register, immediate)
}

const fn call(helper: i32) -> Instruction {
    instruction(0x85, 0, helper)
}

const EXIT: Instruction = instruction(0x95, 0, 0);

/// `r2 = &function`, which is two instructions, the function `distance` behind the second's predecessor.
const fn function_to_r2(distance: i32) -> [Instruction; 2] {
    const BPF_PSEUDO_FUNC: u8 = 4;
    [
        instruction(0x18, BPF_PSEUDO_FUNC << 4 | 2, distance),
        instruction(0, 0, 0),
    ]
}

pub(super) const NOTHING: [Instruction; 2] = [set(0, 0), EXIT];

/// `bpf_probe_read_kernel(stack, 8, NULL)`, which fails when run and is never run.
pub(super) const READ_KERNEL: [Instruction; 7] = [
    instruction(0xbf, 10 << 4 | 1, 0),
    instruction(0x07, 1, -8),
    set(2, 8),
    set(3, 0),
    call(113),
    set(0, 0),
    EXIT,
];

/// `bpf_loop(1, step, NULL, 0)`, where `step` ends the loop.
pub(super) const LOOP: [Instruction; 10] = {
    let [low, high] = function_to_r2(STEP - 2);
    [
        set(1, 1),
        low,
        high,
        set(3, 0),
        set(4, 0),
        call(181),
        set(0, 0),
        EXIT,
        set(0, 1),
        EXIT,
    ]
};
/// Where `step` begins in [`LOOP`].
const STEP: i32 = 8;

/// `struct bpf_func_info`: where a function begins, and its type.
pub(super) type Names = [[u32; 2]; 2];
pub(super) const LOOP_FUNCTIONS: Names = [[0, MAIN], [STEP as u32, CALLBACK]];

const INT: u32 = 1;
const PROTOTYPE: u32 = 2;
const MAIN: u32 = 3;
const CALLBACK: u32 = 4;

/// The BTF of [`LOOP`], as a compiler would make it: `int main()` and `static int step()`.
pub(super) fn loop_types() -> Vec<u8> {
    const STRINGS: &[u8] = b"\0int\0main\0step\0";
    const KIND_INT: u32 = 1 << 24;
    const KIND_FUNC: u32 = 12 << 24;
    const KIND_FUNC_PROTO: u32 = 13 << 24;
    const GLOBAL: u32 = 1;
    const STATIC: u32 = 0;
    const SIGNED_32_BITS: u32 = 1 << 24 | 32;
    let types = [
        // Name, kind, size and encoding of type 1.
        [1, KIND_INT, 4, SIGNED_32_BITS].as_slice(),
        // Name, kind, and the type of the result.
        [0, KIND_FUNC_PROTO, INT].as_slice(),
        // Name, kind and linkage, prototype.
        [5, KIND_FUNC | GLOBAL, PROTOTYPE].as_slice(),
        [10, KIND_FUNC | STATIC, PROTOTYPE].as_slice(),
    ];
    let types = types.concat();
    let (length, header) = (types.len() as u32 * 4, 24);
    let mut btf = Vec::new();
    // Magic, version 1, no flags.
    btf.extend([0x9f, 0xeb, 1, 0]);
    for word in [header, 0, length, length, STRINGS.len() as u32]
        .iter()
        .chain(&types)
    {
        btf.extend(word.to_ne_bytes());
    }
    btf.extend(STRINGS);
    btf
}
