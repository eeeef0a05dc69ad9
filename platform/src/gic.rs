//! GICv3 as EL3 uses it: Group 0 comes to EL3 as FIQ, all else is the Normal
//! world's (Arm IHI 0069).
//!
//! Each PE owns its redistributor frame and its CPU interface; only the
//! distributor is shared, under a lock that neither event 0 nor PSCI needs.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use aarch64_cpu::asm::barrier;
use arm_gic::IntId;
use arm_gic::gicv3::registers::{Gicd, GicdCtlr, GicrCtlr, GicrSgi, Waker};
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, HIGHEST_NS_PRIORITY, HIGHEST_S_PRIORITY};
use arm_sysregs::el1::accessors::{
    read_icc_ap1r0_el1, read_icc_iar0_el1, write_icc_ap0r0_el1, write_icc_ap0r1_el1,
    write_icc_ap0r2_el1, write_icc_ap0r3_el1, write_icc_ap1r0_el1, write_icc_ap1r1_el1,
    write_icc_ap1r2_el1, write_icc_ap1r3_el1, write_icc_dir_el1, write_icc_eoir0_el1,
    write_icc_eoir1_el1, write_icc_igrpen1_el1,
};
use arm_sysregs::el1::registers::{
    IccAp1r0El1, IccDirEl1, IccEoir0El1, IccEoir1El1, IccIgrpen1El1,
};
use arm_sysregs::el3::accessors::{read_icc_ctlr_el3, write_icc_ctlr_el3};
use arm_sysregs::el3::registers::IccCtlrEl3;
use safe_mmio::{UniqueMmioPointer, field, field_shared};
use spin::mutex::{TicketMutex, TicketMutexGuard};

use crate::events::FIXED;
use crate::gic_events::{EDGE, Interrupt};

/// The SGI that tells a PE of event 0. SGIs 8 to 15 are Secure by convention
/// (Arm IHI 0069 2.2.1 leaves it to software).
pub const SGI_EVENT: IntId = IntId::sgi(8);

/// The SGI that wakes a PE that is off to look at what PSCI has for it.
pub const SGI_POWER_ON: IntId = IntId::sgi(9);

/// The interrupt of each PE's Secure physical timer, CNTPS (Arm Base System
/// Architecture, PPI assignments).
pub const SECURE_TIMER: IntId = IntId::ppi(13);

/// The bits of EL3's two SGIs in a register with a bit for each.
const OUR_SGIS: u32 = 1 << SGI_EVENT.raw_value() | 1 << SGI_POWER_ON.raw_value();

/// The same for the PPIs that EL3 uses itself.
const OUR_PPIS: u32 = 1 << SECURE_TIMER.raw_value();

/// The priority of EL3's SGIs, [`HIGHEST_S_PRIORITY`], is above that of all
/// other interrupts of EL3, which is above all that the Normal world can mask
/// (from 0x80 on): so a PE that is off can let its SGIs through alone.
pub const EVENT_PRIORITY: u8 = 0x40;

/// The bits of what is EL3's: SGIs 8 to 15, and its PPIs. They are Group 0 from the
/// first set-up of a redistributor on, whatever comes: for as long as one is not,
/// the Normal world can make it active, and then it never arrives again.
const OURS: u32 = 0xff00 | OUR_PPIS | FIXED_PPIS;

/// The PPIs of fixed events.
const FIXED_PPIS: u32 = {
    let mut bits = 0;
    let mut index = 0;
    while index < FIXED.len() {
        if FIXED[index].intid < 32 {
            bits |= 1 << FIXED[index].intid;
        }
        index += 1;
    }
    bits
};

/// GICR_ICFGR1 at hand-over, two bits for each PPI: PPIs are level-sensitive until
/// the Normal world says otherwise.
const PPI_TRIGGERS: u32 = {
    let mut value = 0;
    let mut index = 0;
    while index < FIXED.len() {
        if FIXED[index].intid < 32 && FIXED[index].edge {
            value |= EDGE << (2 * (FIXED[index].intid - 16));
        }
        index += 1;
    }
    value
};

