// SPDX-License-Identifier: MIT OR Apache-2.0

//! The platform's table of events (DEN0054 4.2).

/// Who an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Every PE has its own handler and state.
    Private,
    /// One handler for the system; it runs on one PE at a time.
    Shared,
}

/// Priority of an event. A Critical event preempts a Normal handler, never the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Normal.
    Normal,
    /// Critical.
    Critical,
}

/// What makes an event occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `SDEI_EVENT_SIGNAL`: event 0 and no other.
    Signal,
    /// An interrupt that belongs to EL3 for good, by INTID: a PPI for a private event, an SPI
    /// for a shared one. The platform sets it up (Group 0, disabled); the dispatcher enables it
    /// while the event is enabled.
    Interrupt(u32),
    /// A slot that a client fills by `SDEI_INTERRUPT_BIND`.
    Dynamic,
    /// Raised by EL3 itself through [`crate::Dispatcher::raise`].
    Explicit,
}

/// An event that the platform offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// Number by which clients name it; not negative.
    pub number: i32,
    /// What makes it occur.
    pub source: Source,
    /// Its priority.
    pub priority: Priority,
}

impl Event {
    /// Event 0, the software-signalled event, which every platform has.
    pub const SIGNAL: Self = Self {
        number: 0,
        source: Source::Signal,
        priority: Priority::Normal,
    };

    /// A slot for `SDEI_INTERRUPT_BIND`.
    #[must_use]
    pub const fn dynamic(number: i32, priority: Priority) -> Self {
        Self {
            number,
            source: Source::Dynamic,
            priority,
        }
    }

    /// An event of a fixed interrupt.
    #[must_use]
    pub const fn interrupt(number: i32, intid: u32, priority: Priority) -> Self {
        Self {
            number,
            source: Source::Interrupt(intid),
            priority,
        }
    }

    /// The number as a call answers it.
    pub(crate) fn answer(&self) -> u64 {
        // Not negative: `Events::new` has checked it.
        self.number as u64
    }

    /// An event that EL3 raises itself.
    #[must_use]
    pub const fn explicit(number: i32, priority: Priority) -> Self {
        Self {
            number,
            source: Source::Explicit,
            priority,
        }
    }
}

/// Whether the INTID is a PPI, extended ones included (GICv3: 16..=31, 1056..=1119).
#[must_use]
pub const fn is_ppi(intid: u32) -> bool {
    matches!(intid, 16..=31 | 1056..=1119)
}

/// Whether the INTID is an SPI, extended ones included (GICv3: 32..=1019, 4096..=5119).
#[must_use]
pub const fn is_spi(intid: u32) -> bool {
    matches!(intid, 32..=1019 | 4096..=5119)
}

/// The events of a platform: `PRIVATE` private ones and `SHARED` shared ones.
#[derive(Clone, Debug)]
pub struct Events<const PRIVATE: usize = 1, const SHARED: usize = 0> {
    pub(crate) private: [Event; PRIVATE],
    pub(crate) shared: [Event; SHARED],
    /// Bit per private and shared event: which are Critical.
    pub(crate) critical_private: u32,
    pub(crate) critical_shared: u32,
    /// What `SDEI_FEATURES` answers for the bind slots.
    pub(crate) bind_slots: u64,
}

/// The bit of an event among those of its kind: `i` is below 32, as [`Events::new`] has checked,
/// and a shift that can't overflow needs no check of its own.
#[inline(always)]
pub(crate) const fn bit(i: usize) -> u32 {
    1u32.wrapping_shl(i as u32)
}

/// An event's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    Private(usize),
    Shared(usize),
}

impl Events {
    /// Event 0 and no other.
    pub const EVENT0: Self = Self::new([Event::SIGNAL], []);
}

