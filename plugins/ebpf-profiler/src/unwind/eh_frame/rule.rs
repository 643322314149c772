//! From a row of call frame information to a [`Rule`].

use gimli::{
    AArch64, CfaRule, Encoding, Expression, Operation, Register, RegisterRule, UnwindExpression,
    UnwindSection, UnwindTableRow, X86_64,
};

use super::super::elf::Machine;
use super::super::{Cfa, FramePointer, ReturnAddress, Rule};
use super::Bytes;

/// Where arm64's kernel saves registers for a signal handler, from the stack pointer its return lands on:
/// `struct rt_sigframe` in the kernel's arch/arm64/kernel/signal.c, 128 bytes `siginfo`, then `ucontext`
/// with `sigcontext.regs` at 184.
const ARM64_REGISTERS: i32 = 128 + 184;

/// The registers that a [`Rule`] speaks of.
struct Registers {
    stack: Register,
    frame: Register,
    return_address: Register,
}

/// What rows of one description share.
pub(super) struct Reading<'s, S> {
    pub(super) section: &'s S,
    pub(super) encoding: Encoding,
    pub(super) machine: Machine,
    /// The description is of code that returns from a signal handler.
    pub(super) signal: bool,
}

/// What an expression computes.
enum Value {
    /// A register and an offset.
    Register(Register, i64),
    /// What lies at a register and an offset, and something added.
    Indirect(Register, i64, u64),
    /// The CFA of an x86-64 PLT entry; the byte from which a word more is on the stack.
    Plt(u8),
}

