//! This PE: its EL, its registers, and the assembly around them.

use aarch64_paging::descriptor::El1Attributes as Attributes;
use arm_sysregs::{el0, el1, el2, read_write_sysreg};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::machine::Machine;
use crate::pe::{Handling, Pe};

read_write_sysreg!(pstate_pan: s3_0_c4_c2_3, u64, safe_read);
read_write_sysreg!(pstate_uao: s3_0_c4_c2_4, u64, safe_read);
read_write_sysreg!(pstate_dit: s3_3_c4_c2_5, u64, safe_read);
read_write_sysreg!(pstate_ssbs: s3_3_c4_c2_6, u64, safe_read);
read_write_sysreg!(pstate_allint: s3_0_c4_c3_0, u64, safe_read);
read_write_sysreg!(pstate_tco: s3_3_c4_c2_7, u64, safe_read);

/// The address at which the alias of RAM that EL0 may read and execute begins, less RAM's own.
pub const EL0_ALIAS: u64 = 32 << 30;

/// The distance from RAM's own addresses of an alias of the GiB that this program is in, which EL0 may read and execute
/// as well, and which AArch32 can address.
pub fn aarch32_alias() -> u64 {
    let gib = Machine::get().board.spare_gib;
    ((gib << 30) as u64).wrapping_sub(load_address() >> 30 << 30)
}

/// Maps that alias at the GiB `gib` of addresses. To be called before other PEs run.
pub fn map_aarch32_alias(gib: usize) {
    let block = load_address() >> 30 << 30 | RAM_EL0.bits() as u64;
    PAGE_TABLE.0[gib].store(block, Relaxed);
    // SAFETY: Nothing has been read or written in that GiB.
    unsafe {
        if el() == 2 {
            asm!(
                "dsb ishst",
                "tlbi alle2",
                "dsb ish",
                "isb",
                options(nostack)
            );
        } else {
            asm!(
                "dsb ishst",
                "tlbi vmalle1",
                "dsb ish",
                "isb",
                options(nostack)
            );
        }
    }
}

/// The flat map of every PE: one table of 1 GiB blocks, valid in the EL1&0, EL2&0 and EL2 regimes. RAM is not
/// UXN for EL0's sake, since that bit is XN in the EL2 regime.
#[repr(C, align(4096))]
struct PageTable([AtomicU64; 512]);

static PAGE_TABLE: PageTable = page_table();

const COMMON: Attributes = Attributes::VALID.union(Attributes::ACCESSED);
const DEVICE: Attributes = COMMON
    .union(Attributes::ATTRIBUTE_INDEX_0)
    .union(Attributes::PXN)
    .union(Attributes::UXN);
const RAM: Attributes = COMMON
    .union(Attributes::ATTRIBUTE_INDEX_1)
    .union(Attributes::INNER_SHAREABLE);
const RAM_EL0: Attributes = RAM
    .union(Attributes::USER)
    .union(Attributes::READ_ONLY)
    .union(Attributes::PXN);

const fn page_table() -> PageTable {
    let mut table = [const { AtomicU64::new(0) }; 512];
    let mut gib = 0;
    while gib < 16 {
        let attributes = if gib == 0 { DEVICE } else { RAM };
        table[gib] = AtomicU64::new((gib << 30) as u64 | attributes.bits() as u64);
        if gib > 0 {
            table[gib + 32] = AtomicU64::new((gib << 30) as u64 | RAM_EL0.bits() as u64);
        }
        gib += 1;
    }
    // Where QEMU puts the redistributors of PEs 123 and up.
    table[256] = AtomicU64::new(256 << 30 | DEVICE.bits() as u64);
    PageTable(table)
}

/// MAIR: attribute 0 Device-nGnRE, attribute 1 Normal write-back.
const MAIR: u64 = 0xff04;
/// TCR for EL1 and both forms of EL2: 39-bit addresses, 4 KiB granule, write-back walks, no TTBR1. EL2's own
/// form takes its PA size (40 bits) from bit 16, where the others have T1SZ, and has bits 23 and 31 set.
const TCR: u64 =
    25 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 0b010 << 16 | 1 << 23 | 1 << 31 | 0b010 << 32;
