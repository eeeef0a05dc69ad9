//! The calls of the interface: function IDs and their arguments (DEN0054 5.1).

use crate::Error;

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

/// What an unknown call answers in x0: -1 in the width of the call's convention.
pub(crate) const fn not_supported(function: u32) -> u64 {
    if function & SMC64 != 0 {
        Error::NotSupported.code()
    } else {
        0xffff_ffff
    }
}

/// A call with its arguments, not yet checked against any state.
///
/// Event numbers are signed 32-bit: the upper half of the register is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `SDEI_VERSION`.
    Version,
    /// `SDEI_EVENT_REGISTER`.
    EventRegister {
        /// Event number.
        event: i32,
        /// Handler's address, or its offset from VBAR with the relative flag.
        entry: u64,
        /// Value handed to the handler in x1.
        argument: u64,
        /// [`flags`].
        flags: u64,
        /// Affinity of the target PE where `flags` says RM_PE.
        affinity: u64,
    },
    /// `SDEI_EVENT_ENABLE`.
    EventEnable {
        /// Event number.
        event: i32,
    },
    /// `SDEI_EVENT_DISABLE`.
    EventDisable {
        /// Event number.
        event: i32,
    },
    /// `SDEI_EVENT_CONTEXT`.
    EventContext {
        /// Which of the interrupted x0..x17.
        index: u64,
    },
    /// `SDEI_EVENT_COMPLETE`. The status in x1 is for the platform's information only and
    /// decides nothing.
    EventComplete,
    /// `SDEI_EVENT_COMPLETE_AND_RESUME`.
    EventCompleteAndResume {
        /// Where in the client to resume.
        address: u64,
    },
    /// `SDEI_EVENT_UNREGISTER`.
    EventUnregister {
        /// Event number.
        event: i32,
    },
    /// `SDEI_EVENT_STATUS`.
    EventStatus {
        /// Event number.
        event: i32,
    },
    /// `SDEI_EVENT_GET_INFO`.
    EventGetInfo {
        /// Event number.
        event: i32,
        /// [`info`].
        info: u64,
    },
    /// `SDEI_EVENT_ROUTING_SET`.
    EventRoutingSet {
        /// Event number.
        event: i32,
        /// 0 for RM_ANY, 1 for RM_PE.
        mode: u64,
        /// Affinity of the target PE for RM_PE.
        affinity: u64,
    },
    /// `SDEI_PE_MASK`.
    PeMask,
    /// `SDEI_PE_UNMASK`.
    PeUnmask,
    /// `SDEI_INTERRUPT_BIND`.
    InterruptBind {
        /// INTID of a PPI or SPI.
        intid: u64,
    },
    /// `SDEI_INTERRUPT_RELEASE`.
    InterruptRelease {
        /// Event number that the bind answered.
        event: i32,
    },
    /// `SDEI_EVENT_SIGNAL`.
    EventSignal {
        /// Event number: 0 is the only one that can be signalled.
        event: i32,
        /// Affinity of the target PE, as in MPIDR_EL1.
        affinity: u64,
    },
    /// `SDEI_FEATURES`.
    Features {
        /// [`feature`].
        feature: u64,
    },
    /// `SDEI_PRIVATE_RESET`.
    PrivateReset,
    /// `SDEI_SHARED_RESET`.
    SharedReset,
}

/// Flags of `SDEI_EVENT_REGISTER` (DEN0054 5.1.2).
pub mod flags {
    /// Bit 0: deliver a shared event to the given PE (RM_PE) instead of to any (RM_ANY).
    pub const ROUTE_TO_PE: u64 = 1 << 0;
    /// Bit 1: the entry point is an offset from the client's VBAR, read at dispatch.
    pub const RELATIVE: u64 = 1 << 1;
    /// Every flag there is; the others must be zero.
    pub const ALL: u64 = ROUTE_TO_PE | RELATIVE;
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
pub mod status {
    /// A handler is registered.
    pub const REGISTERED: u64 = 1 << 0;
    /// The event is enabled.
    pub const ENABLED: u64 = 1 << 1;
    /// The handler is running.
    pub const RUNNING: u64 = 1 << 2;
}

/// Items of `SDEI_EVENT_GET_INFO` (DEN0054 5.1.10).
pub mod info {
    /// 0 private, 1 shared.
    pub const TYPE: u64 = 0;
    /// 0 where a client can signal the event, 1 where it can't.
    pub const NOT_SIGNALABLE: u64 = 1;
    /// 0 Normal, 1 Critical.
    pub const PRIORITY: u64 = 2;
    /// 0 RM_ANY, 1 RM_PE; shared events only.
    pub const ROUTING_MODE: u64 = 3;
    /// Affinity of the target PE; shared events only.
    pub const ROUTING_AFFINITY: u64 = 4;
}

/// Items of `SDEI_FEATURES` (DEN0054 5.1.17).
pub mod feature {
    /// Slots for `SDEI_INTERRUPT_BIND`: private ones in bits 15..0, shared ones in bits 31..16.
    pub const BIND_SLOTS: u64 = 0;
    /// 1 where relative mode is implemented.
    pub const RELATIVE_MODE: u64 = 1;
}

impl Call {
    /// Reads a call from the function ID (w0) and its arguments (x1..x5).
    ///
    /// # Errors
    ///
    /// [`Error::NotSupported`] for a number that is no call, the SMC32 encodings among them.
    #[inline]
    pub const fn decode(function: u32, args: &[u64; 5]) -> Result<Self, Error> {
        let [a1, a2, a3, a4, a5] = *args;
        // The upper half of an event number's register is not part of it.
        let event = (a1 as u32).cast_signed();
        let Some(number) = number(function) else {
            return Err(Error::NotSupported);
        };
        Ok(match number {
            number::VERSION => Self::Version,
            number::EVENT_REGISTER => Self::EventRegister {
                event,
                entry: a2,
                argument: a3,
                flags: a4,
                affinity: a5,
            },
            number::EVENT_ENABLE => Self::EventEnable { event },
            number::EVENT_DISABLE => Self::EventDisable { event },
            number::EVENT_CONTEXT => Self::EventContext { index: a1 },
            number::EVENT_COMPLETE => Self::EventComplete,
            number::EVENT_COMPLETE_AND_RESUME => Self::EventCompleteAndResume { address: a1 },
            number::EVENT_UNREGISTER => Self::EventUnregister { event },
            number::EVENT_STATUS => Self::EventStatus { event },
            number::EVENT_GET_INFO => Self::EventGetInfo { event, info: a2 },
            number::EVENT_ROUTING_SET => Self::EventRoutingSet {
                event,
                mode: a2,
                affinity: a3,
            },
            number::PE_MASK => Self::PeMask,
            number::PE_UNMASK => Self::PeUnmask,
            number::INTERRUPT_BIND => Self::InterruptBind { intid: a1 },
            number::INTERRUPT_RELEASE => Self::InterruptRelease { event },
            number::EVENT_SIGNAL => Self::EventSignal {
                event,
                affinity: a2,
            },
            number::FEATURES => Self::Features { feature: a1 },
            number::PRIVATE_RESET => Self::PrivateReset,
            number::SHARED_RESET => Self::SharedReset,
            _ => return Err(Error::NotSupported),
        })
    }
}
