use super::*;
use crate::process::fixture::{self, Running, compiled, run};
use crate::process::maps::{self, Backing};
use crate::process::proc::Proc;
use crate::process::table::{Limits, Seen};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A symbolizer with what it needs to know of processes.
struct Naming {
    processes: Processes,
    symbolizer: Symbolizer,
}

impl Naming {
    fn new() -> Self {
        Self::with(Symbolizer::new(Options::default()))
    }

    fn with(symbolizer: Symbolizer) -> Self {
        let processes = Processes::new(Proc::default(), Limits::default());
        Self {
            processes,
            symbolizer,
        }
    }

    fn look(&mut self, running: &Running) {
        let seen = self.processes.refresh(running.pid(), Instant::now());
        assert_eq!(seen, Seen::Changed);
    }

    fn symbol(&mut self, pid: u32, address: u64) -> Symbol {
        let symbols = self.symbolizer.user(&mut self.processes, &[(pid, address)]);
        assert_eq!(symbols.len(), 1);
        symbols.into_iter().next().unwrap()
    }

    fn name(&mut self, pid: u32, address: u64) -> String {
        self.symbol(pid, address).name.to_string()
    }
}

/// Starts a program that prints an address, and looks at it.
fn started(program: &Path, naming: &mut Naming) -> (Running, u64) {
    let mut running = Running::start(&mut Command::new(program));
    let address = running.address();
    naming.look(&running);
    (running, address)
}

#[inline(never)]
fn landmark(number: u64) -> u64 {
    std::hint::black_box(number) + 1
}

#[test]
fn our_own_functions_are_named_without_hash() {
    let mut naming = Naming::new();
    let pid = std::process::id();
    naming.processes.refresh(pid, Instant::now());
    let address = landmark as fn(u64) -> u64 as usize as u64;
    let symbol = naming.symbol(pid, address + 1);
    assert_eq!(
        &*symbol.name,
        "perigee_ebpf_profiler::symbol::tests::landmark"
    );
    let module = symbol.module.unwrap();
    assert!(module.elf.segment(symbol.address).is_some());
    let twice = [(pid, address), (pid, address + 2)];
    let symbols = naming.symbolizer.user(&mut naming.processes, &twice);
    assert!(
        Arc::ptr_eq(&symbols[0].name, &symbols[1].name),
        "looked for once"
    );
}

#[test]
fn c_functions_are_named_wherever_the_program_lies() {
    let dir = tempfile::tempdir().unwrap();
    let mut naming = Naming::new();
    for (name, arguments) in [
        ("moved", ["-pie", "-fPIE"]),
        ("fixed", ["-no-pie", "-fno-pie"]),
    ] {
        let program = compiled(dir.path(), name, fixture::C, &arguments);
        let (running, address) = started(&program, &mut naming);
        let symbol = naming.symbol(running.pid(), address + 1);
        assert_eq!(&*symbol.name, "hidden", "{name}");
        assert_eq!(symbol.address == address + 1, name == "fixed", "{name}");
    }
}

#[test]
fn what_nobody_names_is_shown_by_module_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let program = compiled(dir.path(), "stripped", fixture::C, &["-s"]);
    let mut naming = Naming::new();
    let (running, address) = started(&program, &mut naming);
    let symbol = naming.symbol(running.pid(), address);
    assert_eq!(*symbol.name, format!("stripped+{:#x}", symbol.address));
    assert!(symbol.module.is_some());
}

#[test]
fn an_address_of_nothing_is_shown_as_it_is() {
    let mut naming = Naming::new();
    let pid = std::process::id();
    let symbol = naming.symbol(pid, 0x10);
    assert_eq!((&*symbol.name, symbol.address), ("0x10", 0x10));
    assert!(symbol.module.is_none());
    naming.processes.refresh(pid, Instant::now());
    assert_eq!(naming.name(pid, 0x10), "0x10");
    assert_eq!(naming.name(pid, 0xffff_ffff_ff60_0010), "[vsyscall]+0x10");
}

