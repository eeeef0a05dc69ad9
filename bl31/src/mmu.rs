//! EL3's own translation: an identity map, but for the PEs' stacks, in which
//! nothing is both writable and executable, every stack has an unmapped page
//! below it, and the Normal world's memory is there only while booting.

use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use aarch64_cpu::asm::barrier;
use aarch64_paging::descriptor::{El23Attributes, PhysicalAddress};
use aarch64_paging::mair::{Mair, MairAttribute, NormalMemory};
use aarch64_paging::paging::{Constraints, El3, MemoryRegion, PageTable, RootTable, Translation};
use arm_sysregs::el1::accessors::{read_id_aa64mmfr0_el1, read_id_aa64pfr0_el1};
use arm_sysregs::el3::accessors::{write_mair_el3, write_tcr_el3, write_ttbr0_el3};
use arm_sysregs::el3::registers::{MairEl3, SctlrEl3, TcrEl3, Ttbr0El3};
use platform::cache::flush;
use platform::{BootError, Mapper, Memory, Platform, Region, board::Board};

use crate::pe::{
    BOOT_STACK, BOOT_STACK_SIZE, CRASH_STACK, CRASH_STACK_SIZE, PAGE, slot_memory, slot_page,
    stack_start,
};

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
    static __kept_start: u8;
    static __kept_end: u8;
    static __bss_start: u8;
    static __bss_end: u8;
    static __window: u8;
}

/// The addresses from `__window` on at which memory is cleared, in bytes; they are
/// aligned so, and one table has all of them.
const WINDOW_SIZE: usize = 512 << 10;

/// What the other PEs write to turn their MMU on.
#[repr(C)]
pub struct MmuRegisters {
    pub mair: u64,
    pub tcr: u64,
    pub ttbr0: u64,
    pub sctlr: u64,
}

/// A place that the PE that boots writes before its MMU is on, and the entry
/// code of the others reads.
pub struct MmuRegistersCell(UnsafeCell<MmuRegisters>);

// SAFETY: written once, before any other PE is let out of the holding pen.
unsafe impl Sync for MmuRegistersCell {}

/// The registers of the map, for the entry code.
pub static MMU_REGISTERS: MmuRegistersCell = MmuRegistersCell(UnsafeCell::new(MmuRegisters {
    mair: 0,
    tcr: 0,
    ttbr0: 0,
    sctlr: 0,
}));

/// SCTLR_EL3: taking an exception to EL3 and returning from it synchronize the
/// context, although FEAT_ExS lets a PE leave that out. Wherever EL3 writes a
/// system register and says that the exception return synchronizes it, this is
/// meant. RES1 without FEAT_ExS, but not among [`SctlrEl3::RES1`].
pub const SYNCHRONIZED: SctlrEl3 = SctlrEl3::EIS.union(SctlrEl3::EOS);

const WRITE_BACK: NormalMemory = NormalMemory::WriteBackNonTransientReadWriteAllocate;

/// Index 0: device registers; index 1: memory.
const MAIR: Mair = Mair::new([
    MairAttribute::DEVICE_NGNRNE,
    MairAttribute::normal(WRITE_BACK, WRITE_BACK),
    MairAttribute::DEVICE_NGNRNE,
    MairAttribute::DEVICE_NGNRNE,
    MairAttribute::DEVICE_NGNRNE,
    MairAttribute::DEVICE_NGNRNE,
    MairAttribute::DEVICE_NGNRNE,
    MairAttribute::DEVICE_NGNRNE,
]);

/// MAIR_EL3 index of device registers, Device-nGnRnE.
const DEVICE: El23Attributes = El23Attributes::ATTRIBUTE_INDEX_0;
/// MAIR_EL3 index of memory, Write-Back.
const NORMAL: El23Attributes =
    El23Attributes::ATTRIBUTE_INDEX_1.union(El23Attributes::INNER_SHAREABLE);

const XN: El23Attributes = El23Attributes::XN;
const READ_ONLY: El23Attributes = El23Attributes::READ_ONLY;

/// In every descriptor that maps something. Bit 6 (`AP[1]`) is RES1 at EL3.
const MAPPED: El23Attributes = El23Attributes::VALID
    .union(El23Attributes::ACCESSED)
    .union(El23Attributes::USER_RES1);

/// The Normal world's memory.
const NON_SECURE: El23Attributes = MAPPED.union(NORMAL).union(El23Attributes::NS);

/// NSE, with FEAT_RME: memory and devices of EL3's own are Root's then, and an
/// instruction fetch from any other space faults (Arm DDI 0615). The library
/// knows the bit by its name in other regimes. RES0 without FEAT_RME.
const ROOT: El23Attributes = El23Attributes::NON_GLOBAL;

/// 48 bits of address.
const ROOT_LEVEL: usize = 0;
const T0SZ: u8 = 64 - 48;

/// ID_AA64MMFR0_EL1.PARange of 48 bits, the most that T0SZ allows.
const PARANGE_48: u8 = 0b0101;

/// Tables of the pool that the map is made of.
const TABLES: usize = Board::TABLES;

