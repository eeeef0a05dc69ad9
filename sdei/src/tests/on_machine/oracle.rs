// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the specification's tables say, written without a look at the dispatcher: the answer of
//! every call in every state, which dispatch is allowed, and which one is due.
//!
//! Where the specification leaves a choice (which PE takes an RM_ANY event, which of two events of
//! one priority comes first) the oracle accepts either.

use std::{collections::BTreeMap, vec, vec::Vec};

use super::machine::{
    FIXED_PPI, FIXED_SPI, PRIVATE_CRITICAL, PRIVATE_FIXED, PRIVATE_NORMAL, Registers, SECURE_PPI,
    SECURE_SPI, SHARED_CRITICAL, SHARED_FIXED, SHARED_NORMAL, SHARED_SLOT, SHARED_SLOT_CRITICAL,
    SLOT, SLOT_CRITICAL, n,
};
use crate::Error;

use Error::{Denied, InvalidParameters, OutOfResource, Pending};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Signal,
    El3,
    Fixed(u32),
    Slot,
}

/// An event of the machine's table: shared, critical, source.
pub fn event(number: i32) -> Option<(bool, bool, From)> {
    Some(match number {
        0 => (false, false, From::Signal),
        PRIVATE_CRITICAL => (false, true, From::El3),
        PRIVATE_NORMAL => (false, false, From::El3),
        PRIVATE_FIXED => (false, false, From::Fixed(FIXED_PPI)),
        SLOT..SLOT_CRITICAL => (false, false, From::Slot),
        SLOT_CRITICAL => (false, true, From::Slot),
        SHARED_NORMAL => (true, false, From::El3),
        SHARED_CRITICAL => (true, true, From::El3),
        SHARED_FIXED => (true, false, From::Fixed(FIXED_SPI)),
        SHARED_SLOT..SHARED_SLOT_CRITICAL => (true, false, From::Slot),
        SHARED_SLOT_CRITICAL => (true, true, From::Slot),
        _ => return None,
    })
}

/// Every event of the machine's table.
pub fn events() -> impl Iterator<Item = i32> {
    (0..3000).filter(|&number| event(number).is_some())
}

/// An event's handler, on one PE or for the system.
#[derive(Clone, Debug, Default)]
pub struct Handler {
    pub registered: bool,
    pub enabled: bool,
    pub running: bool,
    pub pending: bool,
    pub relative: bool,
    pub entry: u64,
    pub argument: u64,
    /// The target PE of RM_PE.
    pub target: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct OraclePe {
    pub on: bool,
    pub masked: bool,
    pub private: BTreeMap<i32, Handler>,
    /// The running handlers, outermost first, and what each interrupted.
    pub running: Vec<(i32, Registers)>,
}

/// What a call is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Expect {
    /// Answer this in x0.
    Answer(u64),
    /// Answer this error and change nothing.
    Refuse(Error),
    /// Answer PENDING: the change comes later.
    Later,
    /// Go back to what the innermost handler interrupted.
    Complete,
    /// Enter the client here as by an exception.
    Resume(u64),
}

#[derive(Clone, Debug)]
pub struct Oracle {
    pub pes: Vec<OraclePe>,
    pub shared: BTreeMap<i32, Handler>,
    /// The INTID in each dynamic slot that is not free.
    pub bound: BTreeMap<i32, u32>,
}

fn implemented(intid: u64) -> Option<u32> {
    // What the machine has: PPIs 25..=31 and SPIs 40, 41, 50..=55.
    u32::try_from(intid)
        .ok()
        .filter(|intid| matches!(intid, 25..=31 | 40 | 41 | 50..=55))
}

impl Oracle {
    pub fn new(pes: usize) -> Self {
        let pe = OraclePe {
            on: true,
            masked: true,
            private: BTreeMap::new(),
            running: vec![],
        };
        Self {
            pes: vec![pe; pes],
            shared: BTreeMap::new(),
            bound: BTreeMap::new(),
        }
    }

    fn pe_of(&self, affinity: u64) -> Option<usize> {
        let (upper, core) = (affinity & 0xff_00ff_ff00, affinity & 0xff);
        let index = usize::try_from((upper >> 8) * 2 + core).ok()?;
        (core < 2 && index < self.pes.len()).then_some(index)
    }

    pub fn handler(&mut self, pe: usize, number: i32) -> &mut Handler {
        let (shared, ..) = event(number).unwrap();
        let handlers = if shared {
            &mut self.shared
        } else {
            &mut self.pes[pe].private
        };
        handlers.entry(number).or_default()
    }

