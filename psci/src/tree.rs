//! The tree of power domains: PEs in clusters, clusters in the system (DEN0022 4.2).
//!
//! One lock for all of it: going down is not the fast path, a few counters are all that it takes,
//! and with one lock 'the last PE that runs' has an answer that no race can make wrong.

use crate::stat::Stat;
use crate::sync::{AtomicU64, Lock, Locked, const_unless_loom};
use crate::{PowerLevel, PowerState, Suspend};
use arm_psci::{ErrorCode, HwState, SuspendMode};
use core::sync::atomic::Ordering::Relaxed;

/// What a PE does, the greater, the more of the tree it needs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Activity {
    /// Off by `CPU_OFF`, or not on yet.
    Off = 0,
    /// Powered down, and allows the levels up to this one to go down.
    SystemDown = 1,
    ClusterDown = 2,
    PeDown = 3,
    Standby = 4,
    Running = 5,
}

impl Activity {
    const ALL: [Self; 6] = [
        Self::Off,
        Self::SystemDown,
        Self::ClusterDown,
        Self::PeDown,
        Self::Standby,
        Self::Running,
    ];

    /// Whether a PE that does this keeps its cluster up.
    fn holds_cluster(self) -> bool {
        self > Self::ClusterDown
    }

    /// Whether a PE that does this keeps the system up.
    fn holds_system(self) -> bool {
        self > Self::SystemDown
    }

    fn is_down(self) -> bool {
        self < Self::Standby
    }
}

impl From<Suspend> for Activity {
    fn from(suspend: Suspend) -> Self {
        match suspend {
            Suspend::Standby => Self::Standby,
            Suspend::PowerDown(PowerLevel::Pe) => Self::PeDown,
            Suspend::PowerDown(PowerLevel::Cluster) => Self::ClusterDown,
            Suspend::PowerDown(PowerLevel::System) => Self::SystemDown,
        }
    }
}

/// The leaf of the tree that is one PE. A new one is off.
#[derive(Debug)]
pub(crate) struct PeNode {
    activity: Locked,
    /// 1 if it is so by `CPU_SUSPEND`.
    suspended: Locked,
    standby: Stat,
    down: Stat,
}

impl PeNode {
    const_unless_loom! {
        /// A PE that is off.
        pub fn new() -> Self {
            Self {
                activity: Locked::zero(),
                suspended: Locked::zero(),
                standby: Stat::new(),
                down: Stat::new(),
            }
        }
    }

    fn activity(&self) -> Activity {
        Activity::ALL[self.activity.get() as usize]
    }

    fn set_activity(&self, new: Activity, now: u64) {
        let old = self.activity();
        self.activity.set(new as u64);
        if old.is_down() && !new.is_down() {
            self.down.end(now);
        }
        if old == Activity::Standby && new != Activity::Standby {
            self.standby.end(now);
        }
        if new == Activity::Standby && old != Activity::Standby {
            self.standby.begin(now);
        }
        if new.is_down() && !old.is_down() {
            self.down.begin(now);
        }
    }
}

/// A cluster, or the system. A new one is down, and all its PEs are off.
#[derive(Debug)]
pub(crate) struct Domain {
    /// How many of its PEs run.
    running: Locked,
    /// How many of its PEs are in standby.
    standby: Locked,
    /// How many of its PEs keep it up if the platform coordinates.
    holding: Locked,
    /// 1 if it is up.
    up: Locked,
    down: Stat,
}

impl Domain {
    const_unless_loom! {
        /// A domain that is down.
        pub fn new() -> Self {
            Self {
                running: Locked::zero(),
                standby: Locked::zero(),
                holding: Locked::zero(),
                up: Locked::zero(),
                down: Stat::new(),
            }
        }
    }

    fn is_up(&self) -> bool {
        self.up.get() != 0
    }

    fn set_up(&self, up: bool, now: u64) {
        if up != self.is_up() {
            self.up.set(up.into());
            if up {
                self.down.end(now);
            } else {
                self.down.begin(now);
            }
        }
    }

    fn recount(&self, old: Activity, new: Activity, holds: impl Fn(Activity) -> bool) {
        self.running
            .recount(old == Activity::Running, new == Activity::Running);
        self.standby
            .recount(old == Activity::Standby, new == Activity::Standby);
        self.holding.recount(holds(old), holds(new));
    }
}

/// Where a PE is in the tree.
#[derive(Clone, Copy)]
pub(crate) struct Place<'t> {
    pub(crate) pe: &'t PeNode,
    pub(crate) cluster: &'t Domain,
}

/// Who coordinates.
#[derive(Debug)]
struct Coordination {
    os_initiated: bool,
}

/// The root of the tree.
#[derive(Debug)]
pub(crate) struct Tree {
    lock: Lock<Coordination>,
    system: Domain,
    /// How many PEs are not off.
    pes_on: Locked,
    /// How many of those have failed. Not guarded by the lock.
    failed: AtomicU64,
    /// How many PEs are suspended by `CPU_SUSPEND`.
    suspended: Locked,
    /// How many of those are on their way off.
    leaving: Locked,
    clusters_up: Locked,
}

