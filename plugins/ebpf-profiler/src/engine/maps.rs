//! Where tables and mappings are written to: the programs' maps, or our own memory.

use crate::bpf::layout::Process;
use crate::bpf::programs::{KernelError, Programs};
use crate::unwind::arena::{PlainWords, Words};
use crate::unwind::{Mapping, Rule};

/// Where rules, tables and mappings are written to.
pub(super) trait Maps: Words {
    fn set_rule(&mut self, number: u16, rule: Rule);
    fn set_mapping(&mut self, index: u32, mapping: Mapping);
    fn set_process(&mut self, pid: u32, process: Option<Process>) -> Result<(), KernelError>;
    fn arenas(&self) -> u32;
    fn add_arena(&mut self) -> Result<(), KernelError>;
    /// Called again and again in work that takes long.
    fn meanwhile(&mut self);
}

impl Words for Programs {
    fn write(&mut self, arena: u32, word: u32, words: &[u32]) {
        for (at, value) in (word..).zip(words) {
            self.set_word(arena, at, *value);
        }
    }

    fn read(&self, arena: u32, word: u32) -> u32 {
        self.word(arena, word)
    }
}

impl Maps for Programs {
    fn set_rule(&mut self, number: u16, rule: Rule) {
        Programs::set_rule(self, number, rule);
    }

    fn set_mapping(&mut self, index: u32, mapping: Mapping) {
        Programs::set_mapping(self, index, mapping);
    }

    fn set_process(&mut self, pid: u32, process: Option<Process>) -> Result<(), KernelError> {
        Programs::set_process(self, pid, process)
    }

    fn arenas(&self) -> u32 {
        Programs::arenas(self)
    }

    fn add_arena(&mut self) -> Result<(), KernelError> {
        Programs::add_arena(self)
    }

    fn meanwhile(&mut self) {
        self.set_events_aside();
    }
}

/// Tables for ourselves alone: rules and mappings are read where we keep them.
impl Maps for PlainWords {
    fn set_rule(&mut self, _: u16, _: Rule) {}

    fn set_mapping(&mut self, _: u32, _: Mapping) {}

    fn set_process(&mut self, _: u32, _: Option<Process>) -> Result<(), KernelError> {
        Ok(())
    }

    fn arenas(&self) -> u32 {
        u32::MAX
    }

    fn add_arena(&mut self) -> Result<(), KernelError> {
        Ok(())
    }

    fn meanwhile(&mut self) {}
}