/// The priorities of SGIs and PPIs at hand-over, four to a word.
const PRIORITIES: [u32; 8] = {
    let mut bytes = [[HIGHEST_NS_PRIORITY; 4]; 8];
    let mut sgi = 8;
    while sgi < 16 {
        bytes[sgi / 4][sgi % 4] = HIGHEST_S_PRIORITY;
        sgi += 1;
    }
    let timer = SECURE_TIMER.raw_value() as usize;
    bytes[timer / 4][timer % 4] = EVENT_PRIORITY;
    let mut index = 0;
    while index < FIXED.len() {
        let intid = FIXED[index].intid as usize;
        if intid < 32 {
            bytes[intid / 4][intid % 4] = EVENT_PRIORITY;
        }
        index += 1;
    }
    let mut words = [0; 8];
    let mut word = 0;
    while word < 8 {
        words[word] = u32::from_ne_bytes(bytes[word]);
        word += 1;
    }
    words
};

/// How often a register of the GIC is read until EL3 goes on without what it waits
/// for. The GIC itself takes a few reads; but a machine may let the Normal world
/// write GICR_WAKER (QEMU does), or keep the GIC busy.
const PATIENCE: usize = 10_000;

/// IAR value: nothing to acknowledge (INTID 1023; 1020 to 1022 are special too).
const FIRST_SPECIAL_INTID: u32 = 1020;
const LAST_SPECIAL_INTID: u32 = 1023;

/// The distributor of a machine.
pub struct Distributor {
    /// Fair: PEs that make one call after another can't keep it from another PE.
    registers: TicketMutex<UniqueMmioPointer<'static, Gicd>>,
}

impl Distributor {
    /// The distributor at this address.
    ///
    /// # Safety
    ///
    /// `address` is that of the machine's GICD, mapped as Device memory in all
    /// of EL3 before the first use, and no other `Distributor` has it.
    pub const unsafe fn new(address: usize) -> Self {
        let Some(registers) = NonNull::new(address as *mut Gicd) else {
            panic!("the GICD is not at address 0")
        };
        Self {
            // SAFETY: the caller's promise.
            registers: TicketMutex::new(unsafe { UniqueMmioPointer::new(registers) }),
        }
    }

    #[inline(never)]
    fn lock(&self) -> TicketMutexGuard<'_, UniqueMmioPointer<'static, Gicd>> {
        self.registers.lock()
    }

    /// Whether this is a GICv3 or later with two Security states, as EL3 needs.
    pub fn is_supported(&self) -> bool {
        let mut registers = self.lock();
        let distributor = GicDistributor::new(registers.reborrow());
        distributor.pidr2().arch_rev() >= 3 && distributor.typer().has_security_extension()
    }

    /// Gives every SPI to the Normal world, disabled, and turns affinity
    /// routing on for both Security states.
    pub fn configure(&self) {
        let mut registers = self.lock();
        let mut distributor = GicDistributor::new(registers.reborrow());
        // The order that Arm IHI 0069 12.9.4 asks for: all groups disabled,
        // then ARE, which can't be taken back.
        distributor.modify_control(
            GicdCtlr::EnableGrp0 | GicdCtlr::EnableGrp1S | GicdCtlr::EnableGrp1NS,
            false,
        );
        distributor.modify_control(GicdCtlr::ARE_S, true);
        distributor.modify_control(GicdCtlr::ARE_NS, true);
        distributor.configure_default_settings();
        // The Normal world does nothing to what becomes EL3's.
        let mut index = 0;
        while let Some(mut register) = field!(registers, nsacr).get(index) {
            register.write(0);
            index += 1;
        }
        for fixed in FIXED {
            if let Ok(intid) = IntId::try_from(fixed.intid)
                && let Some(mut interrupt) = Interrupt::spi(intid, registers.reborrow())
            {
                interrupt.take(fixed.edge);
            }
        }
    }

    /// Gives an SPI to `f`, if there is such an SPI.
    pub fn with_spi(&self, spi: IntId, f: &mut dyn FnMut(Interrupt<'_>)) {
        let mut registers = self.lock();
        if let Some(interrupt) = Interrupt::spi(spi, registers.reborrow()) {
            f(interrupt);
        }
    }

    /// Lets Group 0 interrupts through. Until then EnableGrp0 reads 0, which is
    /// what the PEs in the holding pen wait on.
    pub fn enable_group0(&self) {
        GicDistributor::new(self.lock().reborrow()).modify_control(GicdCtlr::EnableGrp0, true);
    }
}

/// The redistributor frames of a region, up to its last: the address of each,
/// and the affinity fields of the PE whose it is.
///
/// # Safety
///
/// `start..end` are physical addresses of redistributor frames, mapped as Device
/// memory, that nothing else uses at this time.
pub unsafe fn frames(start: usize, end: usize) -> impl Iterator<Item = (usize, u64)> {
    let mut next = Some(start);
    core::iter::from_fn(move || {
        let address = next.filter(|address| address + size_of::<GicrSgi>() <= end)?;
        let pointer = NonNull::new(address as *mut GicrSgi)?;
        // SAFETY: inside the region that the caller vouches for.
        let frame = unsafe { UniqueMmioPointer::new(pointer) };
        let gicr = field_shared!(frame, gicr);
        let typer = field_shared!(gicr, typer).read();
        // GICv4 frames have two more 64 KiB pages, for virtual LPIs.
        let size = size_of::<GicrSgi>() << u32::from(typer.virtual_lpis_supported());
        next = (!typer.last_redistributor()).then_some(address + size);
        Some((address, typer.core_mpidr()))
    })
}

/// Where each PE's redistributor is. Filled by the PE that boots.
pub struct PeInterrupts<const PES: usize> {
    frames: [AtomicUsize; PES],
}

impl<const PES: usize> PeInterrupts<PES> {
    /// Of no PE yet.
    pub const fn new() -> Self {
        Self {
            frames: [const { AtomicUsize::new(0) }; PES],
        }
    }

