// SPDX-License-Identifier: MIT OR Apache-2.0

//! The calls of the interface: function IDs, and the constants of their arguments and answers
//! (DEN0054 5.1).

/// First function ID of the SDEI range in its SMC64 encoding: a fast call of the Standard Secure
/// service owner.
pub const FUNCTION_BASE: u32 = 0xC400_0020;
/// How many function IDs the range holds, calls or not.
pub const FUNCTION_COUNT: u32 = 0x20;
/// The bits of a function ID that tell the calls of the range apart.
const NUMBER: u32 = FUNCTION_COUNT - 1;
/// Bit of a function ID that tells an SMC64 call from an SMC32 one (DEN0028).
const SMC64: u32 = 1 << 30;
/// Bit by which a caller says that its SVE state need not be kept; it is no part of the number
/// (DEN0028).
const SVE_HINT: u32 = 1 << 16;

/// Major version reported by `SDEI_VERSION`.
pub const VERSION_MAJOR: u64 = 1;
/// Minor version reported by `SDEI_VERSION`.
pub const VERSION_MINOR: u64 = 1;
/// What `SDEI_VERSION` answers: 1.1, vendor part 0. Bit 63 is clear, as in every success.
pub const VERSION: u64 = (VERSION_MAJOR << 48) | (VERSION_MINOR << 32);

/// Whether a function ID lies in the range of this interface, in either encoding. The router of
/// an EL3 firmware hands such a call to [`crate::Dispatcher::call`], which answers it whatever it
/// is.
#[must_use]
#[inline]
pub const fn is_sdei(function: u32) -> bool {
    (function & !(SVE_HINT | SMC64)).wrapping_sub(FUNCTION_BASE & !SMC64) < FUNCTION_COUNT
}

/// Flags of `SDEI_EVENT_REGISTER` (DEN0054 5.1.2).
pub(crate) mod flags {
    /// Bit 0: deliver a shared event to the given PE (RM_PE) instead of to any (RM_ANY).
    pub(crate) const ROUTE_TO_PE: u64 = 1 << 0;
    /// Bit 1: the entry point is an offset from the client's VBAR, read at dispatch.
    pub(crate) const RELATIVE: u64 = 1 << 1;
    /// Every flag there is; the others must be zero.
    pub(crate) const ALL: u64 = ROUTE_TO_PE | RELATIVE;
}

/// A call's place in the range, by the name of the call; `None` for a function ID that is not an
/// SMC64 one of the range.
#[inline(always)]
pub(crate) const fn number(function: u32) -> Option<u32> {
    if function & !(SVE_HINT | NUMBER) == FUNCTION_BASE {
        Some(function & NUMBER)
    } else {
        None
    }
}

/// The calls' places in the range.
pub(crate) mod number {
    pub(crate) const VERSION: u32 = 0x00;
    pub(crate) const EVENT_REGISTER: u32 = 0x01;
    pub(crate) const EVENT_ENABLE: u32 = 0x02;
    pub(crate) const EVENT_DISABLE: u32 = 0x03;
    pub(crate) const EVENT_CONTEXT: u32 = 0x04;
    pub(crate) const EVENT_COMPLETE: u32 = 0x05;
    pub(crate) const EVENT_COMPLETE_AND_RESUME: u32 = 0x06;
    pub(crate) const EVENT_UNREGISTER: u32 = 0x07;
    pub(crate) const EVENT_STATUS: u32 = 0x08;
    pub(crate) const EVENT_GET_INFO: u32 = 0x09;
    pub(crate) const EVENT_ROUTING_SET: u32 = 0x0a;
    pub(crate) const PE_MASK: u32 = 0x0b;
    pub(crate) const PE_UNMASK: u32 = 0x0c;
    pub(crate) const INTERRUPT_BIND: u32 = 0x0d;
    pub(crate) const INTERRUPT_RELEASE: u32 = 0x0e;
    pub(crate) const EVENT_SIGNAL: u32 = 0x0f;
    pub(crate) const FEATURES: u32 = 0x10;
    pub(crate) const PRIVATE_RESET: u32 = 0x11;
    pub(crate) const SHARED_RESET: u32 = 0x12;
}

/// Bits of what `SDEI_EVENT_STATUS` answers (DEN0054 5.1.9).
pub(crate) mod status {
    /// A handler is registered.
    pub(crate) const REGISTERED: u8 = 1 << 0;
    /// The event is enabled.
    pub(crate) const ENABLED: u8 = 1 << 1;
    /// The handler is running.
    pub(crate) const RUNNING: u8 = 1 << 2;
}

/// Items of `SDEI_EVENT_GET_INFO` (DEN0054 5.1.10).
pub(crate) mod info {
    /// 0 private, 1 shared.
    pub(crate) const TYPE: u64 = 0;
    /// 0 where a client can signal the event, 1 where it can't.
    pub(crate) const NOT_SIGNALABLE: u64 = 1;
    /// 0 Normal, 1 Critical.
    pub(crate) const PRIORITY: u64 = 2;
    /// 0 RM_ANY, 1 RM_PE; shared events only.
    pub(crate) const ROUTING_MODE: u64 = 3;
    /// Affinity of the target PE; shared events only.
    pub(crate) const ROUTING_AFFINITY: u64 = 4;
}

/// Items of `SDEI_FEATURES` (DEN0054 5.1.17).
pub(crate) mod feature {
    /// Slots for `SDEI_INTERRUPT_BIND`: private ones in bits 15..0, shared ones in bits 31..16.
    pub(crate) const BIND_SLOTS: u64 = 0;
    /// 1 where relative mode is implemented.
    pub(crate) const RELATIVE_MODE: u64 = 1;
}
