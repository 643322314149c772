//! What gimli says of an address, compared with what a table says.

use gimli::{
    CfaRule, Encoding, EndianSlice, EvaluationResult, LittleEndian, Location, Register,
    RegisterRule, UnwindExpression, UnwindSection, UnwindTableRow, Value, X86_64,
};
use perigee_ebpf_profiler::unwind::arena::ARENA_WORDS;
use perigee_ebpf_profiler::unwind::{Cfa, FramePointer, ReturnAddress, Rule, Rules, Table};

/// Words of a whole arena.
pub(crate) const MOST_WORDS: usize = ARENA_WORDS as usize;

/// The tables of one file.
pub(crate) struct Read {
    pub(crate) tables: Vec<Table>,
    pub(crate) rules: Rules,
}

impl Read {
    pub(crate) fn of(file: &[u8]) -> Self {
        Self::in_pieces(file, MOST_WORDS)
    }

    pub(crate) fn in_pieces(file: &[u8], most_words: usize) -> Self {
        let mut rules = Rules::default();
        let read = Table::read(file, most_words, &mut rules, || ()).expect("an ELF file");
        let tables = read.tables;
        Self { tables, rules }
    }

    pub(crate) fn rule(&self, address: u64) -> Rule {
        let number = self.tables.iter().find_map(|table| table.lookup(address));
        self.rules.all()[usize::from(number.unwrap_or(Rules::UNKNOWN))]
    }

    pub(crate) fn words(&self) -> usize {
        self.tables.iter().map(|table| table.words.len()).sum()
    }
}

/// A register or a word of memory in a made-up thread.
const STACK_POINTER: u64 = 0x10_0000;
const FRAME_POINTER: u64 = 0x20_0000;

fn memory(address: u64) -> u64 {
    address.wrapping_mul(0x9e37_79b9) >> 4
}

/// What of a description is needed to compare with it.
pub(crate) struct Expected<'r, S> {
    pub(crate) section: &'r S,
    pub(crate) row: &'r UnwindTableRow<usize>,
    pub(crate) encoding: Encoding,
    pub(crate) address: u64,
}

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

impl<'a, S: UnwindSection<Bytes<'a>>> Expected<'_, S> {
    /// Why a rule does not lead where the row does; none if it does. A made-up thread is unwound by both.
    pub(crate) fn difference(&self, rule: &Rule) -> Option<String> {
        let return_address = self.row.register(X86_64::RA);
        let same = match return_address {
            Some(RegisterRule::Undefined) => *rule == Rule::END,
            Some(RegisterRule::Register(_)) => *rule == Rule::UNSUPPORTED,
            _ if *rule == Rule::UNSUPPORTED => self.may_be_unsupported(),
            _ if rule.cfa == Cfa::Signal => self.signal(rule),
            _ => self.frame(rule),
        };
        (!same).then(|| format!("{rule:?} is not {:?}", self.row))
    }

    /// Only other registers and what is computed with them have no rule.
    fn may_be_unsupported(&self) -> bool {
        match self.row.cfa() {
            CfaRule::RegisterAndOffset { register, .. } => {
                ![X86_64::RSP, X86_64::RBP].contains(register)
            }
            CfaRule::Expression(expression) => self.evaluate(expression).is_none(),
        }
    }

    fn frame(&self, rule: &Rule) -> bool {
        let cfa = match rule.cfa {
            Cfa::Stack => STACK_POINTER.wrapping_add_signed(rule.cfa_offset.into()),
            Cfa::Frame => FRAME_POINTER.wrapping_add_signed(rule.cfa_offset.into()),
            Cfa::Plt => {
                STACK_POINTER
                    + if self.address % 16 >= u64::from(rule.cfa_offset as u32) {
                        16
                    } else {
                        8
                    }
            }
            Cfa::StackIndirect => {
                memory(STACK_POINTER.wrapping_add_signed(rule.cfa_offset.into()))
                    + u64::from(rule.cfa_addend)
            }
            Cfa::FrameIndirect => {
                memory(FRAME_POINTER.wrapping_add_signed(rule.cfa_offset.into()))
                    + u64::from(rule.cfa_addend)
            }
            _ => return false,
        };
        let at = |base: u64, offset: i32| Some(base.wrapping_add_signed(offset.into()));
        let frame_pointer = match rule.frame_pointer {
            FramePointer::Same => None,
            FramePointer::Saved => at(cfa, rule.frame_pointer_offset),
            FramePointer::SavedAtFrame => at(FRAME_POINTER, rule.frame_pointer_offset),
            FramePointer::Lost => {
                return self.row.register(X86_64::RBP).is_some() && self.cfa() == Some(cfa);
            }
        };
        self.cfa() == Some(cfa)
            && rule.return_address == ReturnAddress::Saved
            && self.saved(X86_64::RA, cfa) == at(cfa, rule.return_address_offset)
            && self.saved(X86_64::RBP, cfa) == frame_pointer
    }

    fn signal(&self, rule: &Rule) -> bool {
        let at = |offset: i32| STACK_POINTER.wrapping_add_signed(offset.into());
        self.cfa() == Some(memory(at(rule.cfa_offset)))
            && self.saved(X86_64::RA, 0) == Some(at(rule.return_address_offset))
            && self.saved(X86_64::RBP, 0) == Some(at(rule.frame_pointer_offset))
    }

    fn cfa(&self) -> Option<u64> {
        match self.row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                Some(self.register(*register)?.wrapping_add_signed(*offset))
            }
            CfaRule::Expression(expression) => self.evaluate(expression),
        }
    }

    /// Where a register was saved; none if it was not.
    fn saved(&self, register: Register, cfa: u64) -> Option<u64> {
        match self.row.register(register)? {
            RegisterRule::Offset(offset) => Some(cfa.wrapping_add_signed(offset)),
            RegisterRule::Expression(expression) => self.evaluate(&expression),
            _ => None,
        }
    }

    fn register(&self, register: Register) -> Option<u64> {
        match register {
            X86_64::RSP => Some(STACK_POINTER),
            X86_64::RBP => Some(FRAME_POINTER),
            X86_64::RA => Some(self.address),
            _ => None,
        }
    }

    /// What an expression computes; none if it needs other registers.
    fn evaluate(&self, expression: &UnwindExpression<usize>) -> Option<u64> {
        let mut evaluation = expression.get(self.section).ok()?.evaluation(self.encoding);
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => evaluation
                    .resume_with_register(Value::Generic(self.register(register)?))
                    .ok()?,
                EvaluationResult::RequiresMemory {
                    address, size: 8, ..
                } => evaluation
                    .resume_with_memory(Value::Generic(memory(address)))
                    .ok()?,
                _ => return None,
            };
        }
        match evaluation.result().first()?.location {
            Location::Address { address } => Some(address),
            _ => None,
        }
    }
}
