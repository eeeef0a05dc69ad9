//! The events that every board offers: event 0; three slots for PPIs and three
//! for SPIs, the last of each Critical; two that EL3 raises itself.

use sdei::{Event, Events, Priority};

/// The Normal event that EL3 raises itself, on the PE whose Secure timer
/// expires.
pub const TIMER_NORMAL: i32 = 5000;

/// The Critical one.
pub const TIMER_CRITICAL: i32 = 5001;

/// An interrupt that is an event's for good (`Event::interrupt`): it is EL3's from boot on.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    /// A PPI, which each PE has, or an SPI.
    pub intid: u32,
    /// Whether it is edge-triggered.
    pub edge: bool,
}

/// The interrupts of the events below that have one for good. None of what a board
/// here has is free to be taken from the Normal world; tests take two nonetheless.
pub const FIXED: &[Fixed] = fixed::INTERRUPTS;

#[cfg(not(feature = "fixed_events"))]
mod fixed {
    use super::{Event, Fixed};

    pub(super) const INTERRUPTS: &[Fixed] = &[];
    pub(super) const PRIVATE: [Event; 0] = [];
    pub(super) const SHARED: [Event; 0] = [];
}

#[cfg(feature = "fixed_events")]
mod fixed {
    use super::{Event, Fixed, Priority};

    /// The EL1 physical timer's (Arm Base System Architecture, PPI assignments).
    const TIMER: u32 = 30;
    /// The real-time clock's.
    const CLOCK: u32 = if cfg!(feature = "fvp_base") { 36 } else { 34 };

    pub(super) const INTERRUPTS: &[Fixed] = &[
        Fixed {
            intid: TIMER,
            edge: false,
        },
        Fixed {
            intid: CLOCK,
            edge: false,
        },
    ];
    pub(super) const PRIVATE: [Event; 1] = [Event::interrupt(900, TIMER, Priority::Normal)];
    pub(super) const SHARED: [Event; 1] = [Event::interrupt(1900, CLOCK, Priority::Normal)];
}

/// Private events.
pub const PRIVATE_EVENTS: usize = fixed::PRIVATE.len() + 6;

/// Shared events.
pub const SHARED_EVENTS: usize = fixed::SHARED.len() + 3;

/// The events.
pub const EVENTS: Events<PRIVATE_EVENTS, SHARED_EVENTS> = Events::new(
    with_fixed(
        &[Event::SIGNAL],
        &fixed::PRIVATE,
        &[
            Event::dynamic(1000, Priority::Normal),
            Event::dynamic(1001, Priority::Normal),
            Event::dynamic(1002, Priority::Critical),
            Event::explicit(TIMER_NORMAL, Priority::Normal),
            Event::explicit(TIMER_CRITICAL, Priority::Critical),
        ],
    ),
    with_fixed(
        &[],
        &fixed::SHARED,
        &[
            Event::dynamic(2000, Priority::Normal),
            Event::dynamic(2001, Priority::Normal),
            Event::dynamic(2002, Priority::Critical),
        ],
    ),
);

/// The three one after the other.
const fn with_fixed<const N: usize>(
    first: &[Event],
    fixed: &[Event],
    last: &[Event],
) -> [Event; N] {
    let mut events = [Event::SIGNAL; N];
    let mut index = 0;
    while index < N {
        let after_first = index.wrapping_sub(first.len());
        events[index] = if index < first.len() {
            first[index]
        } else if after_first < fixed.len() {
            fixed[after_first]
        } else {
            last[after_first - fixed.len()]
        };
        index += 1;
    }
    events
}