    /// The interrupt of an event, if it has one now.
    pub fn interrupt(&self, number: i32) -> Option<u32> {
        match event(number)?.2 {
            From::Fixed(intid) => Some(intid),
            From::Slot => self.bound.get(&number).copied(),
            From::Signal | From::El3 => None,
        }
    }

    /// Whether a handler for the event is registered or running anywhere.
    pub fn in_use(&self, number: i32) -> bool {
        let used = |handlers: &BTreeMap<i32, Handler>| {
            handlers
                .get(&number)
                .is_some_and(|handler| handler.registered || handler.running)
        };
        used(&self.shared) || self.pes.iter().any(|pe| used(&pe.private))
    }

    /// Whether EL3 has acknowledged this event's interrupt and not deactivated it.
    pub fn is_active(&mut self, pe: usize, number: i32) -> bool {
        let has_interrupt = self.interrupt(number).is_some();
        let handler = self.handler(pe, number);
        has_interrupt && (handler.pending || handler.running)
    }

    /// Decides a call and applies it, apart from the dispatch that may follow.
    pub fn call(&mut self, pe: usize, call: u32, args: &[u64; 5]) -> Expect {
        match self.decide(pe, call, args) {
            Ok(expect) => expect,
            Err(Pending) => Expect::Later,
            Err(error) => Expect::Refuse(error),
        }
    }

    fn decide(&mut self, pe: usize, call: u32, args: &[u64; 5]) -> Result<Expect, Error> {
        let number = args[0] as u32 as i32;
        let known = || event(number).ok_or(InvalidParameters);
        let done = Ok(Expect::Answer(0));
        match call {
            n::VERSION => Ok(Expect::Answer(0x0001_0001_0000_0000)),
            n::REGISTER => {
                let (shared, _, from) = known()?;
                let [_, entry, argument, flags, affinity] = *args;
                if entry == 0 || !entry.is_multiple_of(4) || flags >> 2 != 0 {
                    return Err(InvalidParameters);
                }
                let mut target = None;
                if shared && flags & 1 == 1 {
                    target = Some(self.pe_of(affinity).ok_or(InvalidParameters)?);
                }
                let unbound = from == From::Slot && !self.bound.contains_key(&number);
                let handler = self.handler(pe, number);
                if handler.registered || handler.running || unbound {
                    return Err(Denied);
                }
                *handler = Handler {
                    registered: true,
                    relative: flags & 2 != 0,
                    entry,
                    argument,
                    target,
                    ..Handler::default()
                };
                done
            }
            n::ENABLE | n::DISABLE => {
                known()?;
                let handler = self.handler(pe, number);
                if !handler.registered {
                    return Err(Denied);
                }
                handler.enabled = call == n::ENABLE;
                done
            }
            n::CONTEXT => {
                let index = args[0];
                if index > 17 {
                    return Err(InvalidParameters);
                }
                let (_, interrupted) = self.pes[pe].running.last().ok_or(Denied)?;
                Ok(Expect::Answer(interrupted.x[index as usize]))
            }
            n::COMPLETE => {
                self.pes[pe].running.last().ok_or(Denied)?;
                Ok(Expect::Complete)
            }
            n::RESUME => {
                self.pes[pe].running.last().ok_or(Denied)?;
                if args[0] == 0 || !args[0].is_multiple_of(4) {
                    return Err(InvalidParameters);
                }
                Ok(Expect::Resume(args[0]))
            }
            n::UNREGISTER => {
                known()?;
                let handler = self.handler(pe, number);
                if !handler.registered && !handler.running {
                    return Err(Denied);
                }
                handler.registered = false;
                handler.enabled = false;
                handler.pending = false;
                if handler.running { Err(Pending) } else { done }
            }
            n::STATUS => {
                known()?;
                let handler = self.handler(pe, number);
                let bit = |flag, bit| u64::from(flag) << bit;
                Ok(Expect::Answer(
                    bit(handler.registered, 0) | bit(handler.enabled, 1) | bit(handler.running, 2),
                ))
            }
            n::GET_INFO => self.get_info(pe, number, args[1]),
            n::ROUTING_SET => {
                let (shared, ..) = known()?;
                if !shared || args[1] > 1 {
                    return Err(InvalidParameters);
                }
                let mut target = None;
                if args[1] == 1 {
                    target = Some(self.pe_of(args[2]).ok_or(InvalidParameters)?);
                }
                let handler = self.handler(pe, number);
                if !handler.registered || handler.enabled || handler.running {
                    return Err(Denied);
                }
                handler.target = target;
                done
            }
            n::MASK => {
                let was = core::mem::replace(&mut self.pes[pe].masked, true);
                Ok(Expect::Answer(u64::from(!was)))
            }
            n::UNMASK => {
                self.pes[pe].masked = false;
                done
            }
            n::BIND => self.bind(args[0]),
            n::RELEASE => {
                let (_, _, from) = known()?;
                if from != From::Slot || !self.bound.contains_key(&number) {
                    return Err(InvalidParameters);
                }
                if self.in_use(number) {
                    return Err(Denied);
                }
                self.bound.remove(&number);
                done
            }
            n::SIGNAL => {
                if number != 0 {
                    return Err(InvalidParameters);
                }
                let target = self.pe_of(args[1]).ok_or(InvalidParameters)?;
                let handler = self.handler(target, 0);
                if !handler.registered {
                    return Err(InvalidParameters);
                }
                handler.pending = true;
                done
            }
            n::FEATURES => match args[0] {
                0 => Ok(Expect::Answer(4 << 16 | 4)),
                1 => Ok(Expect::Answer(1)),
                _ => Err(InvalidParameters),
            },
            n::PRIVATE_RESET => {
                let private = &mut self.pes[pe].private;
                if private.values().any(|handler| handler.running) {
                    return Err(Denied);
                }
                private.clear();
                done
            }
            n::SHARED_RESET => {
                if self.shared.values().any(|handler| handler.running) {
                    return Err(Denied);
                }
                self.shared.clear();
                let bound = core::mem::take(&mut self.bound);
                self.bound = bound
                    .into_iter()
                    .filter(|&(number, _)| self.in_use(number))
                    .collect();
                done
            }
            _ => Err(Error::NotSupported),
        }
    }