impl Tree {
    const_unless_loom! {
        /// A machine that is off.
        pub fn new() -> Self {
            Self {
                lock: Lock::new(Coordination {
                    os_initiated: false,
                }),
                system: Domain::new(),
                pes_on: Locked::zero(),
                failed: AtomicU64::new(0),
                suspended: Locked::zero(),
                leaving: Locked::zero(),
                clusters_up: Locked::zero(),
            }
        }
    }

    /// A PE is turned on, unless `publish` refuses it, which also tells the others. The PE may start
    /// at once, but finds the tree only after it has changed.
    ///
    /// # Errors
    ///
    /// That of `publish`.
    pub(crate) fn turn_on(
        &self,
        place: Place,
        now: u64,
        publish: impl FnOnce() -> Result<(), ErrorCode>,
    ) -> Result<(), ErrorCode> {
        self.lock.with(|_| {
            publish()?;
            self.enter(place, Activity::Running, false, now);
            Ok(())
        })
    }

    /// A PE runs again after standby, or is the one that boots.
    #[inline(never)]
    pub(crate) fn run(&self, place: Place, now: u64) {
        self.lock
            .with(|_| self.enter(place, Activity::Running, false, now));
    }

    /// A PE runs again after a power-down. `false` and no change if it was not powered down.
    #[inline(never)]
    pub(crate) fn resume(&self, place: Place, now: u64) -> bool {
        self.lock.with(|_| {
            let activity = place.pe.activity();
            let suspended = activity != Activity::Off && activity.is_down();
            if suspended {
                self.enter(place, Activity::Running, false, now);
            }
            suspended
        })
    }

    /// Calls `f` while no PE is turned on or goes off.
    pub(crate) fn frozen<R>(&self, f: impl FnOnce() -> R) -> R {
        self.lock.with(|_| f())
    }

    /// A PE that was not off has failed. It stays in the tree as it was.
    pub(crate) fn failed(&self) {
        // Relaxed: how many PEs are left is no more than a number.
        self.failed.fetch_add(1, Relaxed);
    }

    /// How many PEs are not off, and have not failed.
    fn pes_on(&self) -> u64 {
        self.pes_on.get().saturating_sub(self.failed.load(Relaxed))
    }

    /// A PE is about to go off; [`off`](Self::off) must follow.
    ///
    /// # Errors
    ///
    /// `Denied` if no other PE stays: none could ever be turned on again.
    pub(crate) fn leave(&self) -> Result<(), ErrorCode> {
        self.lock.with(|_| {
            let leaving = self.leaving.get() + 1;
            if leaving >= self.pes_on() {
                return Err(ErrorCode::Denied);
            }
            self.leaving.set(leaving);
            Ok(())
        })
    }

    /// A PE goes off. `publish` tells the others, who may turn it on at once, but find the tree
    /// only after it has changed.
    pub(crate) fn off(&self, place: Place, now: u64, publish: impl FnOnce()) {
        self.lock.with(|_| {
            // Off is always coordinated by the platform (DEN0022 5.5.2).
            self.enter(place, Activity::Off, false, now);
            self.leaving.set(self.leaving.get() - 1);
            publish();
        });
    }

    /// A PE calls `CPU_SUSPEND`. The answer is the highest level that goes down with it, or `None`
    /// for standby.
    ///
    /// # Errors
    ///
    /// In OS-initiated mode `Denied` if a PE runs below the level of which the caller claims to be
    /// the last one, and `InvalidParameters` if one that doesn't is in a state that doesn't allow
    /// what the caller asks for (DEN0022 5.1.2).
    pub(crate) fn suspend(
        &self,
        place: Place,
        state: PowerState,
        now: u64,
    ) -> Result<Option<PowerLevel>, ErrorCode> {
        self.lock.with(|coordination| {
            if coordination.os_initiated {
                self.check_os_initiated(place, state)?;
            }
            self.enter(place, state.suspend.into(), true, now);
            let Suspend::PowerDown(level) = state.suspend else {
                return Ok(None);
            };
            if coordination.os_initiated {
                self.decide(
                    place,
                    level < PowerLevel::Cluster,
                    level < PowerLevel::System,
                    now,
                );
            }
            Ok(Some(self.level_down(place)))
        })
    }

    /// A PE calls `CPU_DEFAULT_SUSPEND`, which concerns no domain but its own in either mode.
    pub(crate) fn default_suspend(&self, place: Place, suspend: Suspend, now: u64) {
        self.lock
            .with(|_| self.enter(place, suspend.into(), false, now));
    }

    /// A PE calls `SYSTEM_SUSPEND`.
    ///
    /// # Errors
    ///
    /// `Denied` if another PE is not off.
    pub(crate) fn system_suspend(&self, place: Place, now: u64) -> Result<(), ErrorCode> {
        self.lock.with(|_| {
            if self.pes_on() != 1 {
                return Err(ErrorCode::Denied);
            }
            self.enter(place, Activity::SystemDown, false, now);
            Ok(())
        })
    }