#[test]
fn a_symbol_without_a_size_ends_with_its_section() {
    // In a program with fixed addresses, a function of a library is addressed by its entry in the PLT;
    // between it and `_init`, which has no size, lies another one.
    let source = "#include <stdio.h>\n#include <unistd.h>\n\
        int main(void) { char c; printf(\"%p\\n\", (void *)&getpid); fflush(stdout);\n\
        return read(0, &c, 1) > 0 ? getpid() : 0; }";
    let dir = tempfile::tempdir().unwrap();
    let program = compiled(dir.path(), "plt", source, &["-no-pie", "-fno-pie"]);
    let mut naming = Naming::new();
    let (running, address) = started(&program, &mut naming);
    for address in [address, address - 8] {
        let symbol = naming.symbol(running.pid(), address);
        assert_eq!(&*symbol.module.unwrap().path, program.to_str().unwrap());
        assert_eq!(*symbol.name, format!("plt+{address:#x}"));
    }
}

#[test]
fn a_deleted_program_and_one_that_has_exited_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut naming = Naming::new();

    let program = compiled(dir.path(), "deleted", fixture::C, &[]);
    let mut running = Running::start(&mut Command::new(&program));
    let address = running.address();
    fs::remove_file(&program).unwrap();
    compiled(dir.path(), "deleted", "int main(void) { return 0; }", &[]);
    naming.look(&running);
    assert_eq!(naming.name(running.pid(), address), "hidden");

    let program = compiled(dir.path(), "exited", &fixture::C.replace('7', "8"), &[]);
    let (mut running, address) = started(&program, &mut naming);
    let pid = running.pid();
    running.end();
    naming.processes.exited(pid, Instant::now());
    fs::remove_file(&program).unwrap();
    assert_eq!(naming.name(pid, address), "hidden");
}

#[test]
fn cpp_functions_are_named_with_their_parameters() {
    let source = "#include <cstdio>\n#include <vector>\n\
        namespace shop { template <class T> struct Cart { T sum;\n\
        __attribute__((noinline)) T price(int n) { return sum * n; } }; }\n\
        int main() { shop::Cart<double> cart{2}; auto p = &shop::Cart<double>::price;\n\
        std::printf(\"%p\\n\", *(void **)&p); std::fflush(stdout); return std::getchar() + cart.price(2); }";
    let dir = tempfile::tempdir().unwrap();
    let program = compiled(dir.path(), "cart.cpp", source, &[]);
    let mut naming = Naming::new();
    let (running, address) = started(&program, &mut naming);
    assert_eq!(
        naming.name(running.pid(), address),
        "shop::Cart<double>::price(int)"
    );
}

#[test]
fn a_call_that_never_returns_is_in_the_function_that_made_it() {
    let source = "#include <stdio.h>\n#include <unistd.h>\n\
        __attribute__((noinline, noreturn)) void last(void) { char c;\n\
        printf(\"%p\\n\", __builtin_return_address(0)); fflush(stdout); read(0, &c, 1); _exit(0); }\n\
        __attribute__((noinline)) void caller(void) { last(); }\n\
        __attribute__((noinline, aligned(1))) int next(void) { return 1; }\n\
        int main(void) { caller(); return next(); }";
    let dir = tempfile::tempdir().unwrap();
    let options = [
        "-fno-toplevel-reorder",
        "-fcf-protection=none",
        "-falign-functions=1",
    ];
    let program = compiled(dir.path(), "noreturn", source, &options);
    let mut naming = Naming::new();
    let (running, address) = started(&program, &mut naming);
    assert_eq!(
        naming.name(running.pid(), address),
        "next",
        "what lies behind the call"
    );
    assert_eq!(naming.name(running.pid(), call_of(address)), "caller");
}

