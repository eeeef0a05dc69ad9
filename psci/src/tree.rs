//! The tree of power domains: PEs in clusters, clusters in the system (DEN0022 4.2).
//!
//! One lock for all of it: going down is not the fast path, a few counters are all that it takes,
//! and with one lock 'the last PE that runs' has an answer that no race can make wrong.

use crate::stat::Stat;
use crate::sync::{Lock, Locked, const_unless_loom};
use crate::{PowerLevel, PowerState, Suspend};
use arm_psci::{ErrorCode, HwState, SuspendMode};

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
    standby: Stat,
    down: Stat,
}

impl PeNode {
    const_unless_loom! {
        /// A PE that is off.
        pub fn new() -> Self {
            Self {
                activity: Locked::zero(),
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

/// Who coordinates, and since when.
#[derive(Debug)]
struct Coordination {
    os_initiated: bool,
    /// Whether any PE called `CPU_SUSPEND` since boot or the last change of mode.
    suspended: bool,
}

/// The root of the tree.
#[derive(Debug)]
pub(crate) struct Tree {
    lock: Lock<Coordination>,
    system: Domain,
    /// How many PEs are not off.
    pes_on: Locked,
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
                    suspended: false,
                }),
                system: Domain::new(),
                pes_on: Locked::zero(),
                leaving: Locked::zero(),
                clusters_up: Locked::zero(),
            }
        }
    }

    /// A PE is about to run, or runs again.
    pub(crate) fn run(&self, place: Place, now: u64) {
        self.lock
            .with(|_| self.enter(place, Activity::Running, now));
    }

    /// A PE is about to go off; [`off`](Self::off) must follow.
    ///
    /// # Errors
    ///
    /// `Denied` if no other PE stays: none could ever be turned on again.
    pub(crate) fn leave(&self) -> Result<(), ErrorCode> {
        self.lock.with(|_| {
            let leaving = self.leaving.get() + 1;
            if leaving >= self.pes_on.get() {
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
            self.enter(place, Activity::Off, now);
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
            coordination.suspended = true;
            self.enter(place, state.suspend.into(), now);
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
        self.lock.with(|_| self.enter(place, suspend.into(), now));
    }

    /// A PE calls `SYSTEM_SUSPEND`.
    ///
    /// # Errors
    ///
    /// `Denied` if another PE is not off.
    pub(crate) fn system_suspend(&self, place: Place, now: u64) -> Result<(), ErrorCode> {
        self.lock.with(|_| {
            if self.pes_on.get() != 1 {
                return Err(ErrorCode::Denied);
            }
            self.enter(place, Activity::SystemDown, now);
            Ok(())
        })
    }

    /// `PSCI_SET_SUSPEND_MODE` (DEN0022 5.1.20).
    ///
    /// # Errors
    ///
    /// `Denied` if PEs are in states that mean something else in the new mode.
    pub(crate) fn set_suspend_mode(&self, mode: SuspendMode) -> Result<(), ErrorCode> {
        self.lock.with(|coordination| {
            let os_initiated = mode == SuspendMode::OsInitiated;
            if os_initiated == coordination.os_initiated {
                return Ok(());
            }
            let allowed = if os_initiated {
                !coordination.suspended
            } else {
                self.pes_on.get() == 1
            };
            if !allowed {
                return Err(ErrorCode::Denied);
            }
            *coordination = Coordination {
                os_initiated,
                suspended: false,
            };
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
    /// coordinates them: down as soon as no PE needs them.
    fn enter(&self, place: Place, new: Activity, now: u64) {
        let old = place.pe.activity();
        place.pe.set_activity(new, now);
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
