// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the dispatcher keeps per PE.

use crate::{
    context::Context,
    event::Priority,
    pstate::Rules,
    registration::Registration,
    sync::{AtomicU64, Event0Word, Ordering},
};

/// What only the PE itself reads and writes. The integrator keeps one per PE and hands it to
/// each entry point of the dispatcher; it does nothing before [`crate::Dispatcher::pe_on`].
///
/// `CAPACITY` is how many private events it has room for: as many as the table has, or more. `V`
/// is [`Interrupts::Saved`](crate::Interrupts::Saved).
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))]
pub struct Pe<const CAPACITY: usize = 1, V = ()> {
    /// This PE's dense index; no PE's while the PE is off.
    pub(crate) index: usize,
    /// Who may call, and how a handler is entered.
    pub(crate) rules: Rules,
    pub(crate) masked: bool,
    /// Bit per private event that has occurred and not been dispatched. Event 0's is in
    /// [`SharedPe`].
    pub(crate) pending: u32,
    pub(crate) events: [Registration<V>; CAPACITY],
    pub(crate) normal: Context,
    pub(crate) critical: Context,
}

impl<const CAPACITY: usize, V: Copy> Pe<CAPACITY, V> {
    /// A PE that is off.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(CAPACITY > 0, "each PE has event 0") };
        Self {
            index: usize::MAX,
            rules: Rules::OFF,
            masked: true,
            pending: 0,
            events: [Registration::NONE; CAPACITY],
            normal: Context::NONE,
            critical: Context::NONE,
        }
    }

    /// Event 0's handler here.
    #[inline(always)]
    pub(crate) fn event0(&mut self) -> &mut Registration<V> {
        // `new` has checked that there is one.
        &mut self.events[0]
    }

    /// Whether a handler is running on this PE.
    #[must_use]
    pub const fn is_in_handler(&self) -> bool {
        self.normal.event.is_some() || self.critical.event.is_some()
    }

    /// Whether the PE is masked (`SDEI_PE_MASK`).
    #[must_use]
    pub const fn is_masked(&self) -> bool {
        self.masked
    }

    /// The context that the innermost running handler interrupted.
    #[inline]
    pub(crate) fn innermost(&mut self) -> Option<&mut Context> {
        if self.critical.event.is_some() {
            Some(&mut self.critical)
        } else if self.normal.event.is_some() {
            Some(&mut self.normal)
        } else {
            None
        }
    }

    pub(crate) fn context(&mut self, priority: Priority) -> &mut Context {
        match priority {
            Priority::Normal => &mut self.normal,
            Priority::Critical => &mut self.critical,
        }
    }
}

impl<const CAPACITY: usize, V: Copy> Default for Pe<CAPACITY, V> {
    fn default() -> Self {
        Self::new()
    }
}

const REGISTERED: u32 = 1 << 0;
const PENDING: u32 = 1 << 1;

/// What other PEs may read and write of a PE. The integrator gives the dispatcher one per PE;
/// each has a cache line of its own.
///
/// Zero bits while the PE is off, so a static array of them takes no room in the image.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct SharedPe {
    /// Event 0 here: [`REGISTERED`] and [`PENDING`]. One word, so that a signal can never be set
    /// behind an unregister. First, so that its address is the [`SharedPe`]'s.
    event0: Event0Word,
    /// Which PEs are on, of [`PER_WORD`] of them: in the slice that the dispatcher is given, the
    /// first element has this for PEs 0 to 63, the second for PEs 64 to 127, and so on. So a
    /// search reads one word for 64 PEs.
    on: AtomicU64,
    /// The PE's own affinity, since it was first on.
    affinity: AtomicU64,
}

/// How many PEs a [`SharedPe::on`] is for.
pub(crate) const PER_WORD: usize = 64;

impl SharedPe {
    crate::sync::maybe_const_fn! {
        /// A PE that is off.
        #[must_use]
        pub fn new() -> Self {
            Self {
                event0: Event0Word::new(0),
                on: AtomicU64::new(0),
                affinity: AtomicU64::new(0),
            }
        }
    }

    /// Event 0 gets a handler here. Only the PE itself calls this.
    pub(crate) fn register_event0(&self) {
        // No ordering: a signaller learns nothing from the bit but that it may set the other,
        // and what the handler needs (its entry point) only this PE ever reads.
        self.event0.store(REGISTERED, Ordering::Relaxed);
    }

    /// Event 0 has no handler here any more, and what was pending is dropped.
    pub(crate) fn unregister_event0(&self) {
        // Atomic against `signal`: its compare-exchange either comes before and is dropped, or
        // comes after, sees no registration and refuses.
        self.event0.swap(0, Ordering::Relaxed);
    }

    /// Marks event 0 pending: `None` where it has no handler here, else whether it was not yet
    /// pending, so that the PE must be told.
    #[inline]
    pub(crate) fn signal(&self) -> Option<bool> {
        let mut seen = self.event0.load(Ordering::Relaxed);
        loop {
            if seen & REGISTERED == 0 {
                return None;
            }
            // Release, with the acquire of `take_signal`: what the signaller stored before is
            // visible to the handler. Written even where the bit is set already, since the
            // handler that is going to see this signal must see these stores, too.
            match self.event0.compare_exchange_weak(
                seen,
                REGISTERED | PENDING,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(seen & PENDING == 0),
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the pending event 0, if it is. Only the PE itself calls this, with event 0
    /// registered.
    #[inline]
    pub(crate) fn take_signal(&self) -> bool {
        // The load finds what was set before the SGI that led here (the contract of
        // `Port::notify`); a signal set later brings an SGI of its own.
        self.event0.load(Ordering::Relaxed) & PENDING != 0 && {
            // Acquire: see `signal`. Only this PE clears bits, so PENDING is still set.
            self.event0.swap(REGISTERED, Ordering::Acquire);
            true
        }
    }

    /// Sets or clears bits of the word of PEs that are on.
    pub(crate) fn set_on(&self, bits: u64, on: bool) {
        // Readers that must not miss the change are ordered by a fence (`pe_on`, `next_on`) or
        // by an event's lock. Release: who finds a PE on finds its affinity.
        if on {
            self.on.fetch_or(bits, Ordering::Release);
        } else {
            self.on.fetch_and(!bits, Ordering::Relaxed);
        }
    }

    /// The word of PEs that are on.
    pub(crate) fn on(&self) -> u64 {
        // Acquire: see `set_on`.
        self.on.load(Ordering::Acquire)
    }

    /// The affinity of this PE, which has been on.
    pub(crate) fn affinity(&self) -> u64 {
        self.affinity.load(Ordering::Relaxed)
    }

    pub(crate) fn set_affinity(&self, affinity: u64) {
        self.affinity.store(affinity, Ordering::Relaxed);
    }

    /// Everything in here, as a value.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn words(&self) -> (u32, u64, u64) {
        (
            self.event0.load(Ordering::Relaxed),
            self.on.load(Ordering::Relaxed),
            self.affinity(),
        )
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn set_words(&self, (event0, on, affinity): (u32, u64, u64)) {
        self.event0.store(event0, Ordering::Relaxed);
        self.on.store(on, Ordering::Relaxed);
        self.set_affinity(affinity);
    }
}

impl Default for SharedPe {
    fn default() -> Self {
        Self::new()
    }
}