/// A program whose names were moved to another file, and that file.
fn split(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let program = compiled(dir, name, fixture::C, &["-Wl,--build-id"]);
    let names = dir.join(format!("{name}.debug"));
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .arg(&program)
        .arg(&names));
    run(Command::new("strip").arg(&program));
    let link = format!("--add-gnu-debuglink={}", names.display());
    run(Command::new("objcopy")
        .current_dir(dir)
        .arg(link)
        .arg(&program));
    (program, names)
}

#[test]
fn names_that_were_moved_to_a_file_beside_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (program, names) = split(dir.path(), "linked");
    let mut naming = Naming::new();
    let (running, address) = started(&program, &mut naming);
    assert_eq!(naming.name(running.pid(), address), "hidden");

    let other = fixture::C.replace('7', "9");
    let other = compiled(dir.path(), "other", &other, &["-Wl,--build-id"]);
    fs::copy(other, names).unwrap();
    let mut naming = Naming::new();
    naming.look(&running);
    let name = naming.name(running.pid(), address);
    assert!(name.starts_with("linked+0x"), "of another build: {name}");
}

#[test]
fn names_that_a_distribution_installed_are_found_by_build_id() {
    let dir = tempfile::tempdir().unwrap();
    let (program, names) = split(dir.path(), "packaged");
    let file = fs::File::open(&program).unwrap();
    let id = crate::process::elf::Elf::read(&file)
        .unwrap()
        .build_id
        .unwrap();
    let id = modules::hexadecimal(&id);
    let at = dir.path().join(".build-id").join(&id[..2]);
    fs::create_dir_all(&at).unwrap();
    fs::rename(names, at.join(format!("{}.debug", &id[2..]))).unwrap();
    let mut naming = Naming::with(Symbolizer::new(Options {
        debug_directory: dir.path().into(),
        ..Options::default()
    }));
    let (running, address) = started(&program, &mut naming);
    assert_eq!(naming.name(running.pid(), address), "hidden");
}

/// Names one function, however often it is asked.
struct One(Range<u64>);

impl Functions for One {
    fn at(&self, address: u64) -> Option<(Range<u64>, String)> {
        let name = || (self.0.clone(), "main.spin".into());
        self.0.contains(&address).then(name)
    }
}

#[test]
fn other_names_are_asked_for_once_where_tables_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let stripped = compiled(dir.path(), "go", fixture::C, &["-s"]);
    let named = compiled(dir.path(), "named", fixture::C, &[]);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let find: FindFunctions = Box::new(move |module| {
        count.fetch_add(1, Ordering::Relaxed);
        let segment = module.elf.segments[0];
        let all = segment.address..segment.address + segment.size;
        Some(Box::new(One(all)) as Box<dyn Functions>)
    });
    let symbolizer = Symbolizer::new(Options::default()).with_functions(find);
    let mut naming = Naming::with(symbolizer);
    let (running, address) = started(&stripped, &mut naming);
    assert_eq!(naming.name(running.pid(), address), "main.spin");
    assert_eq!(naming.name(running.pid(), address + 1), "main.spin");
    let (running, address) = started(&named, &mut naming);
    assert_eq!(naming.name(running.pid(), address), "hidden");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn the_vdso_is_named() {
    let (proc, pid) = (Proc::default(), std::process::id());
    let regions = maps::read(&proc, pid).unwrap();
    let vdso = regions.iter().find(|it| it.backing == Backing::Vdso);
    let Some(vdso) = vdso else {
        println!("skipped: this kernel maps no vDSO");
        return;
    };
    let mut naming = Naming::new();
    naming.processes.refresh(pid, Instant::now());
    let all: Vec<_> = (vdso.start..vdso.end)
        .map(|address| (pid, address))
        .collect();
    let symbols = naming.symbolizer.user(&mut naming.processes, &all);
    let clock = |it: &&Symbol| it.name.ends_with("clock_gettime");
    let symbol = symbols.iter().find(clock).expect("its best known function");
    assert_eq!(&*symbol.module.as_ref().unwrap().path, "[vdso]");
}