/// SCTLR: MMU and caches on, every RES1 bit of the three forms set, SPAN among them.
const SCTLR: u64 = 0x30d5_0830 | 1 << 12 | 1 << 2 | 1;
/// SCTLR_EL1 with the MMU off.
const EL1_MMU_OFF: u64 = 0x30d0_0800;
/// HCR_EL2: RW and TGE, so that exceptions from EL0 and interrupts come to EL2.
const HCR: u64 = 1 << 31 | 1 << 27;

/// Size of the stack that the boot PE uses before it has its own.
const BOOT_STACK_SIZE: usize = 0x8000;

/// The boot PE's stack.
#[repr(C, align(16))]
pub struct BootStack([core::sync::atomic::AtomicU8; BOOT_STACK_SIZE]);

static BOOT_STACK: BootStack =
    BootStack([const { core::sync::atomic::AtomicU8::new(0) }; BOOT_STACK_SIZE]);

global_asm!(
    include_str!("entry.s"),
    page_table = sym PAGE_TABLE,
    boot_stack = sym BOOT_STACK,
    boot_stack_size = const BOOT_STACK_SIZE,
    boot_main = sym crate::boot_main,
    secondary_main = sym crate::pe::secondary_main,
    unexpected_exception = sym crate::unexpected_exception,
    interrupt = sym crate::gic::interrupt,
    handle_event = sym crate::pe::handle_event,
    completion_refused = sym crate::pe::completion_refused,
    mair = const MAIR,
    tcr_0 = const TCR & 0xffff,
    tcr_16 = const TCR >> 16 & 0xffff,
    tcr_32 = const TCR >> 32,
    sctlr_0 = const SCTLR & 0xffff,
    sctlr_16 = const SCTLR >> 16,
    hcr_rw_tge_16 = const HCR >> 16,
    pe_stack = const offset_of!(Pe, stack),
    pe_entered = const offset_of!(Pe, entered),
    pe_entry_x = const offset_of!(Pe, entry_x),
    pe_entry_sctlr = const offset_of!(Pe, entry_sctlr),
    pe_entry_daif = const offset_of!(Pe, entry_daif),
    resumed = const RESUMED,
    registers_pc = const offset_of!(Registers, pc),
    registers_esr = const offset_of!(Registers, esr),
    handling_nzcv = const offset_of!(Handling, nzcv),
    handling_sp = const offset_of!(Handling, sp),
    handling_stack = const offset_of!(Handling, stack),
);

/// What a PE runs with in [`enter`], and what it came out with.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Registers {
    /// x0..x30.
    pub x: [u64; 31],
    /// Where to start; afterwards ELR.
    pub pc: u64,
    /// PSTATE in SPSR's format; afterwards SPSR.
    pub pstate: u64,
    /// Afterwards the syndrome of the exception that ended it.
    pub esr: u64,
    /// Afterwards SP of this EL as the exception found it.
    pub sp: u64,
}

/// Exception class of an unknown or UNDEFINED instruction.
pub const EC_UNKNOWN: u64 = 0;
/// Exception class of SVC from AArch64.
pub const EC_SVC: u64 = 0x15;
/// Exception class of SVC in AArch32.
pub const EC_SVC_AARCH32: u64 = 0x11;
/// Exception class of HVC in AArch32.
pub const EC_HVC_AARCH32: u64 = 0x12;
/// Exception class of HVC from AArch64.
pub const EC_HVC: u64 = 0x16;
/// Exception class of a trapped MSR, MRS or system instruction.
pub const EC_SYSREG: u64 = 0x18;

/// Exception class of an access to SVE that EL1 or EL2 traps.
pub const EC_SVE: u64 = 0x19;
/// Exception class of an access to SME that EL1 or EL2 traps.
pub const EC_SME: u64 = 0x1d;

/// PSTATE.DAIF, all masked, in SPSR's format.
pub const DAIF: u64 = 0xf << 6;
/// PSTATE.I in SPSR's format.
pub const PSTATE_I: u64 = 1 << 7;
/// PSTATE.PAN in SPSR's format.
pub const PSTATE_PAN: u64 = 1 << 22;
/// PSTATE.UAO in SPSR's format.
pub const PSTATE_UAO: u64 = 1 << 23;
/// PSTATE.DIT in SPSR's format.
pub const PSTATE_DIT: u64 = 1 << 24;
/// PSTATE.TCO in SPSR's format.
pub const PSTATE_TCO: u64 = 1 << 25;
/// PSTATE.SSBS in SPSR's format.
pub const PSTATE_SSBS: u64 = 1 << 12;
/// PSTATE.NZCV in SPSR's format.
pub const PSTATE_NZCV: u64 = 0xf << 28;
/// PSTATE.ALLINT in SPSR's format.
pub const PSTATE_ALLINT: u64 = 1 << 13;
/// SCTLR_ELx.SPAN.
pub const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_ELx.DSSBS.
pub const SCTLR_DSSBS: u64 = 1 << 44;
/// SCTLR_ELx.SPINTMASK.
pub const SCTLR_SPINTMASK: u64 = 1 << 62;
/// The bits of SCTLR_ELx that say what PSTATE an exception gets.
pub const SCTLR_ENTRY: u64 = SCTLR_SPAN | SCTLR_DSSBS | SCTLR_SPINTMASK;

