// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tree of power domains: PEs in domains of one or more levels, in the system (DEN0022 4.2).
//!
//! A domain has a lock, which contains what it guards. A PE that goes down, or comes up, takes the
//! lock of its lowest domain, and that of the next level only if what the domain needs of it, or
//! whether the domain is up, changes. The system's lock also guards which PEs are on, so `CPU_ON`
//! and `CPU_OFF` take all of the PE's. Standby takes none: a PE in standby needs what it needed.
//!
//! Lock order: from the lowest level up.

use crate::activity::{Activity, Needs};
use crate::stat::Stat;
use crate::states::{self, State};
use crate::sync::{Lock, const_unless_loom};
use crate::{Entry, Port, PowerLevel, Psci, Suspend};
use arm_psci::{ErrorCode, HwState, SuspendMode};
use core::sync::atomic::Ordering::Relaxed;

/// A power domain above the PEs and below the system. A new one is down, and all its PEs are off.
/// It is all zero bits, as a new [`Pe`](crate::Pe).
#[derive(Debug)]
#[repr(align(64))]
pub struct Domain {
    node: Lock<Node>,
}

impl Domain {
    const_unless_loom! {
        /// A domain that is down.
        pub fn new() -> Self {
            Self {
                node: Lock::new(Node::DOWN),
            }
        }
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known of a power domain, or of the system.
#[derive(Debug)]
pub(crate) struct Node {
    /// What is in it needs; lane 0 is how many PEs in it are not down, or domains in it are up.
    needs: Needs,
    up: bool,
    /// Of the system: how many PEs are not off. Those that have failed are among them.
    on: u32,
    /// Of the system: how many of those are about to go off.
    leaving: u32,
    down: Stat,
}

impl Node {
    /// All PEs in it are off.
    pub(crate) const DOWN: Self = Self {
        needs: Needs::NONE,
        up: false,
        on: 0,
        leaving: 0,
        down: Stat::NONE,
    };

    fn set_up(&mut self, up: bool, now: u64) {
        if up != self.up {
            self.up = up;
            if up {
                self.down.end(now);
            } else {
                self.down.begin(now);
            }
        }
    }
}

/// Whether a step of a PE turns it on or off.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Turn {
    /// On, by another PE: it starts at its entry point.
    On,
    /// On without a `CPU_ON`.
    Boot,
    Off,
    /// It is on, and stays so.
    Neither,
}

/// A PE is about to do something else.
struct Step<'e> {
    new: Activity,
    /// When, for the statistics.
    now: u64,
    turn: Turn,
    /// At which level the PE claims to be the last one that runs; none at that of the PE.
    last: PowerLevel,
    /// Up to which level the OS decides that the domains go down.
    decided: PowerLevel,
    /// Where the PE goes next.
    entry: Option<&'e Entry>,
}