impl<'a, S: UnwindSection<Bytes<'a>>> Reading<'_, S> {
    /// What `row` says, as far as a [`Rule`] can say it.
    pub(super) fn rule(&self, row: &UnwindTableRow<usize>) -> Rule {
        if self.signal && self.machine == Machine::Aarch64 {
            return arm64_signal();
        }
        let registers = self.registers();
        if let Some(RegisterRule::Undefined) = row.register(registers.return_address) {
            return Rule::END;
        }
        self.signal_rule(row, &registers)
            .or_else(|| self.frame_rule(row, &registers))
            .unwrap_or(Rule::UNSUPPORTED)
    }

    fn registers(&self) -> Registers {
        match self.machine {
            Machine::X86_64 => Registers {
                stack: X86_64::RSP,
                frame: X86_64::RBP,
                return_address: X86_64::RA,
            },
            Machine::Aarch64 => Registers {
                stack: AArch64::SP,
                frame: AArch64::X29,
                return_address: AArch64::X30,
            },
        }
    }

    /// The frame below a signal handler: everything is read from what the kernel saved.
    fn signal_rule(&self, row: &UnwindTableRow<usize>, registers: &Registers) -> Option<Rule> {
        let saved = |register| match row.register(register)? {
            RegisterRule::Expression(expression) => match self.value(&expression)? {
                Value::Register(base, offset) if base == registers.stack => {
                    i32::try_from(offset).ok()
                }
                _ => None,
            },
            _ => None,
        };
        let CfaRule::Expression(expression) = row.cfa() else {
            return None;
        };
        let Value::Indirect(base, offset, 0) = self.value(expression)? else {
            return None;
        };
        (base == registers.stack).then_some(())?;
        Some(Rule {
            cfa: Cfa::Signal,
            cfa_offset: i32::try_from(offset).ok()?,
            frame_pointer: FramePointer::Saved,
            frame_pointer_offset: saved(registers.frame)?,
            return_address_offset: saved(registers.return_address)?,
            ..Rule::default()
        })
    }

    fn frame_rule(&self, row: &UnwindTableRow<usize>, registers: &Registers) -> Option<Rule> {
        let mut rule = self.cfa(row.cfa(), registers)?;
        match row.register(registers.return_address) {
            Some(RegisterRule::Offset(offset)) => {
                rule.return_address_offset = i32::try_from(offset).ok()?;
            }
            None | Some(RegisterRule::SameValue) if self.machine == Machine::Aarch64 => {
                rule.return_address = ReturnAddress::Link;
            }
            _ => return None,
        }
        let saved = match row.register(registers.frame) {
            None | Some(RegisterRule::SameValue) => Some((FramePointer::Same, 0)),
            Some(RegisterRule::Offset(offset)) => Some((FramePointer::Saved, offset)),
            Some(RegisterRule::Expression(expression)) => match self.value(&expression) {
                Some(Value::Register(base, offset)) if base == registers.frame => {
                    Some((FramePointer::SavedAtFrame, offset))
                }
                _ => None,
            },
            _ => None,
        };
        let saved = saved.and_then(|(how, offset)| Some((how, i32::try_from(offset).ok()?)));
        (rule.frame_pointer, rule.frame_pointer_offset) = saved.unwrap_or((FramePointer::Lost, 0));
        Some(rule)
    }

    fn cfa(&self, cfa: &CfaRule<usize>, registers: &Registers) -> Option<Rule> {
        let (register, indirect, offset, addend) = match cfa {
            CfaRule::RegisterAndOffset { register, offset } => (*register, false, *offset, 0),
            CfaRule::Expression(expression) => match self.value(expression)? {
                Value::Register(register, offset) => (register, false, offset, 0),
                Value::Indirect(register, offset, addend) => (register, true, offset, addend),
                Value::Plt(boundary) => {
                    return Some(Rule {
                        cfa: Cfa::Plt,
                        cfa_offset: boundary.into(),
                        ..Rule::default()
                    });
                }
            },
        };
        let kind = match (register, indirect) {
            (register, false) if register == registers.stack => Cfa::Stack,
            (register, false) if register == registers.frame => Cfa::Frame,
            (register, true) if register == registers.stack => Cfa::StackIndirect,
            (register, true) if register == registers.frame => Cfa::FrameIndirect,
            _ => return None,
        };
        Some(Rule {
            cfa: kind,
            cfa_offset: i32::try_from(offset).ok()?,
            cfa_addend: u8::try_from(addend).ok()?,
            ..Rule::default()
        })
    }

    fn value(&self, expression: &UnwindExpression<usize>) -> Option<Value> {
        let expression = expression.get(self.section).ok()?;
        if let Some(boundary) = plt(&expression) {
            return Some(Value::Plt(boundary));
        }
        let mut operations = expression.operations(self.encoding);
        let Operation::RegisterOffset {
            register, offset, ..
        } = operations.next().ok()??
        else {
            return None;
        };
        let addend = match operations.next().ok()? {
            None => return Some(Value::Register(register, offset)),
            Some(Operation::Deref {
                space: false,
                size: 8,
                ..
            }) => match operations.next().ok()? {
                None => 0,
                Some(Operation::PlusConstant { value }) if operations.next().ok()?.is_none() => {
                    value
                }
                Some(_) => return None,
            },
            Some(_) => return None,
        };
        Some(Value::Indirect(register, offset, addend))
    }
}

/// `breg7 8; breg16 0; lit15; and; litN; ge; lit3; shl; plus`, as linkers write it for a PLT; gives `N`,
/// which depends on the kind of PLT (11, 9 or 5).
fn plt(expression: &Expression<Bytes<'_>>) -> Option<u8> {
    match *expression.0.slice() {
        [
            0x77,
            8,
            0x80,
            0,
            0x3f,
            0x1a,
            literal @ 0x30..=0x3f,
            0x2a,
            0x33,
            0x24,
            0x22,
        ] => Some(literal - 0x30),
        _ => None,
    }
}

fn arm64_signal() -> Rule {
    Rule {
        cfa: Cfa::Signal,
        cfa_offset: ARM64_REGISTERS + 31 * 8,
        frame_pointer: FramePointer::Saved,
        frame_pointer_offset: ARM64_REGISTERS + 29 * 8,
        return_address: ReturnAddress::Link,
        return_address_offset: ARM64_REGISTERS + 32 * 8,
        ..Rule::default()
    }
}
