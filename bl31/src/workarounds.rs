//! The speculation workarounds that the Normal world asks of firmware:
//! SMCCC_ARCH_WORKAROUND_1 to 4 (Arm DEN0028, 7.5 to 7.7 and 7.9).
//!
//! Whether a PE is affected it says itself, by its ID registers, or Arm's list
//! of affected PEs says it by MIDR_EL1. What is on neither is not known to be
//! safe, and what can't be mitigated here is not claimed: both answer
//! NOT_SUPPORTED.
//!
//! Each PE answers for itself. The specification wants all PEs of a system to
//! agree whether there is the call, so a system that mixes PEs that are
//! mitigated here with PEs that can't be needs more than this.

use core::arch::asm;

use arm_sysregs::el1::accessors::*;
use arm_sysregs::el3::registers::SctlrEl3;

/// What a PE needs of firmware for one workaround.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// The PE is affected, and the call is what it needs.
    Firmware,
    /// The PE is affected, and always safe by how EL3 has set it up. The call
    /// does nothing.
    Done,
    /// The call does nothing: the PE is not affected, or software below EL3
    /// has what it takes.
    Nothing,
}

/// What keeps an affected core of Arm's safe from one context's branch
/// history in another (CVE-2022-23960).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Core {
    /// It does not speculate on branches far enough. The same holds for
    /// CVE-2017-5715 and CVE-2018-3639.
    InOrder,
    /// A loop of branches in the vectors of whoever is entered.
    Loop,
    /// The same if it has FEAT_CSV2, and without that a flush of the branch
    /// predictor, which comes with turning the MMU of EL3 off and on.
    LoopOrMmu,
}

/// MIDR_EL1.Implementer of Arm.
pub const ARM: u8 = 0x41;

/// MIDR_EL1.PartNum of the cores that [`entry`](crate::entry) keeps loads from
/// passing stores on, by a bit of CPUACTLR_EL1 (S3_1_C15_C2_0).
pub const CORTEX_A57: u16 = 0xd07;
/// See [`CORTEX_A57`].
pub const CORTEX_A72: u16 = 0xd08;

/// That bit.
pub const NO_LOAD_PASSES_STORE: u64 = 1 << 55;

/// MIDR_EL1.PartNum of Arm's cores, from Arm's Spectre-BHB paper.
#[rustfmt::skip]
const CORES: &[(u16, Core)] = &[
    (0xd03, Core::InOrder),   // Cortex-A53
    (0xd04, Core::InOrder),   // Cortex-A35
    (0xd05, Core::InOrder),   // Cortex-A55
    (0xd46, Core::InOrder),   // Cortex-A510
    (0xd80, Core::InOrder),   // Cortex-A520
    (CORTEX_A57, Core::LoopOrMmu),
    (CORTEX_A72, Core::LoopOrMmu),
    (0xd0b, Core::Loop),      // Cortex-A76
    (0xd0c, Core::Loop),      // Neoverse N1
    (0xd0d, Core::Loop),      // Cortex-A77
    (0xd0e, Core::Loop),      // Cortex-A76AE
    (0xd40, Core::Loop),      // Neoverse V1
    (0xd41, Core::Loop),      // Cortex-A78
    (0xd42, Core::Loop),      // Cortex-A78AE
    (0xd44, Core::Loop),      // Cortex-X1
    (0xd47, Core::Loop),      // Cortex-A710
    (0xd48, Core::Loop),      // Cortex-X2
    (0xd49, Core::Loop),      // Neoverse N2
    (0xd4b, Core::Loop),      // Cortex-A78C
    (0xd4c, Core::Loop),      // Cortex-X1C
    (0xd4d, Core::Loop),      // Cortex-A715
    (0xd4e, Core::Loop),      // Cortex-X3
    (0xd4f, Core::Loop),      // Neoverse V2
    (0xd81, Core::Loop),      // Cortex-A720
    (0xd89, Core::Loop),      // Cortex-A720AE
];

/// The core that this PE is, if it is one of Arm's that are known.
fn core() -> Option<Core> {
    let midr = read_midr_el1();
    if midr.implementer() != ARM {
        return None;
    }
    let part = midr.partnum();
    CORES.iter().find(|row| row.0 == part).map(|row| row.1)
}

/// CVE-2017-5715, branch targets of another context: SMCCC_ARCH_WORKAROUND_1.
/// `None` for not supported, as of all of these.
pub fn branch_target() -> Option<Need> {
    if read_id_aa64pfr0_el1().csv2() != 0 {
        return Some(Need::Nothing);
    }
    match core()? {
        Core::InOrder => Some(Need::Nothing),
        Core::LoopOrMmu => Some(Need::Firmware),
        Core::Loop => None,
    }
}

/// CVE-2018-3639, loads that pass older stores: SMCCC_ARCH_WORKAROUND_2. With
/// FEAT_SSBS software below EL3 decides on it alone.
pub fn store_bypass() -> Option<Need> {
    if read_id_aa64pfr1_el1().ssbs() != 0 {
        return Some(Need::Nothing);
    }
    match core()? {
        Core::InOrder => Some(Need::Nothing),
        // Not where there is no such bit: QEMU's do not speculate, nor keep it.
        Core::LoopOrMmu => (cpuactlr() & NO_LOAD_PASSES_STORE != 0).then_some(Need::Done),
        Core::Loop => None,
    }
}

/// CPUACTLR_EL1 of a Cortex-A57 or A72.
fn cpuactlr() -> u64 {
    let value;
    // SAFETY: a read without an effect of a register that these cores have.
    unsafe { asm!("mrs {}, s3_1_c15_c2_0", out(reg) value, options(nomem, nostack)) };
    value
}

/// CVE-2022-23960, the branch history of another context, and CVE-2017-5715:
/// SMCCC_ARCH_WORKAROUND_3.
pub fn branch_history() -> Option<Need> {
    const FEAT_CSV2_3: u8 = 3;
    let csv2 = read_id_aa64pfr0_el1().csv2();
    let cleared = read_id_aa64mmfr1_el1().ecbhb() != 0 || read_id_aa64isar2_el1().clrbhb() != 0;
    if csv2 >= FEAT_CSV2_3 || csv2 != 0 && cleared {
        return Some(Need::Nothing);
    }
    match core()? {
        Core::InOrder => Some(Need::Nothing),
        Core::Loop | Core::LoopOrMmu if csv2 != 0 => Some(Need::Nothing),
        Core::LoopOrMmu => Some(Need::Firmware),
        Core::Loop => None,
    }
}

/// Makes this PE forget all that it has learnt of branches, where one of the
/// above says that it takes firmware to do so.
pub fn flush_branch_predictor() {
    // SAFETY: all that EL3 executes is mapped where it is, and nothing is
    // read or written while the MMU is off.
    unsafe {
        asm!(
            "mrs {sctlr}, sctlr_el3",
            "bic {sctlr}, {sctlr}, #{m}",
            "msr sctlr_el3, {sctlr}",
            // Off before it is turned on again.
            "isb",
            "orr {sctlr}, {sctlr}, #{m}",
            "msr sctlr_el3, {sctlr}",
            // On before the next access, which is to the stack.
            "isb",
            sctlr = out(reg) _,
            m = const SctlrEl3::M.bits(),
            options(nostack, preserves_flags)
        )
    }
}