impl Registers {
    /// A different value in every register, to start at `pc` at this EL with SP_ELx and all masked.
    pub fn pattern(pc: u64) -> Self {
        let mut x = [0; 31];
        for (index, value) in x.iter_mut().enumerate() {
            *value = 0xa5a5_0000_c3c3_0000 | (index as u64) << 32 | index as u64;
        }
        Self {
            x,
            pc,
            pstate: here() | DAIF,
            esr: 0,
            sp: 0,
        }
    }

    /// Exception class of the exception that ended [`enter`].
    pub fn class(&self) -> u64 {
        self.esr >> 26
    }
}

unsafe extern "C" {
    fn call_and_come_back(function: u64, x1: u64, x2: u64, x3: u64, cell: &AtomicU64) -> i64;
    fn come_back();
    fn enter_el1(registers: &mut Registers);
    fn enter_el2(registers: &mut Registers);
    fn leave_el1();
    fn leave_el2();
    fn vectors_el1();
    fn vectors_el2();
    fn secondary_entry();
    fn event_entry();
    fn spin_then_svc();
    fn spin_then_hvc();
    fn smc_then_svc();
    fn smc_then_hvc();
    fn smc1_then_svc();
    fn probe_reads();
    fn probe_reads_end();
    fn probe_el3();
    fn probe_el3_end();
}

/// Code in `entry.s`.
#[derive(Clone, Copy)]
pub enum Code {
    /// Where CPU_ON starts a PE that joins in.
    Secondary,
    /// The event handler that records everything.
    Event,
    /// Spins until the word at x29 is set, then SVC.
    SpinThenSvc,
    /// The same with HVC, for EL1 under EL2.
    SpinThenHvc,
    /// SMC #0, then SVC.
    SmcThenSvc,
    /// SMC #0, then HVC.
    SmcThenHvc,
    /// SMC #1, then SVC.
    Smc1ThenSvc,
    /// Reads of system registers, 8 bytes each: MRS, then SVC.
    ProbeReads,
    /// Their end.
    ProbeReadsEnd,
    /// The same for registers of EL3.
    ProbeEl3,
    /// Their end.
    ProbeEl3End,
    /// The end of [`enter`], as if an exception had been taken: for COMPLETE_AND_RESUME.
    Leave,
    /// Where a PE enters to be back from [`go_away`].
    ComeBack,
    /// The exception vectors of this EL.
    Vectors,
}

impl Code {
    /// Its address.
    pub fn address(self) -> u64 {
        let function = match self {
            Self::Secondary => secondary_entry as *const (),
            Self::Event => event_entry as *const (),
            Self::SpinThenSvc => spin_then_svc as *const (),
            Self::SpinThenHvc => spin_then_hvc as *const (),
            Self::SmcThenSvc => smc_then_svc as *const (),
            Self::SmcThenHvc => smc_then_hvc as *const (),
            Self::Smc1ThenSvc => smc1_then_svc as *const (),
            Self::ProbeReads => probe_reads as *const (),
            Self::ProbeReadsEnd => probe_reads_end as *const (),
            Self::ProbeEl3 => probe_el3 as *const (),
            Self::ProbeEl3End => probe_el3_end as *const (),
            Self::ComeBack => come_back as *const (),
            Self::Leave if el() == 2 => leave_el2 as *const (),
            Self::Leave => leave_el1 as *const (),
            Self::Vectors if el() == 2 => vectors_el2 as *const (),
            Self::Vectors => vectors_el1 as *const (),
        };
        function as u64
    }
}

