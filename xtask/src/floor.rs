//! What the architecture itself asks for, in instructions: the least that firmware
//! whose calls are served by compiled functions could take. Nothing is decided,
//! looked up or checked in it.

/// Entering and leaving EL3. A function of the AAPCS64 may change x0 to x18 and x30:
/// ten pairs to store and to load again. And ERET.
const EXCEPTION: u64 = 2 * 10 + 1;

/// An SMC: all synchronous exceptions have one vector, so ESR_EL3 is read, compared
/// and branched on.
const SMC: u64 = EXCEPTION + 3;

/// Who calls: SPSR_EL3.
const CALLER: u64 = 1;

/// An FIQ that is an SGI: ICC_IAR0_EL1, the DSB after it, ICC_EOIR0_EL1 and, since
/// other interrupts are deactivated later than their priority drops, ICC_DIR_EL1.
const FIQ: u64 = EXCEPTION + 4;

/// A bit that another PE may change at the same time: an exclusive load and store.
const SHARED_BIT: u64 = 2;

/// Raising an SGI: the DSB before it, and ICC_SGI0R_EL1.
const SGI: u64 = 2;

/// Dispatch: ELR_EL3 and SPSR_EL3 read and written, SCTLR_ELx and HCR_EL2 read for
/// the handler's PSTATE, the pending bit taken. The interrupted registers are in
/// memory already.
const DISPATCH: u64 = 4 + 2 + SHARED_BIT;

/// The loop that the payload makes calls in.
const LOOP: u64 = 6;

/// What is between two looks at the counter around one SMC.
const ONCE: u64 = 2;

/// The payload's handler.
const HANDLER: u64 = 9;

/// A call that answers with a number.
pub const CALL: u64 = LOOP + SMC;

/// The same, only for the client EL.
pub const CLIENT_CALL: u64 = CALL + CALLER;

/// SIGNAL to another PE, without what the payload adds.
const SIGNAL: u64 = SMC + CALLER + SHARED_BIT + SGI;

/// SIGNAL to another PE.
pub const SIGNAL_OTHER: u64 = ONCE + SIGNAL;

/// SIGNAL to another PE until that is in its handler: the payload looks at the
/// counter on both.
pub const SIGNAL_OTHER_ENTERED: u64 = SIGNAL + FIQ + DISPATCH + 11;

/// SIGNAL to oneself until the handler runs.
pub const SIGNAL_SELF_ENTERED: u64 = ONCE + SMC + CALLER + SHARED_BIT + DISPATCH;

/// COMPLETE: ELR_EL3 and SPSR_EL3 are written.
const COMPLETE: u64 = SMC + CALLER + 2;

/// SIGNAL to oneself, and COMPLETE.
pub const SIGNAL_SELF_COMPLETED: u64 =
    LOOP + SMC + CALLER + SHARED_BIT + DISPATCH + HANDLER + COMPLETE;

/// A PE's part of a broadcast; the rest is the payload's, which signals each PE and
/// looks whether each has handled.
pub const BROADCAST: u64 = SIGNAL + FIQ + DISPATCH + COMPLETE + 59;
