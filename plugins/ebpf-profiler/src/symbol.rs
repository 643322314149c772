//! Names of addresses.
//!
//! Each name is looked for once and then known by module and address, for all processes that map the
//! module ([`names`]). An address that nobody names is shown by the module and its place there: no frame
//! is ever dropped for the lack of a name. Called from one thread, with all addresses of a batch at once,
//! because each file that is looked into costs milliseconds.

pub mod demangle;
pub mod elf;
pub mod go;
pub mod kallsyms;
pub mod kernel;
pub mod names;
mod own;

pub use own::strip_own_frames;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::process::modules::{self, Module};
use crate::process::table::{Mapped, Processes};
use crate::profile;
use elf::Found;
use kernel::Kernel;
use names::Names;

/// Where names come from, and how many are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of names kept ready.
    pub names_bytes: usize,
    /// The kernel's functions.
    pub kallsyms: PathBuf,
    /// Where distributions put names that they took out of programs.
    pub debug_directory: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names_bytes: 4 << 20,
            kallsyms: "/proc/kallsyms".into(),
            debug_directory: "/usr/lib/debug".into(),
        }
    }
}

/// What an address is called.
#[derive(Clone, Debug)]
pub struct Symbol {
    /// The function; `module+0xoffset` where nobody names it, `0xaddress` without a module.
    pub name: Arc<str>,
    /// The file it is in.
    pub module: Option<Arc<Module>>,
    /// In the module's own addresses; as the process saw it where there is no module.
    pub address: u64,
}

/// Functions of a file that names them elsewhere than in symbol tables, as Go does in `.gopclntab`.
pub trait Functions {
    /// The function that an address (the file's own) is in: its addresses and its name.
    fn at(&self, address: u64) -> Option<(Range<u64>, String)>;
}

/// Looks for such functions in a file whose symbol tables do not name an address.
pub type FindFunctions = Box<dyn Fn(&Module) -> Option<Box<dyn Functions>> + Send>;

/// Names addresses.
pub struct Symbolizer {
    debug_directory: PathBuf,
    names: Names,
    kernel: Kernel,
    others: Vec<FindFunctions>,
}

/// The address to name for an address at which a call returns: the call is before it, and what comes after
/// a call that never returns is another function.
pub fn call_of(return_address: u64) -> u64 {
    return_address.saturating_sub(1)
}

impl Symbolizer {
    /// Knows no name yet.
    pub fn new(options: Options) -> Self {
        Self {
            debug_directory: options.debug_directory,
            names: Names::new(options.names_bytes),
            kernel: Kernel::new(options.kallsyms),
            others: Vec::new(),
        }
    }

    /// Asks this, too, where symbol tables do not name an address; in the order added.
    #[must_use]
    pub fn with_functions(mut self, find: FindFunctions) -> Self {
        self.others.push(find);
        self
    }

    /// Names addresses of processes, one answer each in their order. Return addresses shall have gone
    /// through [`call_of`].
    pub fn user(&mut self, processes: &mut Processes, wanted: &[(u32, u64)]) -> Vec<Symbol> {
        let mut looked_at = HashSet::new();
        let mut placed: Vec<Placed> = Vec::with_capacity(wanted.len());
        for &(pid, address) in wanted {
            let mapped = processes.find(pid, address);
            if let Some((module, bias)) = mapped.and_then(|it| Some((it.module.as_ref()?, it.bias)))
            {
                let address = address.wrapping_sub(bias);
                placed.push(Placed {
                    name: self.names.get(module.id, address),
                    module: Some(Arc::clone(module)),
                    address,
                });
                continue;
            }
            let nameless = without_module(mapped, address);
            if looked_at.insert(pid) {
                processes.update_perf_map(pid);
            }
            let name = processes.generated(pid, address);
            placed.push(Placed {
                name: Some(name.unwrap_or(nameless)),
                module: None,
                address,
            });
        }
        self.look_up(&placed);
        let symbols = placed.into_iter().map(|it| self.symbol(it)).collect();
        self.names.evict();
        symbols
    }

