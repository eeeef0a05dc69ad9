//! What runs in the Normal world: a kernel out of fw_cfg, or an image that is
//! already in RAM or flash.
//!
//! The low end of RAM while booting:
//!
//! | offset | what |
//! | --- | --- |
//! | 0 | the device tree: QEMU's, then ours in its place |
//! | 1 MiB | ours, while it is being written |
//! | 2 MiB - 12 KiB | the command line |
//! | 2 MiB - 4 KiB | fw_cfg's control structure and small reads |
//! | 2 MiB | the kernel, its text offset further up |
//!
//! These are for device trees with up to 512 KiB in them. For a larger one each
//! tree has 2 MiB, and all that is below 2 MiB here is below 4 MiB.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use dtoolkit::fdt::Fdt;
use zerocopy::{FromZeros, IntoBytes};

use super::fw_cfg::{FwCfg, Item, TransferError};
use super::{PAGE, RAM};
use crate::cache::flush;
use crate::fdt::{self, Additions, IdleState};
use crate::image::{ALIGNMENT, ImageHeader};
use crate::ram::RamMap;
use crate::{Bl33, BootError, Mapper, Region};

/// RAM that is needed to find out anything, in bytes.
pub(super) const LOW_RAM: usize = 4 << 20;

/// The size of QEMU's device tree, in bytes.
static TREE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// Behind QEMU's device tree.
pub(super) fn tree_end() -> usize {
    RAM + TREE_SIZE.load(Relaxed)
}

/// The space for a device tree, in bytes. What is added to a tree of half the
/// space leaves it smaller than that.
fn tree_space() -> usize {
    if tree_end() <= RAM + fdt::MAX_SIZE / 4 {
        fdt::MAX_SIZE / 2
    } else {
        fdt::MAX_SIZE
    }
}

const COMMAND_LINE_SPACE: usize = 2 * PAGE;

/// The page that fw_cfg works with.
pub(super) fn scratch() -> usize {
    kernel() - PAGE
}

/// Where a kernel goes, if its text offset is 0.
fn kernel() -> usize {
    RAM + 2 * tree_space()
}

const _: () = assert!(2 * fdt::MAX_SIZE <= LOW_RAM);

/// Flash 1, which the Normal world sees.
const FLASH: usize = 0x0400_0000;

pub(super) const NO_ANSWER: BootError = BootError::Transfer("QEMU's fw_cfg DMA");

pub(super) const MORE_RAM: &str = "QEMU: -m";

const NOTHING: &str = "nothing to boot. Give QEMU a kernel (-kernel Image -initrd ... -append ...), \
    or an image in flash 1 or in RAM (docs/boot.md)";

const BAD_OPTION: &str =
    "opt/bl31/bl33 is neither `flash1` nor a 4-byte aligned address in RAM (0x60000000)";

/// What CPU_SUSPEND offers. QEMU's timers never stop.
const IDLE_STATES: [IdleState; 3] = fdt::idle_states(false);

/// The device tree at the base of RAM, as QEMU left it.
///
/// # Safety
///
/// [`LOW_RAM`] bytes from [`RAM`] on are mapped and nothing writes there while
/// the tree is in use.
pub(super) unsafe fn device_tree() -> Result<Fdt<'static>, BootError> {
    // SAFETY: the caller's promise.
    let tree = fdt::parse(unsafe { low_ram(RAM, fdt::MAX_SIZE) })
        .map_err(|error| BootError::NoDeviceTree(error, "at the base of RAM"))?;
    TREE_SIZE.store(tree.data().len(), Relaxed);
    Ok(tree)
}

/// A part of [`LOW_RAM`].
///
/// # Safety
///
/// It is mapped, and nothing writes there while the value is in use.
unsafe fn low_ram(start: usize, size: usize) -> &'static [u8] {
    // SAFETY: the caller's promise; any contents are valid bytes.
    unsafe { core::slice::from_raw_parts(start as *const u8, size) }
}

/// Puts what there is to boot into place, and its device tree at the base of RAM.
pub(super) fn load(
    mut fw_cfg: FwCfg,
    mapper: &mut dyn Mapper,
    ram: &RamMap,
) -> Result<Bl33, BootError> {
    let transfer = |_: TransferError| NO_ANSWER;
    let mut buffer = [0; 64];
    let named = fw_cfg
        .text("opt/bl31/bl33", &mut buffer)
        .map_err(transfer)?;
    if let Some(named) = named {
        let (entry, what) = match named {
            "flash1" => (FLASH as u64, "flash 1"),
            address => (in_ram(address, ram)?, "image preloaded in RAM"),
        };
        return handed_on(entry, what, &Additions::default());
    }

    let kernel_size = fw_cfg.number(Item::KernelSize).map_err(transfer)?;
    if kernel_size > 0 {
        return load_kernel(fw_cfg, kernel_size, ram);
    }

    mapper.map_for_boot(Region::device(FLASH, PAGE));
    // SAFETY: just mapped; flash reads as its contents until it is programmed.
    let first_word = unsafe { (FLASH as *const u32).read_volatile() };
    // Erased flash reads as ones, flash without a file as zeroes.
    if first_word != u32::MAX && first_word != 0 {
        return handed_on(FLASH as u64, "flash 1", &Additions::default());
    }
    Err(BootError::Nothing(NOTHING))
}

