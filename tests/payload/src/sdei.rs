//! SDEI's calls as a client makes them (DEN0054). On purpose nothing here comes from the firmware's own crates.

use smccc::smc64;

/// Function numbers (DEN0054 chapter 5), less 0xC400_0020.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are the calls'")]
pub enum Function {
    Version = 0x00,
    Register = 0x01,
    Enable = 0x02,
    Disable = 0x03,
    Context = 0x04,
    Complete = 0x05,
    CompleteAndResume = 0x06,
    Unregister = 0x07,
    Status = 0x08,
    GetInfo = 0x09,
    RoutingSet = 0x0a,
    PeMask = 0x0b,
    PeUnmask = 0x0c,
    Bind = 0x0d,
    Release = 0x0e,
    Signal = 0x0f,
    Features = 0x10,
    PrivateReset = 0x11,
    SharedReset = 0x12,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Version,
        Self::Register,
        Self::Enable,
        Self::Disable,
        Self::Context,
        Self::Complete,
        Self::CompleteAndResume,
        Self::Unregister,
        Self::Status,
        Self::GetInfo,
        Self::RoutingSet,
        Self::PeMask,
        Self::PeUnmask,
        Self::Bind,
        Self::Release,
        Self::Signal,
        Self::Features,
        Self::PrivateReset,
        Self::SharedReset,
    ];

    /// The function ID: SMC64, fast.
    pub fn id(self) -> u64 {
        0xc400_0020 + self as u64
    }
}

/// NOT_SUPPORTED.
pub const NOT_SUPPORTED: i64 = -1;
/// INVALID_PARAMETERS.
pub const INVALID_PARAMETERS: i64 = -2;
/// DENIED.
pub const DENIED: i64 = -3;
/// PENDING.
pub const PENDING: i64 = -5;
/// OUT_OF_RESOURCE.
pub const OUT_OF_RESOURCE: i64 = -10;

/// EVENT_STATUS: registered.
pub const REGISTERED: i64 = 1;
/// EVENT_STATUS: enabled.
pub const ENABLED: i64 = 2;
/// EVENT_STATUS: running.
pub const RUNNING: i64 = 4;

/// Any call, with x1..x5.
pub fn call(function: Function, arguments: [u64; 5]) -> i64 {
    let mut all = [0; 17];
    all[..5].copy_from_slice(&arguments);
    smc64(0xc400_0020 + function as u32, all)[0].cast_signed()
}

/// A call with one argument.
pub fn call1(function: Function, argument: u64) -> i64 {
    call(function, [argument, 0, 0, 0, 0])
}

/// EVENT_REGISTER with no flags and no affinity, as for any private event.
pub fn register(event: u64, entry: u64, argument: u64) -> i64 {
    call(Function::Register, [event, entry, argument, 0, 0])
}

/// EVENT_ENABLE.
pub fn enable(event: u64) -> i64 {
    call1(Function::Enable, event)
}

/// EVENT_DISABLE.
pub fn disable(event: u64) -> i64 {
    call1(Function::Disable, event)
}

/// EVENT_UNREGISTER.
pub fn unregister(event: u64) -> i64 {
    call1(Function::Unregister, event)
}

/// EVENT_STATUS.
pub fn status(event: u64) -> i64 {
    call1(Function::Status, event)
}

/// EVENT_CONTEXT.
pub fn context(index: u64) -> i64 {
    call1(Function::Context, index)
}

/// EVENT_GET_INFO.
pub fn get_info(event: u64, what: u64) -> i64 {
    call(Function::GetInfo, [event, what, 0, 0, 0])
}

/// EVENT_SIGNAL.
pub fn signal(target: u64) -> i64 {
    call(Function::Signal, [0, target, 0, 0, 0])
}

/// PE_MASK.
pub fn pe_mask() -> i64 {
    call1(Function::PeMask, 0)
}

/// PE_UNMASK.
pub fn pe_unmask() -> i64 {
    call1(Function::PeUnmask, 0)
}

/// PRIVATE_RESET.
pub fn private_reset() -> i64 {
    call1(Function::PrivateReset, 0)
}

/// SHARED_RESET.
pub fn shared_reset() -> i64 {
    call1(Function::SharedReset, 0)
}
