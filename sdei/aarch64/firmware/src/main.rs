// SPDX-License-Identifier: MIT OR Apache-2.0

//! A minimal EL3 firmware for QEMU's `virt,secure=on` that serves SDEI's event 0: what it takes to
//! have `sdei` and `sdei-aarch64` in a firmware, and no more. The steps are those of the README of
//! `sdei-aarch64`.
//!
//! It enters what QEMU has put at [`BL33`] at EL2, with x0 at the device tree, and offers the SMC64
//! calls of PSCI 0.2. What EL3 traps at reset, such as SVE, stays closed.
#![no_std]
#![no_main]

use aarch64_cpu::{asm::barrier, asm::wfi, registers::*};
use aarch64_paging::descriptor::El23Attributes as Map;
use arm_gic::gicv3::{registers::*, *};
use arm_gic::{IntId, InterruptGroup::Group0, UniqueMmioPointer};
use arm_sysregs::el3::registers::{ScrEl3, SctlrEl3 as Sctlr, SpsrEl3 as Spsr, TcrEl3};
use core::sync::atomic::{AtomicU64, Ordering::*};
use sdei_aarch64::{El3, Machine, raise_sgi};
use smccc::psci::{self, error};

// Step 1: the machine. The PE with the index n has the affinity n.
const PES: usize = 8;
const GICD: usize = 0x0800_0000;
const GICR: usize = 0x080a_0000;
/// A Secure PL061: a 1 at pin 0 powers the machine off.
const GPIO: usize = 0x090b_0000;
/// Where QEMU puts the device tree.
const RAM: u64 = 0x4000_0000;
const BL33: u64 = RAM + 0x20_0000;

struct Virt;

impl Machine for Virt {
    const SGI: u32 = 8;

    fn pe_index(&self, affinity: u64) -> Option<usize> {
        usize::try_from(affinity).ok().filter(|&index| index < PES)
    }
}

/// This PE's index: `reset` has stopped PEs of other affinities.
fn this_pe() -> usize {
    MPIDR_EL1.get() as usize % PES
}

// Step 2: the dispatcher.
static SDEI: sdei::Dispatcher<El3<Virt>, [sdei::SharedPe; PES]> =
    sdei::Dispatcher::new(sdei::Events::EVENT0, [const { sdei::SharedPe::new() }; PES], El3(Virt));

// Step 3: what each PE has to itself: a stack, the frame above it, at which SP_EL3 points while the
// PE is below EL3, and its part of the dispatcher.
/// x0 to x17; x18 to x30, of which the vectors use x18 and x30: Rust code keeps the others itself.
#[repr(C)]
struct Frame([u64; 18], [u64; 13]);

impl sdei::Frame for Frame {
    fn x(&self) -> &[u64; 18] {
        &self.0
    }
    fn x_mut(&mut self) -> &mut [u64; 18] {
        &mut self.0
    }
    fn pc(&self) -> u64 {
        ELR_EL3.get()
    }
    fn pstate(&self) -> u64 {
        SPSR_EL3.get()
    }
    fn set_return(&mut self, pc: u64, pstate: u64) {
        ELR_EL3.set(pc);
        SPSR_EL3.set(pstate);
    }
}

#[repr(C, align(16))]
struct Slot([u8; 4096], Frame, sdei::Pe);

/// Only the assembly uses it: it gives each PE its slot.
static mut SLOTS: [Slot; PES] =
    [const { Slot([0; 4096], Frame([0; 18], [0; 13]), sdei::Pe::new()) }; PES];

// Step 4: reset and the vectors. The MMU and the caches come first: atomics and locks need them. Of
// the GiB that is translated, in blocks of 2 MiB, flash is code, Secure RAM is data, and what is
// between them is devices.
const DEVICE: usize = Map::VALID.union(Map::ACCESSED).union(Map::USER_RES1).union(Map::XN).bits();
const DATA: usize = DEVICE | Map::ATTRIBUTE_INDEX_1.union(Map::INNER_SHAREABLE).bits();