    /// Walks a region of redistributor frames and notes whose each one is, by
    /// GICR_TYPER's affinity. Returns how many of the frames were a PE's.
    ///
    /// # Safety
    ///
    /// `start..end` are physical addresses of redistributor frames, mapped as
    /// Device memory, that nothing else uses at this time.
    pub unsafe fn find_frames(
        &self,
        start: usize,
        end: usize,
        pe_index: impl Fn(u64) -> Option<usize>,
    ) -> usize {
        let mut found = 0;
        // SAFETY: the caller's promise.
        for (address, mpidr) in unsafe { frames(start, end) } {
            if let Some(index) = pe_index(mpidr) {
                self.frames[index].store(address, Relaxed);
                found += 1;
            }
        }
        found
    }

    /// This PE's redistributor frame, given this PE's index; `None` if it has none.
    pub fn frame(&self, index: usize) -> Option<UniqueMmioPointer<'static, GicrSgi>> {
        let pointer = NonNull::new(self.frames.get(index)?.load(Relaxed) as *mut GicrSgi)?;
        // SAFETY: `find_frames` noted it, a frame in a region that stays mapped.
        // A PE uses only its own frame, from EL3, where it is never interrupted,
        // and keeps it no longer than one call.
        Some(unsafe { UniqueMmioPointer::new(pointer) })
    }

