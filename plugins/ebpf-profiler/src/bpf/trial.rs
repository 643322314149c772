//! Small things asked of the kernel to see what it allows: each is given back when its descriptor drops.
//!
//! By the bare system call and not by the loader that captures use, so that what fails is one thing, and
//! the kernel's answer is kept. Numbers and layouts are those of `include/uapi/linux/bpf.h`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::errno::Failure;

mod code;

use code::{Instruction, Names};

const BPF_MAP_CREATE: u32 = 0;
const BPF_PROG_LOAD: u32 = 5;
const BPF_RAW_TRACEPOINT_OPEN: u32 = 17;
const BPF_BTF_LOAD: u32 = 18;

const BPF_PROG_TYPE_PERF_EVENT: u32 = 7;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_RAW_TP: u32 = 23;

const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY: u32 = 6;
const BPF_MAP_TYPE_LRU_HASH: u32 = 9;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_F_MMAPABLE: u32 = 1 << 10;

const LICENSE: &CStr = c"GPL";

/// The beginning of `union bpf_attr` for `BPF_MAP_CREATE`; here and below, what is left out is zero.
#[repr(C)]
#[derive(Default)]
struct MapAttr {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
}
const _: () = assert!(size_of::<MapAttr>() == 24);

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ProgramAttr {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
    btf: u32,
    function_info_size: u32,
    function_info: u64,
    function_info_count: u32,
    line_info_size: u32,
    line_info: u64,
    line_info_count: u32,
    attach_btf_id: u32,
}
const _: () = assert!(size_of::<ProgramAttr>() == 112);

#[repr(C)]
#[derive(Default)]
struct TracepointAttr {
    name: u64,
    program: u32,
    padding: u32,
}
const _: () = assert!(size_of::<TracepointAttr>() == 16);

#[repr(C)]
#[derive(Default)]
struct BtfAttr {
    btf: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    padding: u32,
}
const _: () = assert!(size_of::<BtfAttr>() == 32);

/// A command of bpf(2) that answers with a descriptor.
fn bpf<T>(call: &'static str, command: u32, attr: &T) -> Result<OwnedFd, Failure> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of one of the structures above; addresses in it are
    // of borrows that the caller holds during the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attr, size_of::<T>()) };
    match i32::try_from(answer) {
        // SAFETY: the call has just made this descriptor and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Failure::of(call, &io::Error::last_os_error())),
    }
}

/// Loads a program that does nothing, to be attached to a perf event.
///
/// # Errors
/// The kernel's answer.
pub fn load_perf_event() -> Result<OwnedFd, Failure> {
    load(
        ProgramAttr {
            kind: BPF_PROG_TYPE_PERF_EVENT,
            ..ProgramAttr::default()
        },
        &code::NOTHING,
    )
}

/// Loads a program that does nothing, to be attached to a tracepoint by the id of its type in the
/// kernel's BTF (`tp_btf`).
///
/// # Errors
/// The kernel's answer.
pub fn load_tracepoint(type_id: u32) -> Result<OwnedFd, Failure> {
    let attr = ProgramAttr {
        kind: BPF_PROG_TYPE_TRACING,
        expected_attach_type: BPF_TRACE_RAW_TP,
        attach_btf_id: type_id,
        ..ProgramAttr::default()
    };
    load(attr, &code::NOTHING)
}

/// Attaches a program of [`load_tracepoint`], until the descriptor drops.
///
/// # Errors
/// The kernel's answer.
pub fn attach_tracepoint(program: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let attr = TracepointAttr {
        program: number(program),
        ..TracepointAttr::default()
    };
    bpf("bpf(RAW_TRACEPOINT_OPEN)", BPF_RAW_TRACEPOINT_OPEN, &attr)
}

/// Loads a program that reads memory of the kernel, which lockdown may forbid.
///
/// # Errors
/// The kernel's answer.
pub fn load_kernel_reader() -> Result<OwnedFd, Failure> {
    let attr = ProgramAttr {
        kind: BPF_PROG_TYPE_PERF_EVENT,
        ..ProgramAttr::default()
    };
    load(attr, &code::READ_KERNEL)
}