    fn get_info(&mut self, pe: usize, number: i32, item: u64) -> Result<Expect, Error> {
        let (shared, critical, _) = event(number).ok_or(InvalidParameters)?;
        Ok(Expect::Answer(match item {
            0 => u64::from(shared),
            1 => u64::from(number != 0),
            2 => u64::from(critical),
            3 | 4 if shared => {
                let handler = self.handler(pe, number);
                if !handler.registered {
                    return Err(Denied);
                }
                match (item, handler.target) {
                    (3, target) => u64::from(target.is_some()),
                    (_, Some(target)) => super::machine::mpidr(target) & 0xff_00ff_ffff,
                    (_, None) => return Err(InvalidParameters),
                }
            }
            _ => return Err(InvalidParameters),
        }))
    }

    fn bind(&mut self, intid: u64) -> Result<Expect, Error> {
        let intid = implemented(intid).ok_or(InvalidParameters)?;
        if [FIXED_PPI, FIXED_SPI].contains(&intid) {
            return Err(InvalidParameters);
        }
        if let Some((&number, _)) = self.bound.iter().find(|(_, bound)| **bound == intid) {
            return Ok(Expect::Answer(number as u64));
        }
        if [SECURE_PPI, SECURE_SPI].contains(&intid) {
            return Err(Denied);
        }
        let first = if intid < 32 { SLOT } else { SHARED_SLOT };
        let number = (first..first + 4)
            .find(|number| !self.bound.contains_key(number))
            .ok_or(OutOfResource)?;
        self.bound.insert(number, intid);
        Ok(Expect::Answer(number as u64))
    }

    /// Whether the event is to be dispatched on this PE now.
    pub fn is_due(&self, pe: usize, number: i32) -> bool {
        let own = &self.pes[pe];
        let (shared, critical, _) = event(number).unwrap();
        let handlers = if shared { &self.shared } else { &own.private };
        let Some(handler) = handlers.get(&number) else {
            return false;
        };
        let blocked = own
            .running
            .iter()
            .any(|&(running, _)| !critical || event(running).unwrap().1);
        own.on
            && !own.masked
            && !blocked
            && handler.registered
            && handler.enabled
            && handler.pending
            && !handler.running
            && handler.target.is_none_or(|target| target == pe)
    }

    /// A handler was entered on a PE.
    pub fn enter(&mut self, pe: usize, number: i32, interrupted: Registers) {
        let handler = self.handler(pe, number);
        handler.pending = false;
        handler.running = true;
        self.pes[pe].running.push((number, interrupted));
    }

    /// The innermost handler of a PE ends: what it interrupted.
    pub fn leave(&mut self, pe: usize) -> Registers {
        let (number, interrupted) = self.pes[pe].running.pop().unwrap();
        self.handler(pe, number).running = false;
        interrupted
    }

    pub fn off(&mut self, pe: usize) {
        while !self.pes[pe].running.is_empty() {
            self.leave(pe);
        }
        self.pes[pe] = OraclePe {
            on: false,
            masked: true,
            private: BTreeMap::new(),
            running: vec![],
        };
    }
}