    /// Gives a PPI of this PE, whose index this is, to `f`, if there is such a
    /// PPI.
    pub fn with_ppi(&self, index: usize, ppi: IntId, f: &mut dyn FnMut(Interrupt<'_>)) {
        if let Some(frame) = self.frame(index)
            && let Some(interrupt) = Interrupt::ppi(ppi, frame)
        {
            f(interrupt);
        }
    }
}

impl<const PES: usize> Default for PeInterrupts<PES> {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits for the GIC, but not for ever.
fn wait_until(mut done: impl FnMut() -> bool) {
    for _ in 0..PATIENCE {
        if done() {
            return;
        }
    }
}

/// Waits until what was written to a redistributor has reached the PE.
pub(crate) fn wait_for_redistributor(frame: &UniqueMmioPointer<'_, GicrSgi>) {
    let gicr = field_shared!(frame, gicr);
    let ctlr = field_shared!(gicr, ctlr);
    wait_until(|| !ctlr.read().contains(GicrCtlr::RWP));
}

/// Waits until what was written to the distributor has reached all PEs.
pub(crate) fn wait_for_distributor(gicd: &UniqueMmioPointer<'_, Gicd>) {
    let ctlr = field_shared!(gicd, ctlr);
    wait_until(|| !ctlr.read().contains(GicdCtlr::RWP));
}

/// Tells a redistributor whether its PE sleeps, and waits until it has taken note.
fn set_asleep(mut frame: UniqueMmioPointer<'_, GicrSgi>, asleep: bool) {
    let mut gicr = field!(frame, gicr);
    let mut waker = field!(gicr, waker);
    wait_until(|| {
        let now = waker.read();
        // It is changed only when the last change is complete (Arm IHI 0069
        // 12.11.42).
        if now.contains(Waker::CHILDREN_ASLEEP) == now.contains(Waker::PROCESSOR_SLEEP) {
            let mut wanted = now;
            wanted.set(Waker::PROCESSOR_SLEEP, asleep);
            if wanted == now {
                return true;
            }
            waker.write(wanted);
        }
        false
    });
}

/// Brings this PE's redistributor and CPU interface to the state in which a PE
/// enters the Normal world for the first time: SGIs and PPIs its own, disabled
/// and idle, but for EL3's SGIs and PPIs.
pub fn configure_pe(mut frame: UniqueMmioPointer<'static, GicrSgi>) {
    set_asleep(frame.reborrow(), false);
    let gicr = field_shared!(frame, gicr);
    let extended = field_shared!(gicr, typer).read().max_eppi_count() as usize;
    let mut sgi = field!(frame, sgi);
    // A word of 32 interrupts after the other: SGIs and PPIs, extended PPIs.
    for word in 0..=extended / 32 {
        // All of EL3's SGIs stay enabled and pending, so none of them is lost: a
        // signal can already be on its way.
        let (ours, sgis) = if word == 0 { (OURS, OUR_SGIS) } else { (0, 0) };
        macro_rules! write {
            ($array:ident, $value:expr) => {
                if let Some(mut register) = field!(sgi, $array).get(word) {
                    register.write($value);
                }
            };
        }
        write!(icenabler, !sgis);
        // In this order, and to the same each time: nothing of EL3's is ever
        // anything but Group 0.
        write!(igrpmodr, 0);
        write!(igroupr, !ours);
        // What the Normal world could write before that, it can't any more.
        write!(inmir, 0);
        write!(icactiver, u32::MAX);
        write!(icpendr, !sgis);
    }
    // One by one: of an array, the compiler makes a loop.
    macro_rules! write_priorities {
        ($($index:literal)*) => {
            $(if let Some(mut register) = field!(sgi, ipriorityr).get($index) {
                register.write(const { PRIORITIES[$index] });
            })*
        };
    }
    write_priorities!(0 1 2 3 4 5 6 7);
    for index in PRIORITIES.len()..PRIORITIES.len() + extended / 4 {
        if let Some(mut register) = field!(sgi, ipriorityr).get(index) {
            register.write(u32::from_ne_bytes([HIGHEST_NS_PRIORITY; 4]));
        }
    }
    // The trigger of SGIs is fixed.
    for index in 1..2 + extended / 16 {
        if let Some(mut register) = field!(sgi, icfgr).get(index) {
            register.write(if index == 1 { PPI_TRIGGERS } else { 0 });
        }
    }
    // The Normal world raises none of EL3's SGIs.
    field!(sgi, nsacr).write(0);
    if let Some(mut register) = field!(sgi, isenabler).get(0) {
        register.write(OUR_SGIS | OUR_PPIS);
    }
    // All writes above have arrived before the interface lets anything through.
    wait_for_redistributor(&frame);

    configure_cpu_interface();
}

/// Ends [`sleep_pe`], whose frame this is; also where the PE was not put to sleep.
pub fn wake_pe(frame: UniqueMmioPointer<'static, GicrSgi>) {
    set_asleep(frame, false);
    configure_cpu_interface();
}

/// Takes this PE, whose frame this is, from the distributor: an interrupt for it
/// is a request to wake it from now on (Arm IHI 0069 11.1).
pub fn sleep_pe(frame: UniqueMmioPointer<'static, GicrSgi>) {
    GicCpuInterface::enable_group0(false);
    GicCpuInterface::enable_group1_non_secure(false);
    // The groups are off, and the redistributor knows it, before it is told to
    // send nothing more: else it may wait for this PE to take what was sent.
    barrier::isb(barrier::SY);
    barrier::dsb(barrier::SY);
    set_asleep(frame, true);
}

/// Brings this PE's CPU interface to its first state: EL3's, with nothing of
/// the Normal world active or enabled.
pub fn configure_cpu_interface() {
    // No bypass, and the Normal world may use the system registers.
    GicCpuInterface::enable_system_register_el3(true);
    GicCpuInterface::disable_legacy_interrupt_bypass_el3(true);
    // The registers below are there once ICC_SRE_EL3.SRE is set.
    barrier::isb(barrier::SY);
    // EL3 drops an interrupt's priority when it acknowledges it and
    // deactivates it when its handler completes. All else is 0, which has to be
    // the same on all PEs: no priority mask hint (PMHE), Group 1 has its own binary
    // point (CBPR).
    write_icc_ctlr_el3(IccCtlrEl3::EOIMODE_EL3);
    // What an interrupt handler had active when its PE went off is gone, as it
    // would be after a power-down.
    reset_active_priorities(read_icc_ctlr_el3().pribits());
    GicCpuInterface::set_priority_mask(0xff);
    write_icc_igrpen1_el1(IccIgrpen1El1::empty());
    // EL3 masks interrupts: the exception return, or what lets a PE that is off
    // wait, synchronizes all of this.
    GicCpuInterface::enable_group0(true);
}

/// Clears ICC_AP0R*_EL1 and ICC_AP1R*_EL1, all of Group 0 before the first of
/// Group 1: any other order is UNPREDICTABLE. There are as many as the preemption
/// bits need: one for 5, two for 6, four for 7 (Arm IHI 0069 12.2.1).
fn reset_active_priorities(pribits: u8) {
    // `pribits()` of arm-sysregs 0.5 includes bits of the fields above PRIbits.
    let preemption_bits = (pribits & 0b111) + 1;
    // SAFETY: clearing them all says that no interrupt is active here: EL3 has
    // none, and what the Normal world had is given up.
    unsafe {
        write_icc_ap0r0_el1(0);
        if preemption_bits >= 6 {
            write_icc_ap0r1_el1(0);
        }
        if preemption_bits >= 7 {
            write_icc_ap0r2_el1(0);
            write_icc_ap0r3_el1(0);
        }
        write_icc_ap1r0_el1(IccAp1r0El1::empty());
        if preemption_bits >= 6 {
            write_icc_ap1r1_el1(0);
        }
        if preemption_bits >= 7 {
            write_icc_ap1r2_el1(0);
            write_icc_ap1r3_el1(0);
        }
    }
    // QEMU ignores the write to the Non-secure ICC_AP1R0_EL1, whoever makes it
    // (icc_ap_write). There each end of an interrupt drops one priority; it
    // deactivates nothing (EOImode_EL3), and looks at no INTID. Elsewhere nothing is
    // left to end. The register has 32 priorities.
    for _ in 0..32 {
        if read_icc_ap1r0_el1().bits() == 0 {
            break;
        }
        write_icc_eoir1_el1(IccEoir1El1::empty());
    }
}

/// Lets every interrupt that is routed to this PE and enabled end its wait,
/// whatever the Normal world masks: a redistributor wakes a PE that is down so.
pub fn listen_to_all() {
    GicCpuInterface::set_priority_mask(0xff);
    GicCpuInterface::enable_group1_non_secure(true);
    // Before the barrier that precedes WFI, which orders what is synchronized.
    barrier::isb(barrier::SY);
}

/// Keeps all interrupts but EL3's SGIs from this PE, which is off: those of the
/// Normal world and those of events stay pending and don't end its wait.
/// [`configure_pe`] ends it.
pub fn silence_pe() {
    GicCpuInterface::enable_group1_non_secure(false);
    GicCpuInterface::set_priority_mask(EVENT_PRIORITY);
    // As in `listen_to_all`.
    barrier::isb(barrier::SY);
}

/// Acknowledges a Group 0 interrupt and drops its priority at once, so that
/// nothing is held off while it is served. `None` if none is pending (any more).
///
/// It stays active until [`deactivate`].
#[inline(always)]
pub fn acknowledge() -> Option<u32> {
    let intid = read_icc_iar0_el1().intid();
    // What the signaller stored before it raised the SGI is read after this, and
    // the redistributor's registers show the interrupt as active.
    barrier::dsb(barrier::SY);
    if (FIRST_SPECIAL_INTID..=LAST_SPECIAL_INTID).contains(&intid) {
        return None;
    }
    write_icc_eoir0_el1(IccEoir0El1::from_bits_retain(u64::from(intid)));
    // No other Group 0 interrupt is active here, so this is what the register has.
    // QEMU up to 11 ignores the write before it while the Normal world handles an NMI
    // (FEAT_GICv3_NMI), and for a Group 0 interrupt that is marked as one: nothing
    // would ever arrive on this PE again.
    // SAFETY: EL3 has no active interrupt, so that is true of its priorities.
    unsafe { write_icc_ap0r0_el1(0) };
    Some(intid)
}

/// Deactivates an acknowledged interrupt.
#[inline(always)]
pub fn deactivate(intid: u32) {
    // Not ordered with the priority drop of `acknowledge`, which is this PE's
    // interface alone, and synchronized like that by the exception return.
    write_icc_dir_el1(IccDirEl1::from_bits_retain(u64::from(intid)));
}

/// Takes the Group 0 interrupts that ended a wait and were for nothing else: EL3's
/// SGIs, which are all that [`silence_pe`] lets through. One that comes after this
/// ends the next wait.
pub fn drain() {
    for _ in 0..OUR_SGIS.count_ones() {
        if let Some(intid) = acknowledge() {
            deactivate(intid);
        }
    }
}