    /// `PSCI_SET_SUSPEND_MODE` (DEN0022 5.1.20), on a machine of `pes` PEs.
    ///
    /// To OS-initiated mode: while no PE is suspended by `CPU_SUSPEND`, which is the
    /// specification's condition, or while all PEs are on, which other firmware allows, too. The
    /// specification also asks that no PE has ever called `CPU_SUSPEND` in the mode that ends; that
    /// would refuse an OS that idles before it changes the mode, and one that was started by one
    /// that did. What a PE that is suspended asked for means the same in both modes, so its domains
    /// stay as they are until a PE below them runs.
    ///
    /// # Errors
    ///
    /// `Denied` if that is not so; back to platform-coordinated mode unless the caller is the only
    /// PE that is on.
    pub(crate) fn set_suspend_mode(&self, mode: SuspendMode, pes: usize) -> Result<(), ErrorCode> {
        self.lock.with(|coordination| {
            let os_initiated = mode == SuspendMode::OsInitiated;
            if os_initiated == coordination.os_initiated {
                return Ok(());
            }
            let allowed = if os_initiated {
                self.suspended.get() == 0 || self.pes_on() == pes as u64
            } else {
                self.pes_on() == 1
            };
            if !allowed {
                return Err(ErrorCode::Denied);
            }
            coordination.os_initiated = os_initiated;
            Ok(())
        })
    }

    /// `NODE_HW_STATE`: the state that this node was put into.
    pub(crate) fn hw_state(&self, place: Place, level: PowerLevel) -> HwState {
        self.lock.with(|_| {
            let up = match level {
                PowerLevel::Pe if place.pe.activity() == Activity::Standby => {
                    return HwState::Standby;
                }
                PowerLevel::Pe => place.pe.activity() == Activity::Running,
                PowerLevel::Cluster => place.cluster.is_up(),
                PowerLevel::System => self.system.is_up(),
            };
            if up { HwState::On } else { HwState::Off }
        })
    }

    /// The residency in microseconds and the count of a state, for the node that it is a state of.
    pub(crate) fn statistics(&self, place: Place, suspend: Suspend) -> (u64, u64) {
        let stat = match suspend {
            Suspend::Standby => &place.pe.standby,
            Suspend::PowerDown(PowerLevel::Pe) => &place.pe.down,
            Suspend::PowerDown(PowerLevel::Cluster) => &place.cluster.down,
            Suspend::PowerDown(PowerLevel::System) => &self.system.down,
        };
        self.lock.with(|_| (stat.residency(), stat.count()))
    }

    /// Refuses what does not fit the state of the other PEs (DEN0022 4.2.3.2, 6.3).
    fn check_os_initiated(&self, place: Place, state: PowerState) -> Result<(), ErrorCode> {
        let wanted = match state.suspend {
            Suspend::Standby => PowerLevel::Pe,
            Suspend::PowerDown(level) => level,
        };
        // Who asks for a domain to go down claims to be its last PE, whether it says so or not.
        let last = state.last.max(wanted);
        // The one that runs is the caller.
        if last >= PowerLevel::Cluster && place.cluster.running.get() != 1
            || last >= PowerLevel::System && self.system.running.get() != 1
        {
            return Err(ErrorCode::Denied);
        }
        // The one cluster that is up is the caller's.
        if wanted >= PowerLevel::Cluster && place.cluster.standby.get() != 0
            || wanted >= PowerLevel::System && self.clusters_up.get() != 1
        {
            return Err(ErrorCode::InvalidParameters);
        }
        Ok(())
    }

    /// Changes what a PE does, and puts the domains above it up or down as the platform
    /// coordinates them: down as soon as no PE needs them. `suspended` says whether it does so by
    /// `CPU_SUSPEND`.
    fn enter(&self, place: Place, new: Activity, suspended: bool, now: u64) {
        let old = place.pe.activity();
        place.pe.set_activity(new, now);
        let was_suspended = place.pe.suspended.get() != 0;
        if was_suspended != suspended {
            self.suspended.recount(was_suspended, suspended);
            place.pe.suspended.set(suspended.into());
        }
        self.pes_on
            .recount(old != Activity::Off, new != Activity::Off);
        place.cluster.recount(old, new, Activity::holds_cluster);
        self.system.recount(old, new, Activity::holds_system);
        self.decide(
            place,
            place.cluster.holding.get() != 0,
            self.system.holding.get() != 0,
            now,
        );
    }

    fn decide(&self, place: Place, cluster_up: bool, system_up: bool, now: u64) {
        self.clusters_up.recount(place.cluster.is_up(), cluster_up);
        place.cluster.set_up(cluster_up, now);
        self.system.set_up(system_up, now);
    }

    fn level_down(&self, place: Place) -> PowerLevel {
        if !self.system.is_up() {
            PowerLevel::System
        } else if !place.cluster.is_up() {
            PowerLevel::Cluster
        } else {
            PowerLevel::Pe
        }
    }
}