/// Loads a program that calls `bpf_loop`.
///
/// # Errors
/// The kernel's answer, to the program or to the types that it needs.
pub fn load_loop() -> Result<OwnedFd, Failure> {
    let types = code::loop_types();
    let attr = BtfAttr {
        btf: address(&types),
        size: types.len() as u32,
        ..BtfAttr::default()
    };
    let btf = bpf("bpf(BTF_LOAD)", BPF_BTF_LOAD, &attr)?;
    let functions: Names = code::LOOP_FUNCTIONS;
    let attr = ProgramAttr {
        kind: BPF_PROG_TYPE_PERF_EVENT,
        btf: number(btf.as_fd()),
        function_info_size: size_of_val(&functions[0]) as u32,
        function_info: address(&functions),
        function_info_count: functions.len() as u32,
        ..ProgramAttr::default()
    };
    load(attr, &code::LOOP)
}

fn load(attr: ProgramAttr, code: &[Instruction]) -> Result<OwnedFd, Failure> {
    let attr = ProgramAttr {
        instruction_count: code.len() as u32,
        instructions: address(code),
        license: LICENSE.as_ptr() as u64,
        ..attr
    };
    bpf("bpf(PROG_LOAD)", BPF_PROG_LOAD, &attr)
}

/// A type of map that captures use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// By key.
    Hash,
    /// By key; what was not used for long makes room.
    LruHash,
    /// By index.
    Array,
    /// By index, one for each CPU.
    PerCpuArray,
    /// By index, and we can map it into our memory.
    MappedArray,
    /// Of maps.
    ArrayOfMaps,
    /// A ring of events.
    RingBuffer,
}

impl Map {
    /// All but the ring buffer, which is not needed where stacks can be counted in maps.
    pub const STORES: [Map; 6] = [
        Map::Hash,
        Map::LruHash,
        Map::Array,
        Map::PerCpuArray,
        Map::MappedArray,
        Map::ArrayOfMaps,
    ];

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Map::Hash => "hash",
            Map::LruHash => "LRU hash",
            Map::Array => "array",
            Map::PerCpuArray => "per-CPU array",
            Map::MappedArray => "mapped array",
            Map::ArrayOfMaps => "array of maps",
            Map::RingBuffer => "ring buffer",
        }
    }

    /// Makes a small one.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn create(self) -> Result<OwnedFd, Failure> {
        let entry = |kind| MapAttr {
            kind,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            ..MapAttr::default()
        };
        match self {
            Map::Hash => create(&entry(BPF_MAP_TYPE_HASH)),
            Map::LruHash => create(&entry(BPF_MAP_TYPE_LRU_HASH)),
            Map::Array => create(&entry(BPF_MAP_TYPE_ARRAY)),
            Map::PerCpuArray => create(&entry(BPF_MAP_TYPE_PERCPU_ARRAY)),
            Map::MappedArray => create(&MapAttr {
                flags: BPF_F_MMAPABLE,
                ..entry(BPF_MAP_TYPE_ARRAY)
            }),
            Map::ArrayOfMaps => {
                let inner = Map::Array.create()?;
                let inner_map = number(inner.as_fd());
                let outer = entry(BPF_MAP_TYPE_ARRAY_OF_MAPS);
                create(&MapAttr {
                    value_size: 4,
                    inner_map,
                    ..outer
                })
            }
            Map::RingBuffer => {
                let max_entries = super::perf::page_size() as u32;
                let kind = BPF_MAP_TYPE_RINGBUF;
                create(&MapAttr {
                    kind,
                    max_entries,
                    ..MapAttr::default()
                })
            }
        }
    }
}

/// Makes an array of so many bytes at least: does the limit of locked memory bind?
///
/// # Errors
/// The kernel's answer.
pub fn create_array(bytes: u32) -> Result<OwnedFd, Failure> {
    let kind = BPF_MAP_TYPE_ARRAY;
    let max_entries = bytes.div_ceil(4096);
    create(&MapAttr {
        kind,
        key_size: 4,
        value_size: 4096,
        max_entries,
        ..MapAttr::default()
    })
}

fn create(attr: &MapAttr) -> Result<OwnedFd, Failure> {
    bpf("bpf(MAP_CREATE)", BPF_MAP_CREATE, attr)
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}