/// Runs what `registers` say and returns with what they were at the next synchronous exception to this EL.
///
/// # Safety
///
/// `registers.pc` is a snippet of [`Code`] that fits the EL of `registers.pstate`, and x29 points to a readable
/// word there if the snippet spins.
pub unsafe fn enter(registers: &mut Registers) {
    // SAFETY: The caller chose code that ends in an exception to this EL; the routine keeps AAPCS64's
    // callee-saved registers.
    unsafe {
        if el() == 2 {
            enter_el2(registers)
        } else {
            enter_el1(registers)
        }
    }
}

/// What [`go_away`] answers for a PE that was away.
pub const RESUMED: i64 = 77;

/// Makes a PSCI call by which this PE goes away; answers what it answers, or [`RESUMED`] once the PE was made to enter
/// [`Code::ComeBack`] with the address of `cell` in x0. Then all that is lost with a PE has to be set again.
pub fn go_away(function: u32, arguments: [u64; 3], cell: &AtomicU64) -> i64 {
    let [x1, x2, x3] = arguments;
    // SAFETY: The routine keeps AAPCS64's callee-saved registers, on the stack if the PE loses them.
    unsafe { call_and_come_back(function.into(), x1, x2, x3, cell) }
}

/// The current EL: 1 or 2.
pub fn el() -> u64 {
    el0::accessors::read_currentel().bits() >> 2
}

/// PSTATE.M of this EL with SP_ELx.
pub fn here() -> u64 {
    el() << 2 | 1
}

/// This PE's MPIDR_EL1.
pub fn mpidr() -> u64 {
    el1::accessors::read_mpidr_el1().bits()
}

/// The physical counter.
pub fn counter() -> u64 {
    el0::accessors::read_cntpct_el0().bits()
}

/// The counter's frequency in Hz.
pub fn counter_frequency() -> u64 {
    el0::accessors::read_cntfrq_el0().bits()
}

/// Lets another PE go on where one thread runs them all.
pub fn relax() {
    // SAFETY: A hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) }
}

/// Waits for an interrupt, masked or not.
pub fn wfi() {
    // SAFETY: A hint; interrupts of EL3 that come meanwhile are invisible but for what handlers do.
    unsafe { asm!("wfi", options(nostack, preserves_flags)) }
}

/// Waits until this PE's earlier writes to system registers have their effect.
pub fn synchronize() {
    // SAFETY: A barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) }
}

/// `dsb ishst`, as the kernel does before it signals.
pub fn publish() {
    // SAFETY: A barrier.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) }
}

/// Runs with interrupts taken for an instant.
pub fn take_interrupts() {
    // SAFETY: This EL's vectors are set and their interrupt handler keeps every register.
    unsafe {
        asm!(
            "msr daifclr, #2",
            "isb",
            "nop",
            "nop",
            "msr daifset, #2",
            options(nostack)
        )
    }
}

/// ELR and SPSR of this EL.
pub fn exception_registers() -> (u64, u64) {
    if el() == 2 {
        (
            el2::accessors::read_elr_el2().bits(),
            el2::accessors::read_spsr_el2().bits(),
        )
    } else {
        (
            el1::accessors::read_elr_el1().bits(),
            el1::accessors::read_spsr_el1().bits(),
        )
    }
}

/// SCTLR of this EL.
pub fn sctlr() -> u64 {
    if el() == 2 {
        el2::accessors::read_sctlr_el2().bits()
    } else {
        el1::accessors::read_sctlr_el1().bits()
    }
}

/// Sets [`SCTLR_ENTRY`]'s bits in SCTLR of this EL to `bits`.
pub fn set_sctlr_entry(bits: u64) {
    let value = sctlr() & !SCTLR_ENTRY | bits;
    // SAFETY: These bits change nothing but PSTATE on exceptions to this EL.
    unsafe {
        if el() == 2 {
            asm!("msr sctlr_el2, {}", "isb", in(reg) value, options(nostack));
        } else {
            asm!("msr sctlr_el1, {}", "isb", in(reg) value, options(nostack));
        }
    }
}

/// Whether EL2 is a host's (HCR_EL2.{E2H,TGE} = {1,1}).
pub fn is_vhe_host() -> bool {
    el() == 2 && el2::accessors::read_hcr_el2().bits() >> 34 & 1 == 1
}

