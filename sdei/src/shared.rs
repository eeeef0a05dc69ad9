// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the dispatcher keeps per shared event, and of bindings.

use crate::registration::Registration;

/// Where a shared event may be delivered (DEN0054 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Routing {
    /// RM_ANY: on any PE that can take it.
    Any,
    /// RM_PE: on this PE.
    Pe { index: usize, affinity: u64 },
}

impl Routing {
    pub(crate) fn allows(self, pe: usize) -> bool {
        match self {
            Self::Any => true,
            Self::Pe { index, .. } => index == pe,
        }
    }
}

/// A round of questions: one PE after the other is asked to take an event (see
/// `Dispatcher::pass_on`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Round {
    /// The PE that is asked now.
    pub(crate) asked: usize,
    /// The PE that the round started at: it ends before this one.
    pub(crate) end: usize,
}

/// A shared event's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shared<V> {
    pub(crate) registration: Registration<V>,
    /// It has occurred and not been dispatched.
    pub(crate) pending: bool,
    pub(crate) routing: Routing,
    /// The PE that the interrupt is sent to: the target of RM_PE, and with RM_ANY some PE that is
    /// on, if one is, and that passes on what it can't take.
    pub(crate) route: usize,
    /// The round that is under way, if there is one; only while the event is pending.
    pub(crate) round: Option<Round>,
}

impl<V: Copy> Shared<V> {
    pub(crate) const NONE: Self = Self {
        registration: Registration::NONE,
        pending: false,
        routing: Routing::Any,
        route: 0,
        round: None,
    };
}

/// A private dynamic slot's interrupt, the same on all PEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Binding {
    /// 0 while the slot is free.
    pub(crate) intid: u32,
    /// How many PEs have a handler for it, one that is still running among them.
    pub(crate) users: usize,
}

/// The interrupts in the dynamic slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bindings<const PRIVATE: usize, const SHARED: usize> {
    pub(crate) private: [Binding; PRIVATE],
    /// 0 while the slot is free.
    pub(crate) shared: [u32; SHARED],
}

impl<const PRIVATE: usize, const SHARED: usize> Bindings<PRIVATE, SHARED> {
    pub(crate) const NONE: Self = Self {
        private: [Binding { intid: 0, users: 0 }; PRIVATE],
        shared: [0; SHARED],
    };
}