impl<const PRIVATE: usize, const SHARED: usize> Events<PRIVATE, SHARED> {
    /// Checks a platform's table. Meant for a `const`, so that a wrong table does not compile.
    ///
    /// # Panics
    ///
    /// Unless all of these hold: both halves are sorted by number and no number is negative or
    /// there twice; `private` begins with event 0 ([`Event::SIGNAL`], Normal), and no other
    /// event is signalled by software; a private event's interrupt is a PPI, a shared event's
    /// an SPI; no INTID has two events; there are at most 32 events of each kind.
    #[must_use]
    pub const fn new(private: [Event; PRIVATE], shared: [Event; SHARED]) -> Self {
        assert!(PRIVATE >= 1 && PRIVATE <= 32, "1 to 32 private events");
        assert!(SHARED <= 32, "at most 32 shared events");
        assert!(
            private[0].number == 0
                && matches!(private[0].source, Source::Signal)
                && matches!(private[0].priority, Priority::Normal),
            "the first private event is event 0"
        );
        check(&private, Kind::Private);
        check(&shared, Kind::Shared);
        let mut i = 0;
        while i < PRIVATE {
            let mut j = 0;
            while j < SHARED {
                assert!(
                    private[i].number != shared[j].number,
                    "an event number is both private and shared"
                );
                j += 1;
            }
            i += 1;
        }
        Self {
            critical_private: critical(&private),
            critical_shared: critical(&shared),
            bind_slots: dynamic(&private) | (dynamic(&shared) << 16),
            private,
            shared,
        }
    }

    /// Where the event is, `None` for a number that is no event.
    #[inline]
    pub(crate) fn find(&self, number: i32) -> Option<Slot> {
        if number == 0 {
            return Some(Slot::Private(0));
        }
        let at = |events: &[Event]| events.iter().position(|event| event.number == number);
        at(&self.private)
            .map(Slot::Private)
            .or_else(|| at(&self.shared).map(Slot::Shared))
    }

    /// What makes the event in a slot occur.
    pub(crate) fn source(&self, slot: Slot) -> Option<Source> {
        Some(self.get(slot)?.source)
    }

    /// Whether an event has an interrupt, or can get one.
    pub(crate) const fn have_interrupts(&self) -> bool {
        any_interrupt(&self.private) || any_interrupt(&self.shared)
    }

    /// The event in a slot.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Event> {
        match slot {
            Slot::Private(index) => self.private.get(index),
            Slot::Shared(index) => self.shared.get(index),
        }
    }

    /// The event that has this interrupt for good.
    pub(crate) fn has_interrupt(&self, intid: u32) -> bool {
        self.private
            .iter()
            .chain(&self.shared)
            .any(|event| event.source == Source::Interrupt(intid))
    }
}

const fn check(events: &[Event], kind: Kind) {
    let mut i = 0;
    while i < events.len() {
        let event = &events[i];
        assert!(event.number >= 0, "an event number is negative");
        if i > 0 {
            assert!(
                events[i - 1].number < event.number,
                "events are not sorted by number"
            );
        }
        match (event.source, kind) {
            (Source::Signal, Kind::Private) => {
                assert!(i == 0, "only event 0 is signalled by software");
            }
            (Source::Signal, Kind::Shared) => panic!("only event 0 is signalled by software"),
            (Source::Interrupt(intid), Kind::Private) => {
                assert!(is_ppi(intid), "a private event's interrupt is a PPI");
            }
            (Source::Interrupt(intid), Kind::Shared) => {
                assert!(is_spi(intid), "a shared event's interrupt is an SPI");
            }
            (Source::Dynamic | Source::Explicit, _) => {}
        }
        if let Source::Interrupt(intid) = event.source {
            let mut j = 0;
            while j < i {
                if let Source::Interrupt(other) = events[j].source {
                    assert!(other != intid, "an INTID has two events");
                }
                j += 1;
            }
        }
        i += 1;
    }
}

const fn any_interrupt(events: &[Event]) -> bool {
    let mut i = 0;
    while i < events.len() {
        if matches!(events[i].source, Source::Interrupt(_) | Source::Dynamic) {
            return true;
        }
        i += 1;
    }
    false
}

const fn critical(events: &[Event]) -> u32 {
    let mut bits = 0;
    let mut i = 0;
    while i < events.len() {
        if matches!(events[i].priority, Priority::Critical) {
            bits |= bit(i);
        }
        i += 1;
    }
    bits
}

const fn dynamic(events: &[Event]) -> u64 {
    let mut count = 0;
    let mut i = 0;
    while i < events.len() {
        if matches!(events[i].source, Source::Dynamic) {
            count += 1;
        }
        i += 1;
    }
    count
}
