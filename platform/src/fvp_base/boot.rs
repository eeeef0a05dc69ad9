//! What runs in the Normal world: a kernel or another image that the model has
//! loaded into DRAM, with a device tree.
//!
//! | address | what |
//! | --- | --- |
//! | 0x8008_0000, 0x8020_0000 or 0x8400_0000 | an arm64 kernel |
//! | 0x8200_0000 or 0x87e0_0000 | the device tree, then ours in its place; 1 MiB |
//! | 0x8800_0000 | another image, if there is no kernel |
//!
//! An initramfs is wherever the tree says that it is.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use zerocopy::FromBytes;

use crate::cache::flush;
use crate::fdt::{self, Additions, FdtError, IdleState};
use crate::image::{ALIGNMENT, HeaderError, ImageHeader};
use crate::ram::{MAX_RANGES, RamMap};
use crate::{Bl33, BootError, tree};

/// The low end of DRAM, in which everything is that is looked at while booting:
/// address, and size in bytes.
pub(super) const LOW_RAM: usize = 0x8000_0000;
pub(super) const LOW_RAM_SIZE: usize = 0x0900_0000;

/// The Normal world's DRAM, start and end (exclusive): all but the last 16 MiB below
/// 4 GiB, by the convention of this machine.
pub(super) const DRAM: [(u64, u64); 2] =
    [(0x8000_0000, 0xff00_0000), (0x8_8000_0000, 0x10_0000_0000)];

/// The last is for kernels that would reach over the first place of the tree.
const KERNELS: [usize; 3] = [0x8008_0000, 0x8020_0000, 0x8400_0000];

/// The second is for kernels that reach over the first.
const TREES: [usize; 2] = [0x8200_0000, 0x87e0_0000];

const IMAGE: usize = 0x8800_0000;

/// As much of it is kept when memory is cleared, in bytes: how long it is can't be
/// known.
const IMAGE_SPACE: usize = 16 << 20;

/// The space for a device tree in bytes: the tree itself, and behind it as much in
/// which ours is written.
const TREE_SPACE: usize = 512 << 10;

/// What memory reads as that nobody has written to: the model's two patterns
/// (parameters `fill1` and `fill2` of its RAM), zeroes, ones.
const BLANK: [u32; 4] = [0xdfdf_dfcf, 0xcfdf_dfdf, 0, u32::MAX];

const NO_TREE: &str = "at 0x82000000 or 0x87e00000. Have the model load the kernel's \
    arm/fvp-base-revc.dtb there (--data cluster0.cpu0=fvp-base-revc.dtb@0x82000000)";

const NOTHING: &str = "nothing to boot. Have the model load an arm64 kernel at 0x80200000 \
    (--data cluster0.cpu0=Image@0x80200000), or another image at 0x88000000";

const MISPLACED: &str = "the kernel must lie at a multiple of 2 MiB plus the text offset in its \
    header: load it at 0x80200000, or at 0x80080000 if the offset is 0x80000";

const NO_ROOM: &str = "the kernel needs memory where its device tree or its initramfs is, or that \
    is no RAM. Load the tree at 0x87e00000, and the initramfs behind the kernel";

/// What CPU_SUSPEND offers.
const IDLE_STATES: [IdleState; 3] = fdt::idle_states(true);

/// Where the device tree is.
static TREE: AtomicUsize = AtomicUsize::new(0);

/// Its size, in bytes.
static TREE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// Finds the device tree and checks it.
///
/// # Safety
///
/// [`LOW_RAM`] is mapped, and nothing writes to it while the tree is in use.
pub(super) unsafe fn find_tree() -> Result<Fdt<'static>, BootError> {
    let mut found = FdtError::Missing;
    for address in TREES {
        // SAFETY: the caller's promise.
        match fdt::parse(unsafe { low_ram(address, TREE_SPACE) }) {
            Ok(tree) => {
                TREE.store(address, Relaxed);
                TREE_SIZE.store(tree.data().len(), Relaxed);
                return Ok(tree);
            }
            Err(FdtError::Missing) => {}
            Err(error) => found = error,
        }
    }
    Err(BootError::NoDeviceTree(found, NO_TREE))
}

/// The tree that [`find_tree`] found.
///
/// # Safety
///
/// As [`find_tree`], after that.
unsafe fn found_tree() -> Fdt<'static> {
    // SAFETY: the caller's promise. It was checked.
    Fdt::new_unchecked(unsafe { low_ram(TREE.load(Relaxed), TREE_SIZE.load(Relaxed)) })
}

