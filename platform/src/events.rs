//! The events that every board offers: event 0; three slots for PPIs and three
//! for SPIs, the last of each Critical; two that EL3 raises itself.

use sdei::{Event, Events, Priority};

/// The Normal event that EL3 raises itself, on the PE whose Secure timer
/// expires.
pub const TIMER_NORMAL: i32 = 5000;

/// The Critical one.
pub const TIMER_CRITICAL: i32 = 5001;

/// Private events.
pub const PRIVATE_EVENTS: usize = 6;

/// Shared events.
pub const SHARED_EVENTS: usize = 3;

/// The events.
pub const EVENTS: Events<PRIVATE_EVENTS, SHARED_EVENTS> = Events::new(
    [
        Event::SIGNAL,
        Event::dynamic(1000, Priority::Normal),
        Event::dynamic(1001, Priority::Normal),
        Event::dynamic(1002, Priority::Critical),
        Event::explicit(TIMER_NORMAL, Priority::Normal),
        Event::explicit(TIMER_CRITICAL, Priority::Critical),
    ],
    [
        Event::dynamic(2000, Priority::Normal),
        Event::dynamic(2001, Priority::Normal),
        Event::dynamic(2002, Priority::Critical),
    ],
);