/// The address of an image in RAM, as the user wrote it.
fn in_ram(text: &str, ram: &RamMap) -> Result<u64, BootError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|address| address.is_multiple_of(4) && ram.contains(*address, 4))
        .ok_or(BootError::BadOption(BAD_OPTION))
}

/// Reads kernel, initramfs and command line.
fn load_kernel(mut fw_cfg: FwCfg, kernel_size: u32, ram: &RamMap) -> Result<Bl33, BootError> {
    let transfer = |_: TransferError| NO_ANSWER;
    let mut header = ImageHeader::new_zeroed();
    let known = size_of::<ImageHeader>().min(kernel_size as usize);
    fw_cfg
        .head(Item::Kernel, &mut header.as_mut_bytes()[..known])
        .map_err(transfer)?;
    let layout = header
        .layout(u64::from(kernel_size))
        .map_err(BootError::Kernel)?;

    let entry = kernel() as u64 + layout.text_offset;
    let initrd_size = fw_cfg.number(Item::InitrdSize).map_err(transfer)?;
    let initrd = (entry + layout.size).next_multiple_of(ALIGNMENT);
    let end = initrd + u64::from(initrd_size);
    let needed = end - RAM as u64;
    if !ram.contains(RAM as u64, needed) {
        return Err(BootError::TooLittleRam {
            what: "the kernel with its initramfs",
            hint: MORE_RAM,
            needed_mib: needed.div_ceil(1 << 20),
            present_mib: ram
                .ranges()
                .filter(|(start, _)| *start == RAM as u64)
                .map(|(start, end)| (end - start) >> 20)
                .sum(),
        });
    }

    // SAFETY: RAM above everything that is used while booting.
    unsafe { fw_cfg.read(Item::Kernel, kernel_size, entry) }.map_err(transfer)?;
    let mut additions = Additions::default();
    if initrd_size > 0 {
        // SAFETY: RAM behind the kernel.
        unsafe { fw_cfg.read(Item::Initrd, initrd_size, initrd) }.map_err(transfer)?;
        additions.initrd = Some((initrd, end));
    }

    let length = fw_cfg.number(Item::CommandLineSize).map_err(transfer)?;
    let length = length.min(COMMAND_LINE_SPACE as u32);
    if length > 0 {
        let place = scratch() - COMMAND_LINE_SPACE;
        // SAFETY: the place that the table above keeps for it.
        unsafe { fw_cfg.read(Item::CommandLine, length, place as u64) }.map_err(transfer)?;
        // SAFETY: just read there, and nothing writes there again.
        let bytes = unsafe { low_ram(place, length as usize) };
        additions.bootargs = core::str::from_utf8(bytes).ok();
    }
    handed_on(entry, "kernel from fw_cfg", &additions)
}

/// Replaces the device tree by ours, and says where to start.
fn handed_on(entry: u64, what: &'static str, additions: &Additions<'_>) -> Result<Bl33, BootError> {
    // `device_tree` has checked it, and nothing has written there since. Doing
    // that again would be a tenth of the way from reset to here.
    // SAFETY: mapped, and nothing writes there before the copy below, when this
    // value isn't used any more.
    let source = Fdt::new_unchecked(unsafe { low_ram(RAM, TREE_SIZE.load(Relaxed)) });
    let (new, scratch) = (RAM + tree_space(), scratch());
    let space = scratch - COMMAND_LINE_SPACE - new;
    // SAFETY: the place that the table above keeps for it.
    let out = unsafe { core::slice::from_raw_parts_mut(new as *mut u8, space) };
    let additions = Additions {
        idle_states: &IDLE_STATES,
        ..*additions
    };
    let size = fdt::rewrite(source, &additions, out).map_err(BootError::DeviceTree)?;
    // SAFETY: both are mapped RAM of at least `size` bytes that don't meet.
    unsafe { core::ptr::copy_nonoverlapping(new as *const u8, RAM as *mut u8, size) };
    // All that was stored in the Normal world's RAM: it starts with its caches off.
    for (start, size) in [(RAM, size), (new, size), (scratch, PAGE)] {
        flush(start, start + size);
    }
    Ok(Bl33 {
        entry,
        device_tree: RAM as u64,
        what,
    })
}