core::arch::global_asm!(r#"
    .macro  each instruction
    .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 30
    \instruction x\n, [sp, #8 * \n]
    .endr; .endm
    .macro  set register, value
    ldr     x0, =\value; msr \register, x0
    .endm

    .section .text.reset, "ax"; .global power_off, stop
reset: set  vbar_el3, vectors; set scr_el3, {scr}; set cptr_el3, 0; set mdcr_el3, 0
    set     icc_sre_el3, 0xf            // ICC registers at all ELs, no bypass of the GIC
    // Attribute 0 is Device-nGnRnE, attribute 1 Write-Back memory.
    set     mair_el3, 0xff00; set tcr_el3, {tcr}; set ttbr0_el3, table
    ic      iallu; tlbi alle3; dsb sy; isb
    set     sctlr_el3, {sctlr}; isb
    // Aff0 to Aff2 are the index.
    mrs     x0, mpidr_el1; and x0, x0, #0xffffff; cmp x0, #{pes}; b.hs stop; cbz x0, 2f
    // Others than PE 0 wait for GICD_CTLR.EnableGrp0, which a reset clears.
    ldr     x1, ={gicd}
1:  ldr     w2, [x1]; tbz w2, #0, 1b; dmb sy; b 4f
    // PE 0 copies all that is written from flash to RAM.
2:  ldr     x1, =__data_load; ldr x2, =__data_start; ldr x3, =__data_end
3:  ldp     x4, x5, [x1], #16; stp x4, x5, [x2], #16; cmp x2, x3; b.lo 3b
4:  ldr     x1, ={slots} + {frame}; mov x2, #{slot}; madd x1, x0, x2, x1; mov sp, x1
    mov     x0, sp; add x1, sp, #{pe}; bl {start}
leave: each ldr; eret; dsb nsh; isb     // nothing is speculated beyond the return
power_off: // GPIODIR, and GPIODATA of the pin.
    ldr     x0, ={gpio}; mov w1, #1; str w1, [x0, #0x400]; str w1, [x0, #4]
stop: wfi; b stop
    .ltorg; .balign 0x800
vectors: // Synchronous, IRQ, FIQ and SError: from EL3 itself twice, from AArch64, from AArch32.
    .irp    function, stop, stop, stop, stop, stop, stop, stop, stop, {smc}, stop, {fiq}, stop, stop, stop, stop, stop
    .balign 0x80; each str; mov x0, sp; add x1, sp, #{pe}; bl \function; b leave
    .endr; .balign 4096
table: // 2 MiB each: 8 bytes of table.
    .rept 32; .quad (. - table) << 18 | {code}; .endr; .zero 8 * 32
    .rept 48; .quad (. - table) << 18 | {device}; .endr
    .rept 8; .quad (. - table) << 18 | {data}; .endr; .zero 8 * 392"#,
    scr = const ScrEl3::RES1.union(ScrEl3::NS).union(ScrEl3::FIQ).union(ScrEl3::HCE).union(ScrEl3::RW).bits(),
    sctlr = const Sctlr::RES1.union(Sctlr::EIS).union(Sctlr::EOS).union(Sctlr::M).union(Sctlr::C).union(Sctlr::I).bits(),
    tcr = const TcrEl3::RES1.with_t0sz(34).with_irgn0(1).with_orgn0(1).with_sh0(3).bits(), gicd = const GICD,
    code = const DATA & !Map::XN.bits() | Map::READ_ONLY.bits(), device = const DEVICE, data = const DATA,
    gpio = const GPIO, pes = const PES, slots = sym SLOTS, slot = const size_of::<Slot>(),
    frame = const core::mem::offset_of!(Slot, 1), pe = const size_of::<Frame>(),
    start = sym start, smc = sym smc, fiq = sym fiq,
);

unsafe extern "C" {
    safe fn power_off() -> !;
    safe fn stop() -> !;
    safe fn something_can_panic() -> !;
}

// Step 5: the GIC. On each PE the SGI is Group 0, at the highest priority and enabled; all other
// interrupts are the Normal world's.
fn device<T>(address: usize) -> UniqueMmioPointer<'static, T> {
    let registers = core::ptr::NonNull::new(address as *mut T).expect("a device is not at 0");
    // SAFETY: mapped as a device. Only PE 0 has GICD, and each PE its own frame of GICR.
    unsafe { UniqueMmioPointer::new(registers) }
}

extern "C" fn start(frame: &mut Frame, pe: &mut sdei::Pe) {
    let mut registers = device::<GicrSgi>(GICR + this_pe() * size_of::<GicrSgi>());
    let mut sgi = safe_mmio::field!(registers, sgi);
    if let Some(mut groups) = safe_mmio::field!(sgi, igroupr).get(0) {
        groups.write(!(1 << Virt::SGI));
    }
    let mut redistributor = GicRedistributor::new(registers);
    // Errors would be that it is awake already, and an INTID of no SGI or PPI.
    let _ = redistributor.mark_core_awake();
    let _ = redistributor.set_interrupt_priority(IntId::sgi(Virt::SGI), 0);
    let _ = redistributor.enable_interrupt(IntId::sgi(Virt::SGI), true);
    GicCpuInterface::set_priority_mask(0xff);
    GicCpuInterface::enable_group0(true);
    barrier::isb(barrier::SY);
    if this_pe() == 0 {
        let mut registers = device::<Gicd>(GICD);
        GicDistributor::new(registers.reborrow()).enable_affinity_routing_secure(true);
        for word in 1..32 {
            if let Some(mut groups) = safe_mmio::field!(registers, igroupr).get(word) {
                groups.write(u32::MAX);
            }
        }
        ENTRY[0].store(BL33, Relaxed);
        // The others read what was stored once they see the group enabled.
        barrier::dsb(barrier::SY);
        GicDistributor::new(registers).enable_group0(true);
    }
    wait_for_on(frame, pe);
}