/// The tables that one more region takes at most, which has no more than
/// [`LARGEST_REGION`] bytes: one for its start and one for its end at each of the
/// levels 1 to 3. What is between them takes blocks.
const REGION_TABLES: usize = 6;

/// What an entry of the root table maps, in bytes.
const LARGEST_REGION: usize = 1 << 39;

/// The tables that come after the regions that depend on the machine: the PEs'
/// slots (at 2 MiB each of addresses), the window, the last region of a board.
const LAST_TABLES: usize = 3 + 1 + 1;

/// Zero pages that become translation tables, in the order in which they are needed.
struct Tables(UnsafeCell<[PageTable<El23Attributes>; TABLES]>);

// SAFETY: only the one `Pool` there is touches it; see `turn_on`.
unsafe impl Sync for Tables {}

static POOL: Tables = Tables(UnsafeCell::new([PageTable::EMPTY; TABLES]));

/// Hands the pool's tables out. Nothing is ever given back: the map only grows
/// while booting, and not at all afterwards.
struct Pool {
    used: usize,
}

impl Translation<El23Attributes> for Pool {
    fn allocate_table(&mut self) -> (NonNull<PageTable<El23Attributes>>, PhysicalAddress) {
        assert!(self.used < TABLES, "out of translation tables");
        let table = POOL
            .0
            .get()
            .cast::<PageTable<El23Attributes>>()
            .wrapping_add(self.used);
        self.used += 1;
        match NonNull::new(table) {
            Some(pointer) => (pointer, PhysicalAddress(table as usize)),
            None => unreachable!("a static is not at address 0"),
        }
    }

    unsafe fn deallocate_table(&mut self, _table: NonNull<PageTable<El23Attributes>>) {}

    fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<PageTable<El23Attributes>> {
        match NonNull::new(pa.0 as *mut _) {
            Some(pointer) => pointer,
            None => unreachable!("no table is at address 0"),
        }
    }
}

/// The image's code: the first address and the first behind it.
pub fn text() -> (usize, usize) {
    (
        &raw const __text_start as usize,
        &raw const __text_end as usize,
    )
}

/// Regions that are mapped until the Normal world starts.
const MAX_BOOT_REGIONS: usize = 16;

/// EL3's map.
pub struct Map {
    /// Never dropped: the MMU of every PE reads it for good.
    root: ManuallyDrop<RootTable<El3, Pool>>,
    /// In each descriptor that maps something of EL3's own.
    own: El23Attributes,
    boot_regions: [Option<Region>; MAX_BOOT_REGIONS],
}

impl Map {
    fn new() -> Self {
        Self {
            root: ManuallyDrop::new(RootTable::new(Pool { used: 0 }, ROOT_LEVEL, El3)),
            own: if read_id_aa64pfr0_el1().is_feat_rme_present() {
                MAPPED | ROOT
            } else {
                MAPPED
            },
            boot_regions: [None; MAX_BOOT_REGIONS],
        }
    }

    fn range(&mut self, start: usize, end: usize, attributes: El23Attributes) {
        self.range_at(start, end, start, attributes);
    }

    /// Maps virtual addresses `start..end` to physical ones from `physical` on.
    fn range_at(&mut self, start: usize, end: usize, physical: usize, attributes: El23Attributes) {
        if start == end {
            return;
        }
        let result = self.root.map_range(
            &MemoryRegion::new(start, end),
            PhysicalAddress(physical),
            attributes,
            Constraints::empty(),
        );
        assert!(result.is_ok(), "{start:#x}..{end:#x} can't be mapped");
    }

    fn image(&mut self) {
        // Only the addresses of these symbols mean anything.
        let text = text();
        let rodata = (
            &raw const __rodata_start as usize,
            &raw const __rodata_end as usize,
        );
        let data = (
            &raw const __data_start as usize,
            &raw const __data_end as usize,
        );
        let kept = (
            &raw const __kept_start as usize,
            &raw const __kept_end as usize,
        );
        let bss = (
            &raw const __bss_start as usize,
            &raw const __bss_end as usize,
        );
        let own = self.own | NORMAL;
        self.range(text.0, text.1, own | READ_ONLY);
        self.range(rodata.0, rodata.1, own | READ_ONLY | XN);
        self.range(data.0, data.1, own | XN);
        self.range(kept.0, kept.1, own | XN);
        self.range(bss.0, bss.1, own | XN);
        // Of the stacks everything but the guard pages.
        for (start, size) in [
            (stack_start(&BOOT_STACK), BOOT_STACK_SIZE),
            (stack_start(&CRASH_STACK), CRASH_STACK_SIZE),
        ] {
            self.range(start, start + size, own | XN);
        }
    }

    fn region(&mut self, region: Region) {
        let attributes = match region.memory {
            Memory::Device => self.own | DEVICE,
            Memory::NonSecure => NON_SECURE,
        };
        self.range(region.start, region.end, attributes | XN);
    }