/// Lets EL1 be entered instead of the host's EL0 (`guest`: HCR_EL2.TGE = 0), or back.
pub fn set_guest(guest: bool) {
    let mut value = el2::accessors::read_hcr_el2().bits() & !(1 << 27 | 0b111 << 3);
    if guest {
        // SAFETY: EL1's SCTLR: MMU and caches off, the RES1 bits of a CPU without extensions set.
        unsafe {
            if is_vhe_host() {
                asm!("msr S3_5_C1_C0_0, {}", in(reg) EL1_MMU_OFF, options(nostack));
            } else {
                asm!("msr sctlr_el1, {}", in(reg) EL1_MMU_OFF, options(nostack));
            }
        }
    }
    // FMO, IMO, AMO: a guest's interrupts come here, as TGE has it for EL0's.
    value |= if guest { 0b111 << 3 } else { 1 << 27 };
    // SAFETY: This code runs at EL2, whose own translation TGE does not change.
    unsafe { asm!("msr hcr_el2, {}", "isb", in(reg) value, options(nostack)) }
}

/// The same for an EL1 that runs AArch32 (HCR_EL2.RW = 0).
pub fn set_aarch32_guest(guest: bool) {
    const RW: u64 = 1 << 31;
    set_guest(guest);
    let hcr = el2::accessors::read_hcr_el2().bits();
    let value = if guest { hcr & !RW } else { hcr | RW };
    // SAFETY: As in `set_guest`.
    unsafe { asm!("msr hcr_el2, {}", "isb", in(reg) value, options(nostack)) }
}

/// Makes `pe` this PE's, with vectors and interrupts' system registers.
pub fn adopt(pe: &'static Pe) {
    let pe: *const Pe = pe;
    let vectors = Code::Vectors.address();
    // SAFETY: The vectors are `entry.s`'s, which expect a `Pe` in TPIDR of this EL.
    unsafe {
        if el() == 2 {
            asm!("msr vbar_el2, {}", "msr tpidr_el2, {}", "isb", in(reg) vectors, in(reg) pe, options(nostack));
        } else {
            asm!("msr vbar_el1, {}", "msr tpidr_el1, {}", "isb", in(reg) vectors, in(reg) pe, options(nostack));
        }
    }
}

/// The address in TPIDR of this EL.
pub fn adopted() -> *const Pe {
    if el() == 2 {
        el2::accessors::read_tpidr_el2().bits() as *const Pe
    } else {
        el1::accessors::read_tpidr_el1().bits() as *const Pe
    }
}

/// VBAR of this EL.
pub fn vbar() -> u64 {
    if el() == 2 {
        el2::accessors::read_vbar_el2().bits()
    } else {
        el1::accessors::read_vbar_el1().bits()
    }
}

/// PSTATE bits that this CPU has and that can be read, with their values: PAN, UAO, DIT, TCO, SSBS, ALLINT, in SPSR's format.
pub fn readable_pstate() -> (u64, u64) {
    let mmfr1 = el1::accessors::read_id_aa64mmfr1_el1().bits();
    let mmfr2 = el1::accessors::read_id_aa64mmfr2_el1().bits();
    let pfr0 = el1::accessors::read_id_aa64pfr0_el1().bits();
    let pfr1 = el1::accessors::read_id_aa64pfr1_el1().bits();
    let field = |register: u64, shift: u32| register >> shift & 0xf;
    let (mut present, mut value) = (0, 0);
    if field(mmfr1, 20) > 0 {
        present |= PSTATE_PAN;
        value |= read_pstate_pan();
    }
    if field(mmfr2, 4) > 0 {
        present |= PSTATE_UAO;
        value |= read_pstate_uao();
    }
    if field(pfr0, 48) > 0 {
        present |= PSTATE_DIT;
        value |= read_pstate_dit();
    }
    if field(pfr1, 8) > 1 {
        present |= PSTATE_TCO;
        value |= read_pstate_tco();
    }
    if field(pfr1, 4) > 1 {
        present |= PSTATE_SSBS;
        value |= read_pstate_ssbs();
    }
    if field(pfr1, 36) > 0 {
        present |= PSTATE_ALLINT;
        value |= read_pstate_allint();
    }
    (present, value & present)
}

/// The affinity fields of MPIDR_EL1.
pub const AFFINITY: u64 = 0xff_00ff_ffff;

/// Where the image was loaded.
pub fn load_address() -> u64 {
    unsafe extern "C" {
        static _start: u8;
    }
    &raw const _start as u64
}