// Step 6: an FIQ is the SGI. It is acknowledged and ended first.
extern "C" fn fiq(frame: &mut Frame, pe: &mut sdei::Pe) {
    GicCpuInterface::handle_interrupt(Group0, |_| barrier::dsb(barrier::SY));
    SDEI.signalled(frame, pe);
}

// Step 7: the SMC router.
extern "C" fn smc(frame: &mut Frame, pe: &mut sdei::Pe) {
    let [x0, x1, x2, x3, ..] = frame.0;
    let answer = match x0 as u32 {
        _ if !ESR_EL3.matches_all(ESR_EL3::EC::SMC64) => stop(),
        function if sdei::call::is_sdei(function) => return SDEI.call(frame, pe),
        psci::PSCI_VERSION => 2,
        psci::PSCI_CPU_ON_64 if x2 < RAM => error::INVALID_ADDRESS,
        psci::PSCI_CPU_ON_64 => cpu_on(x1, x2, x3),
        psci::PSCI_AFFINITY_INFO_64 => affinity_info(x1, x2),
        psci::PSCI_CPU_OFF => {
            SDEI.pe_off(pe);
            ENTRY[this_pe()].store(OFF, Release);
            return wait_for_on(frame, pe);
        }
        // Standby: the bit is StateType (DEN0022 5.4.2).
        psci::PSCI_CPU_SUSPEND_64 if x1 & 1 << 16 == 0 => {
            wfi();
            0
        }
        psci::PSCI_SYSTEM_OFF => power_off(),
        _ => error::NOT_SUPPORTED,
    };
    frame.0[0] = i64::from(answer) as u64;
}

// Step 8: PEs come and go.
/// Per PE what AFFINITY_INFO answers, or the entry point of the CPU_ON that it has not seen yet.
static ENTRY: [AtomicU64; PES] = [const { AtomicU64::new(OFF) }; PES];
/// What x0 will be there: for the PE that boots, the device tree.
static CONTEXT: [AtomicU64; PES] = [const { AtomicU64::new(RAM) }; PES];
const ON: u64 = 0;
const OFF: u64 = 1;
const ON_PENDING: u64 = 2;

fn cpu_on(target: u64, entry: u64, context: u64) -> i32 {
    let Some(index) = Virt.pe_index(target) else { return error::INVALID_PARAMETERS };
    match ENTRY[index].compare_exchange(OFF, ON_PENDING, AcqRel, Acquire) {
        Ok(_) => {
            CONTEXT[index].store(context, Relaxed);
            ENTRY[index].store(entry, Release);
            raise_sgi(Virt::SGI, target);
            0
        }
        Err(ON) => error::ALREADY_ON,
        Err(_) => error::ON_PENDING,
    }
}

fn affinity_info(target: u64, level: u64) -> i32 {
    match Virt.pe_index(target) {
        Some(index) if level == 0 => ENTRY[index].load(Acquire).min(ON_PENDING) as i32,
        _ => error::INVALID_PARAMETERS,
    }
}

/// Returns when this PE is to enter the Normal world, with what `leave` needs for that.
fn wait_for_on(frame: &mut Frame, pe: &mut sdei::Pe) {
    while ENTRY[this_pe()].load(Acquire) <= ON_PENDING {
        wfi();
        GicCpuInterface::handle_interrupt(Group0, |_| barrier::dsb(barrier::SY));
    }
    SDEI.pe_on(pe, MPIDR_EL1.get());
    frame.0[0] = CONTEXT[this_pe()].load(Relaxed);
    HCR_EL2.set(0);
    // RES1 without the features of ARMv8.1 and later; MMU and caches off.
    SCTLR_EL2.set(0x30c5_0830);
    ELR_EL3.set(ENTRY[this_pe()].swap(ON, AcqRel));
    SPSR_EL3.set((Spsr::D | Spsr::A | Spsr::I | Spsr::F | Spsr::M_AARCH64_EL2H).bits());
}

/// Linking fails if anything here, a call of the dispatcher included, could panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    something_can_panic()
}