/// A part of [`LOW_RAM`].
///
/// # Safety
///
/// As [`find_tree`].
unsafe fn low_ram(address: usize, size: usize) -> &'static [u8] {
    debug_assert!(address >= LOW_RAM && address + size <= LOW_RAM + LOW_RAM_SIZE);
    // SAFETY: the caller's promise; any contents are valid bytes.
    unsafe { core::slice::from_raw_parts(address as *const u8, size) }
}

/// What there is to boot.
pub(super) struct Found {
    entry: usize,
    what: &'static str,
    /// The memory that it, its device tree and its initramfs are in: physical
    /// addresses, start and end (exclusive).
    pub(super) keep: [(usize, usize); 3],
}

/// Finds the kernel, or else the other image.
///
/// # Safety
///
/// After [`find_tree`], as that.
pub(super) unsafe fn find_image(ram: &RamMap) -> Result<Found, BootError> {
    let place = TREE.load(Relaxed);
    // SAFETY: the caller's promise.
    let initrd = initrd(unsafe { found_tree() }).unwrap_or_default();
    let found = |entry, size, what| Found {
        entry,
        what,
        keep: [
            (entry, entry + size),
            (place, place + 2 * TREE_SPACE),
            (initrd.0 as usize, initrd.1 as usize),
        ],
    };
    let mut error = BootError::Nothing(NOTHING);
    for address in KERNELS {
        // SAFETY: the caller's promise.
        let bytes = unsafe { low_ram(address, size_of::<ImageHeader>()) };
        let Ok((header, _)) = ImageHeader::read_from_prefix(bytes) else {
            continue;
        };
        // How long the file was can't be known.
        let layout = match header.layout(size_of::<ImageHeader>() as u64) {
            Ok(layout) => layout,
            Err(HeaderError::NoImage) => continue,
            Err(other) => {
                error = BootError::Kernel(other);
                continue;
            }
        };
        if address as u64 % ALIGNMENT != layout.text_offset % ALIGNMENT {
            return Err(BootError::BadOption(MISPLACED));
        }
        let found = found(address, layout.size as usize, "preloaded kernel");
        let [(start, end), others @ ..] = found.keep;
        let meets = |(s, e): &(usize, usize)| *s < end && start < *e;
        if !ram.contains(start as u64, layout.size) || others.iter().any(meets) {
            return Err(BootError::BadOption(NO_ROOM));
        }
        return Ok(found);
    }
    // SAFETY: the caller's promise.
    let word = u32::read_from_prefix(unsafe { low_ram(IMAGE, size_of::<u32>()) });
    match word {
        Ok((word, _)) if !BLANK.contains(&word) => {
            Ok(found(IMAGE, IMAGE_SPACE, "image preloaded in RAM"))
        }
        _ => Err(error),
    }
}

/// Replaces the device tree by ours, and says where to start: `pes` are the
/// affinity fields of the machine's PEs.
///
/// # Safety
///
/// As [`find_image`].
pub(super) unsafe fn hand_on(found: &Found, pes: &[u64], ram: &RamMap) -> Result<Bl33, BootError> {
    let place = TREE.load(Relaxed);
    // SAFETY: the caller's promise.
    let tree = unsafe { found_tree() };
    let mut memory = [(0, 0); MAX_RANGES];
    let ranges = memory.iter_mut().zip(ram.ranges());
    let count = ranges.map(|(place, range)| *place = range).count();
    let additions = Additions {
        initrd: initrd(tree),
        idle_states: &IDLE_STATES,
        memory: Some(&memory[..count]),
        pes: Some(pes),
        ..Additions::default()
    };
    let ours = place + TREE_SPACE;
    // SAFETY: the space behind the tree, which is for this.
    let out = unsafe { core::slice::from_raw_parts_mut(ours as *mut u8, TREE_SPACE) };
    let size = fdt::rewrite(tree, &additions, out).map_err(BootError::DeviceTree)?;
    // SAFETY: both are mapped RAM of at least `size` bytes that don't meet, and
    // the tree that was found isn't used any more.
    unsafe { core::ptr::copy_nonoverlapping(ours as *const u8, place as *mut u8, size) };
    // All that was stored in the Normal world's RAM: it starts with its caches off.
    for start in [place, ours] {
        flush(start, start + size);
    }
    Ok(Bl33 {
        entry: found.entry as u64,
        device_tree: place as u64,
        what: found.what,
    })
}

/// Where the tree says that the initramfs is, start and end (exclusive).
fn initrd(tree: Fdt<'_>) -> Option<(u64, u64)> {
    let chosen = tree::top(tree, "chosen")?;
    let address = |name| match *chosen.property(name)?.value() {
        [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    };
    Some((address("linux,initrd-start")?, address("linux,initrd-end")?))
}