    /// Maps the slots of as many PEs, without their guard pages.
    pub fn slots(&mut self, count: usize) {
        for slot in 0..count {
            let page = slot_page(slot);
            self.range_at(page, page + PAGE, slot_memory(slot), self.own | NORMAL | XN);
        }
        walks_see_it();
    }

    /// The Normal world is about to start: unmaps what only booting needs.
    pub fn finish(mut self) {
        for region in self.boot_regions.into_iter().flatten() {
            self.range(region.start, region.end, El23Attributes::empty());
        }
        drop_unmapped();
    }
}

impl Mapper for Map {
    fn map(&mut self, region: Region) -> Result<(), BootError> {
        if region.end - region.start > LARGEST_REGION
            || self.root.translation().used + REGION_TABLES + LAST_TABLES > TABLES
        {
            return Err(BootError::TooMany("of the GIC"));
        }
        self.region(region);
        walks_see_it();
        Ok(())
    }

    fn map_for_boot(&mut self, region: Region) {
        // The boards' own constants, of which there are fewer.
        if let Some(slot) = self.boot_regions.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(region);
            self.region(region);
            walks_see_it();
        }
    }

    unsafe fn clear(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let next = ((at | (WINDOW_SIZE - 1)) + 1).min(end);
            let window = &raw const __window as usize + at % WINDOW_SIZE;
            let window_end = window + (next - at);
            // Never all that a table has: the library would free the table, and
            // take another from the pool for the next piece.
            self.range_at(window, window_end, at & !(PAGE - 1), NON_SECURE | XN);
            walks_see_it();
            // SAFETY: the caller's promise; just mapped.
            unsafe { core::ptr::write_bytes(window as *mut u8, 0, next - at) };
            // The Normal world starts with its caches off.
            flush(window, window_end);
            self.range(window, window_end, El23Attributes::empty());
            drop_unmapped();
            at = next;
        }
    }
}

/// Makes new descriptors visible to the table walks of this PE, for accesses
/// not begun before. No translation is cached for what was not mapped, regions
/// don't meet, and the window is empty: no valid descriptor is changed, so nothing
/// has to be invalidated.
fn walks_see_it() {
    barrier::dsb(barrier::ISHST);
    barrier::isb(barrier::SY);
}

/// Invalidates the TLB entries of what was unmapped, on all PEs: nothing else may
/// be mapped there before.
fn drop_unmapped() {
    // On all PEs: they walk these tables too, and speculation may have given
    // any of them an entry. Walks see what was stored before the entries are
    // dropped, or they would only be fetched again, and none is left when this
    // returns.
    // SAFETY: no memory that EL3 uses from here on was unmapped.
    unsafe {
        core::arch::asm!(
            "dsb ishst",
            "tlbi alle3is",
            "dsb ish",
            "isb",
            options(nostack, preserves_flags)
        );
    }
}

/// Builds the map of the image and the board's devices, and turns the MMU on.
///
/// Up to the last instruction this runs with the caches off, where exclusive
/// accesses need not work: `map_range` stores descriptors but never exchanges
/// them, and nothing here takes a lock.
///
/// # Safety
///
/// Called once, first of all, by the PE that boots, on the boot stack.
pub unsafe fn turn_on() -> Map {
    let mut map = Map::new();
    map.image();
    for region in Board::DEVICES {
        map.region(*region);
    }

    let parange = read_id_aa64mmfr0_el1().parange().min(PARANGE_48);
    let registers = MmuRegisters {
        mair: MAIR.0,
        tcr: (TcrEl3::RES1
            .with_t0sz(T0SZ)
            // Walks: Inner and Outer Write-Back, Inner Shareable.
            .with_irgn0(0b01)
            .with_orgn0(0b01)
            .with_sh0(0b11)
            .with_ps(parange))
        .bits(),
        ttbr0: map.root.to_physical().0 as u64,
        sctlr: (SctlrEl3::RES1
            | SYNCHRONIZED
            | SctlrEl3::M
            | SctlrEl3::C
            | SctlrEl3::I
            | SctlrEl3::SA
            | SctlrEl3::WXN)
            .bits(),
    };
    // SAFETY: the map has the code that runs and the stack it runs on, at
    // their addresses; the tables live for ever. Nobody else reads the cell yet.
    unsafe {
        write_mair_el3(MairEl3::from_bits_retain(registers.mair));
        write_tcr_el3(TcrEl3::from_bits_retain(registers.tcr));
        write_ttbr0_el3(Ttbr0El3::from_bits_retain(registers.ttbr0));
        let sctlr = registers.sctlr;
        *MMU_REGISTERS.0.get() = registers;
        core::arch::asm!(
            // A TLB may have anything in it after a reset.
            "tlbi alle3",
            // Tables, stack and the cell are in memory: from here to the end
            // nothing is stored that only a store buffer would have.
            "dsb sy",
            // The MMU is on only after the registers that it works by.
            "isb",
            "msr sctlr_el3, {sctlr}",
            // And nothing is accessed as before once it is.
            "isb",
            sctlr = in(reg) sctlr,
            options(nostack, preserves_flags)
        );
    }
    map
}