#[test]
fn names_stay_within_their_bytes() {
    let bytes = 20 << 10;
    let mut naming = Naming::with(Symbolizer::new(Options {
        names_bytes: bytes,
        ..Options::default()
    }));
    let pid = std::process::id();
    naming.processes.refresh(pid, Instant::now());
    let text = naming.processes.mappings(pid)[0].region.clone();
    let addresses = (text.start..text.end).step_by(64).take(5000);
    let wanted: Vec<_> = addresses.map(|address| (pid, address)).collect();
    let all = naming.symbolizer.user(&mut naming.processes, &wanted);
    assert!(all.iter().all(|it| !it.name.is_empty()));
    assert!(naming.symbolizer.names_bytes() <= bytes);
    let again = naming.symbolizer.user(&mut naming.processes, &wanted);
    assert!(
        all.iter()
            .zip(&again)
            .all(|(one, other)| one.name == other.name)
    );
}

fn python() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    let python = Path::new(&home).join(".pyenv/versions/3.12.1/bin/python3");
    python.exists().then_some(python)
}

#[test]
fn python_functions_are_named_and_their_trampolines_known() {
    let Some(python) = python() else {
        println!("skipped: needs pyenv's Python 3.12.1");
        return;
    };
    let script = "import sys\ndef hot_seventy(): pass\nhot_seventy()\nprint('ready', flush=True)\nsys.stdin.read()";
    let mut running = Running::start(Command::new(python).args(["-X", "perf", "-c", script]));
    assert_eq!(running.line(), "ready");
    let pid = running.pid();
    let map = format!("/tmp/perf-{pid}.map");
    let text = fs::read_to_string(&map).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("py::hot_seventy"))
        .unwrap();
    let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();

    let mut naming = Naming::new();
    naming.look(&running);
    let symbol = naming.symbol(pid, address + 4);
    assert_eq!(&*symbol.name, "py::hot_seventy:<string>");
    assert!(symbol.module.is_none());
    let trampolines = |it: &&Mapped| naming.processes.has_python_trampolines(pid, &it.region);
    let ranges: Vec<_> = naming
        .processes
        .mappings(pid)
        .iter()
        .filter(trampolines)
        .collect();
    assert_eq!(ranges.len(), 1);
    assert!((ranges[0].region.start..ranges[0].region.end).contains(&address));

    running.end();
    naming.processes.exited(pid, Instant::now());
    fs::remove_file(map).unwrap();
    let later = text.lines().find(|line| line.contains("py::")).unwrap();
    let (later, expected) = (
        later.split(' ').next().unwrap(),
        later.splitn(3, ' ').nth(2).unwrap(),
    );
    let later = u64::from_str_radix(later, 16).unwrap();
    assert_eq!(
        naming.name(pid, later),
        expected,
        "process and map are gone"
    );
}

#[test]
fn node_s_functions_are_named() {
    let script = "function hot(n) { let s = 0; for (let i = 0; i < n; i++) s += i % 7; return s }\n\
        for (let i = 0; i < 300; i++) hot(10000);\n\
        console.log('ready'); process.stdin.resume();";
    // Node leaves a log of its own where it runs.
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("node");
    command
        .args(["--perf-basic-prof", "-e", script])
        .current_dir(dir.path());
    if !Command::new("node")
        .arg("--version")
        .output()
        .is_ok_and(|it| it.status.success())
    {
        println!("skipped: needs node");
        return;
    }
    let mut running = Running::start(&mut command);
    assert_eq!(running.line(), "ready");
    let pid = running.pid();
    let map = format!("/tmp/perf-{pid}.map");
    let text = fs::read_to_string(&map).unwrap();
    let line = text
        .lines()
        .rfind(|line| line.contains("JS:*hot "))
        .unwrap();
    let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    let mut naming = Naming::new();
    naming.look(&running);
    let name = naming.name(pid, address + 1);
    running.end();
    fs::remove_file(map).unwrap();
    assert_eq!(name, line.splitn(3, ' ').nth(2).unwrap());
}