impl<P: Port> Psci<'_, P> {
    /// A PE that is off is turned on, and told where to start. It may start at once, but finds the
    /// tree only after it has changed.
    ///
    /// # Errors
    ///
    /// `AlreadyOn`, `OnPending`, or `InternalFailure` if the PE has failed.
    pub(crate) fn turn_on(&self, pe: usize, entry: &Entry) -> Result<(), ErrorCode> {
        let mut step = self.step(Activity::RUNNING, Turn::On);
        step.entry = Some(entry);
        self.enter(pe, &step).map(drop)
    }

    /// A PE that was turned on can't start, and is off again. `false` and no change if it did start
    /// all the same.
    pub(crate) fn turn_back_off(&self, pe: usize) -> bool {
        // Either the PE starts or this does so in its place: others find it on, and leave it alone.
        let starts = states::start(self.pes, pe);
        if starts {
            self.system
                .with(|system| system.leaving = system.leaving.wrapping_add(1));
            self.off(pe);
        }
        starts
    }

    /// Marks the PE that boots the machine as on. To be called once, by that PE, before it enters
    /// the Normal world.
    pub fn boot(&self, me: usize) {
        // Nothing refuses it.
        let _ = self.enter(me, &self.step(Activity::RUNNING, Turn::Boot));
    }

    /// Makes the calling PE off for everyone to see. From here on another PE may turn it on
    /// again, so this is the last step after [`Outcome::Off`](crate::Outcome::Off) or
    /// [`Outcome::Freeze`](crate::Outcome::Freeze), before the wait loop. To be called once after
    /// each of them, and never else.
    ///
    /// A power-off that the hardware then abandons changes nothing: the PE stays off, and waits for
    /// [`start`](Self::start) in EL3, or tries again.
    pub fn off(&self, me: usize) {
        // Nothing refuses it.
        let _ = self.enter(me, &self.step(Activity::OFF, Turn::Off));
    }

    /// Ends the standby of [`Outcome::Standby`](crate::Outcome::Standby): to be called after the
    /// wake-up.
    pub fn standby_end(&self, me: usize) {
        if let Some(pe) = self.pes.get(me) {
            pe.end_standby(self.now());
            self.set_idle(me, false);
        }
    }

    /// Ends [`Outcome::PowerDown`](crate::Outcome::PowerDown) and
    /// [`Outcome::SystemSuspend`](crate::Outcome::SystemSuspend), and says where the calling PE
    /// goes: to be called after the wake-up, or at once if an interrupt is already waiting. `None`
    /// if the PE is not suspended so.
    ///
    /// So it is, too, where the hardware denies the power-down, or abandons it, and the PE still has
    /// its context: the image may then return 0 to the caller instead of entering there (DEN0022
    /// 5.1.2).
    ///
    /// A PE that comes out of a reset finds by [`start`](Self::start) and this what it is to do,
    /// whatever made it start: if both answer `None`, it is off.
    #[must_use]
    pub fn resume(&self, me: usize) -> Option<Entry> {
        let pe = self.pes.get(me)?;
        if !pe.activity().is_powered_down() {
            return None;
        }
        // Nothing refuses it.
        let _ = self.enter(me, &self.step(Activity::RUNNING, Turn::Neither));
        Some(pe.entry())
    }

    /// A PE suspends, and starts at `entry` if it is powered down. The answer is the highest level
    /// that goes down with it; the PE itself for standby.
    ///
    /// By `CPU_SUSPEND` if it says at which level it is the last PE. Otherwise the domains are the
    /// platform's in either mode.
    ///
    /// # Errors
    ///
    /// In OS-initiated mode `Denied` if a PE runs below the level of which the caller claims to be
    /// the last one, and `InvalidParameters` if one that doesn't is in a state that doesn't allow
    /// what the caller asks for (DEN0022 5.1.2).
    pub(crate) fn suspend(
        &self,
        me: usize,
        suspend: Suspend,
        last: Option<PowerLevel>,
        entry: Option<&Entry>,
    ) -> Result<PowerLevel, ErrorCode> {
        let own = self.pes.get(me).ok_or(ErrorCode::InternalFailure)?;
        let activity = Activity::suspended(suspend);
        let mut step = self.step(activity, Turn::Neither);
        step.entry = entry;
        // Relaxed: an OS that has changed the mode tells its other PEs.
        let claimed = last.filter(|_| self.os_initiated.load(Relaxed));
        if let Some(last) = claimed {
            step.last = last;
        }
        match suspend {
            Suspend::Standby if self.another_runs(me, step.last) => Err(ErrorCode::Denied),
            Suspend::Standby => {
                own.begin_standby(activity, step.now);
                self.set_idle(me, true);
                Ok(PowerLevel::Pe)
            }
            Suspend::PowerDown(level) => {
                if claimed.is_some() {
                    step.decided = level;
                }
                self.enter(me, &step)
            }
        }
    }

    /// A PE calls `SYSTEM_SUSPEND`.
    ///
    /// # Errors
    ///
    /// `Denied` if another PE is not off.
    pub(crate) fn suspend_system(&self, me: usize, entry: &Entry) -> Result<(), ErrorCode> {
        // One that is alone stays so: none else could turn a PE on.
        if !self.system.with(|system| self.is_alone(system)) {
            return Err(ErrorCode::Denied);
        }
        let system = self.port.power_states().system();
        self.suspend(me, Suspend::PowerDown(system), None, Some(entry))?;
        Ok(())
    }

    fn is_alone(&self, system: &Node) -> bool {
        self.pes_on(system) == 1
    }

    /// How many PEs are not off, and have not failed.
    fn pes_on(&self, system: &Node) -> u32 {
        // Relaxed: how many PEs are left is no more than a number.
        system.on.saturating_sub(self.failed.load(Relaxed))
    }

    /// Calls `f` while no PE is turned on or goes off.
    pub(crate) fn frozen<R>(&self, f: impl FnOnce() -> R) -> R {
        self.system.with(|_| f())
    }

    /// A PE is about to go off; [`off`](Self::off) must follow.
    ///
    /// # Errors
    ///
    /// `Denied` if no other PE stays: none could ever be turned on again.
    pub(crate) fn leave(&self) -> Result<(), ErrorCode> {
        self.system.with(|system| {
            let leaving = system.leaving.wrapping_add(1);
            if leaving >= self.pes_on(system) {
                return Err(ErrorCode::Denied);
            }
            system.leaving = leaving;
            Ok(())
        })
    }

    /// `PSCI_SET_SUSPEND_MODE` (DEN0022 5.1.20).
    ///
    /// To OS-initiated mode: while no PE is suspended, which is the specification's
    /// condition of `CPU_SUSPEND`, or while all PEs are on, which other firmware allows, too. The
    /// specification also asks that no PE has ever called `CPU_SUSPEND` in the mode that ends; that
    /// would refuse an OS that idles before it changes the mode, and one that was started by one
    /// that did. What a PE that is suspended asked for means the same in both modes, so its domains
    /// stay as they are until a PE below them runs. A PE that suspends at the same moment may count
    /// either way.
    ///
    /// # Errors
    ///
    /// `Denied` if that is not so; back to platform-coordinated mode unless the caller is the only
    /// PE that is on.
    pub(crate) fn set_suspend_mode(&self, mode: SuspendMode) -> Result<(), ErrorCode> {
        self.system.with(|system| {
            let os_initiated = mode == SuspendMode::OsInitiated;
            if os_initiated == self.os_initiated.load(Relaxed) {
                return Ok(());
            }
            let allowed = if os_initiated {
                self.pes_on(system) as usize == self.port.pe_count()
                    || !states::any_idle(self.pes, self.port.pe_count())
            } else {
                self.is_alone(system)
            };
            if !allowed {
                return Err(ErrorCode::Denied);
            }
            self.os_initiated.store(os_initiated, Relaxed);
            Ok(())
        })
    }

    /// `NODE_HW_STATE`: the state that this node was put into.
    ///
    /// # Errors
    ///
    /// `InvalidParameters` if the machine has no such node.
    pub(crate) fn hw_state(&self, pe: usize, level: PowerLevel) -> Result<HwState, ErrorCode> {
        let up = if level == PowerLevel::Pe {
            let pe = self.pes.get(pe).ok_or(ErrorCode::InvalidParameters)?;
            if pe.activity().is_standby() {
                return Ok(HwState::Standby);
            }
            !pe.activity().is_down()
        } else {
            self.read(pe, level, |node| node.up.into())? != 0
        };
        Ok(if up { HwState::On } else { HwState::Off })
    }

    /// The residency in microseconds of a state, for the node that it is a state of, or how often it
    /// was in it.
    ///
    /// # Errors
    ///
    /// `InvalidParameters` if the machine has no such node.
    pub(crate) fn statistics(
        &self,
        pe: usize,
        suspend: Suspend,
        count: bool,
    ) -> Result<u64, ErrorCode> {
        let own = self.pes.get(pe).ok_or(ErrorCode::InvalidParameters)?;
        let stat = match suspend {
            Suspend::Standby => own.standby.get(),
            Suspend::PowerDown(PowerLevel::Pe) => own.down.get(),
            Suspend::PowerDown(level) if count => {
                return self.read(pe, level, |node| node.down.count);
            }
            Suspend::PowerDown(level) => {
                return self.read(pe, level, |node| node.down.residency);
            }
        };
        Ok(if count { stat.count } else { stat.residency })
    }

    /// Reads something of the domain of this level that a PE is in.
    #[inline(never)]
    fn read(&self, pe: usize, level: PowerLevel, read: fn(&Node) -> u64) -> Result<u64, ErrorCode> {
        let (found, domain) = self.lock_of(pe, level);
        if found != level {
            return Err(ErrorCode::InvalidParameters);
        }
        Ok(domain.with(|node| read(node)))
    }

    /// Whether a PE runs below the domain of this level that `me` is in, beside `me`.
    ///
    /// Exact where the lock with which the others change what they do is held: that of the lowest
    /// level, for the PEs of one such domain. Otherwise a PE that changes at this moment counts
    /// either way.
    #[inline(never)]
    fn another_runs(&self, me: usize, level: PowerLevel) -> bool {
        if level == PowerLevel::Pe {
            return false;
        }
        let count = self.port.pe_count();
        let (mut first, mut last) = (me, me);
        if level >= self.port.power_states().system() {
            (first, last) = (0, count.saturating_sub(1));
        } else {
            let domain = |pe| self.port.domain(pe, level);
            let mine = domain(me);
            while first > 0 && domain(first.wrapping_sub(1)) == mine {
                first = first.wrapping_sub(1);
            }
            while last.wrapping_add(1) < count && domain(last.wrapping_add(1)) == mine {
                last = last.wrapping_add(1);
            }
        }
        states::another_runs(self.pes, first, last, me)
    }

    /// Notes whether a PE is suspended, which OS-initiated mode alone asks. One that is turned on or
    /// off is not, and was not.
    #[inline(always)]
    fn set_idle(&self, pe: usize, idle: bool) {
        if self.port.features().os_initiated {
            states::set_idle(self.pes, pe, idle);
        }
    }

    /// The domain of this level that a PE is in or, if it is in none, of the next one, with its
    /// level.
    fn lock_of(&self, pe: usize, mut level: PowerLevel) -> (PowerLevel, &Lock<Node>) {
        let system = self.port.power_states().system();
        while level < system {
            if let Some(domain) = self.domains.get(self.port.domain(pe, level)) {
                return (level, &domain.node);
            }
            level = level.up();
        }
        (system, &self.system)
    }

    /// A step from now on that nothing refuses, and that the platform coordinates.
    fn step(&self, new: Activity, turn: Turn) -> Step<'static> {
        Step {
            new,
            now: self.now(),
            turn,
            last: PowerLevel::Pe,
            decided: PowerLevel::Pe,
            entry: None,
        }
    }

    /// Changes what a PE does, and puts the domains above it up or down: down as soon as no PE
    /// needs them, or the OS has decided so. The answer is the highest level that is down.
    fn enter(&self, pe: usize, step: &Step<'_>) -> Result<PowerLevel, ErrorCode> {
        let unknown = (Needs::NONE, Needs::NONE);
        self.climb(pe, PowerLevel::Pe, PowerLevel::Pe, unknown, step)
    }

    /// In the domain above the level `from`, and in all above it that this changes. What is in that
    /// domain needs something else now, unless it is the PE itself. Up to the level `down` the
    /// domains below are down.
    #[inline(never)]
    fn climb(
        &self,
        pe: usize,
        from: PowerLevel,
        mut down: PowerLevel,
        mut change: (Needs, Needs),
        step: &Step<'_>,
    ) -> Result<PowerLevel, ErrorCode> {
        let own = self.pes.get(pe).ok_or(ErrorCode::InternalFailure)?;
        let turns = step.turn != Turn::Neither;
        let is_first = from == PowerLevel::Pe;
        let (level, domain) = self.lock_of(pe, from.up());
        domain.with(|node| {
            if is_first {
                self.check(pe, step)?;
                if let Some(entry) = step.entry {
                    own.set_entry(entry);
                }
                change = (own.activity().needs(), step.new.needs());
                if turns {
                    // Before other PEs are told: then it is no longer theirs.
                    own.set_activity(step.new, step.now);
                }
            }
            let decided = level <= step.decided;
            // What is in the domain and up must be the caller's alone.
            if decided && node.needs.of(PowerLevel::Pe) != 1 {
                return Err(ErrorCode::InvalidParameters);
            }
            let needs = node.needs.recount(change.0, change.1);
            let up = needs.of(level) != 0 && !decided;
            if !up {
                down = level;
            }
            if level == self.port.power_states().system() {
                self.count(node, pe, step.turn);
            } else {
                let before = node.needs.of_domain(level, node.up);
                let after = needs.of_domain(level, up);
                if before != after || turns {
                    down = self.climb(pe, level, down, (before, after), step)?;
                }
            }
            node.needs = needs;
            node.set_up(up, step.now);
            if is_first && !turns {
                own.set_activity(step.new, step.now);
                self.set_idle(pe, step.new.is_suspended());
            }
            Ok(down)
        })
    }

    /// What may refuse a step, with the lock of the PE's lowest domain held.
    fn check(&self, pe: usize, step: &Step<'_>) -> Result<(), ErrorCode> {
        if step.turn == Turn::On {
            return match states::of(self.pes, pe) {
                State::Off => Ok(()),
                State::Pending => Err(ErrorCode::OnPending),
                State::On => Err(ErrorCode::AlreadyOn),
                State::Failed => Err(ErrorCode::InternalFailure),
            };
        }
        if self.another_runs(pe, step.last) {
            return Err(ErrorCode::Denied);
        }
        Ok(())
    }

    /// Counts a PE that is turned on or off, and tells the others. `system` is the system's node.
    fn count(&self, system: &mut Node, pe: usize, turn: Turn) {
        match turn {
            Turn::On | Turn::Boot => {
                system.on = system.on.wrapping_add(1);
                states::turn_on(self.pes, pe, turn == Turn::On);
            }
            Turn::Off => {
                system.on = system.on.wrapping_sub(1);
                system.leaving = system.leaving.wrapping_sub(1);
                states::off(self.pes, pe);
            }
            Turn::Neither => {}
        }
    }
}