    /// Names an address of the kernel.
    pub fn kernel(&mut self, address: u64, now: Instant) -> Arc<str> {
        self.kernel.name(address, now)
    }

    /// The kernel as a module of a profile; its frames' addresses are the ones that were seen.
    pub fn kernel_module(&self) -> profile::Module {
        self.kernel.describe()
    }

    /// Bytes of names of files that are kept ready.
    pub fn names_bytes(&self) -> usize {
        self.names.bytes()
    }

    /// Looks for all names that are not known, file by file.
    fn look_up(&mut self, placed: &[Placed]) {
        let mut missing: BTreeMap<u32, (&Arc<Module>, BTreeSet<u64>)> = BTreeMap::new();
        for it in placed.iter().filter(|it| it.name.is_none()) {
            if let Some(module) = &it.module {
                let (_, addresses) = missing
                    .entry(module.id)
                    .or_insert((module, BTreeSet::new()));
                addresses.insert(it.address);
            }
        }
        for (id, (module, addresses)) in missing {
            let addresses: Vec<u64> = addresses.into_iter().collect();
            for (range, name) in self.functions(module, &addresses) {
                self.names.insert(id, range, Arc::from(name));
            }
        }
    }

    /// What each of these addresses of a file is in.
    fn functions(&self, module: &Module, addresses: &[u64]) -> Vec<(Range<u64>, String)> {
        let file = module.file();
        let mut found = match &file {
            Some(file) => elf::find(file, module, addresses),
            None => vec![Found::Nothing; addresses.len()],
        };
        if found.contains(&Found::Stripped)
            && let Some(file) = elf::debug_file(&self.debug_directory, module)
        {
            let better = elf::find(&file, module, addresses);
            for (found, better) in found.iter_mut().zip(better) {
                if !matches!(found, Found::Function(..)) {
                    *found = better;
                }
            }
        }
        let is_named = |it: &Found| matches!(it, Found::Function(..));
        let others = match found.iter().all(is_named) {
            true => Vec::new(),
            false => self.others.iter().filter_map(|find| find(module)).collect(),
        };
        let answers = found.into_iter().zip(addresses);
        answers
            .map(|(found, &address)| match found {
                Found::Function(range, name) => (range, name),
                Found::Nothing | Found::Stripped => {
                    let other = others.iter().find_map(|functions| functions.at(address));
                    other.unwrap_or_else(|| {
                        (
                            address..address.saturating_add(1),
                            nameless(module, address),
                        )
                    })
                }
            })
            .collect()
    }

    fn symbol(&mut self, placed: Placed) -> Symbol {
        let (module, address) = (placed.module, placed.address);
        let name = placed.name.unwrap_or_else(|| match &module {
            Some(module) => {
                let found = self.names.get(module.id, address);
                found.unwrap_or_else(|| Arc::from(nameless(module, address)))
            }
            None => without_module(None, address),
        });
        Symbol {
            name,
            module,
            address,
        }
    }
}

/// An address that lies in a module of which the name may not be known yet, or that needs none.
struct Placed {
    name: Option<Arc<str>>,
    module: Option<Arc<Module>>,
    address: u64,
}

/// What an address of a module is called that nobody names.
fn nameless(module: &Module, address: u64) -> String {
    format!("{}+{address:#x}", module.name())
}

/// What an address is called that lies in no ELF file: by what is mapped there, if that has a name.
fn without_module(mapped: Option<&Mapped>, address: u64) -> Arc<str> {
    let region = mapped.map(|it| &it.region);
    let named = region.filter(|region| !region.path.is_empty());
    let text = named.map(|region| {
        let place = address
            .wrapping_sub(region.start)
            .wrapping_add(region.offset);
        format!("{}+{place:#x}", modules::name(&region.path))
    });
    Arc::from(text.unwrap_or_else(|| format!("{address:#x}")))
}

impl fmt::Debug for Symbolizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Symbolizer")
            .field("names_bytes", &self.names.bytes())
            .field("kernel", &self.kernel)
            .field("others", &self.others.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
