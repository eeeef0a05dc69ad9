//! QEMU's firmware configuration device: what `-kernel`, `-initrd`, `-append`
//! and `-fw_cfg` gave (QEMU's docs/specs/fw_cfg.rst).
//!
//! The crate `qemu-fw-cfg` reads files only, eight bytes at a time; kernels
//! come by selector, and by DMA.

use core::ptr::NonNull;

use crate::fdt::until_nul;
use aarch64_cpu::asm::barrier;
use safe_mmio::fields::{ReadOnly, WriteOnly};
use safe_mmio::{UniqueMmioPointer, field};
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// What there is to read, by its selector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Item {
    /// What the device can do, in four bytes of which the first is enough.
    Features = 0x01,
    /// The size of the kernel, four bytes, little-endian, as the other sizes.
    KernelSize = 0x08,
    /// The size of the initramfs.
    InitrdSize = 0x0b,
    /// The kernel.
    Kernel = 0x11,
    /// The initramfs.
    Initrd = 0x12,
    /// The size of the command line.
    CommandLineSize = 0x14,
    /// The command line.
    CommandLine = 0x15,
    /// The directory of files.
    Directory = 0x19,
}

/// The device's registers.
#[derive(Clone, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C, align(8))]
struct Registers {
    /// Each read gives the next byte.
    data: ReadOnly<u8>,
    _reserved: [u8; 7],
    selector: WriteOnly<u16>,
    _reserved_2: [u8; 6],
    /// Not there without the feature.
    dma_high: WriteOnly<u32>,
    dma_low: WriteOnly<u32>,
}

/// The DMA's control structure.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Access {
    control: U32,
    length: U32,
    address: U64,
}

/// The bit of [`Item::Features`] for DMA.
const FEATURE_DMA: u8 = 1 << 1;

/// How often a transfer's state is read before the transfer counts as failed. QEMU
/// transfers before the write that starts it ends.
const PATIENCE: u32 = 1 << 20;

const CONTROL_ERROR: u32 = 1 << 0;
const CONTROL_READ: u32 = 1 << 1;
const CONTROL_SKIP: u32 = 1 << 2;
const CONTROL_SELECT: u32 = 1 << 3;

/// An entry of the directory.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Entry {
    size: U32,
    selector: U16,
    reserved: U16,
    name: [u8; 56],
}

/// The transfer failed, or the device has no DMA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransferError;

/// The device and a page of the Normal world's RAM to work with, since its DMA
/// reaches no Secure memory.
pub struct FwCfg {
    registers: UniqueMmioPointer<'static, Registers>,
    scratch: usize,
}

/// The part of the scratch page behind the control structure.
const BUFFER: usize = 64;

/// The longest text that [`FwCfg::text`] reads, in bytes.
pub const MAX_TEXT: usize = 4096 - BUFFER;

impl FwCfg {
    /// The device at `address`.
    ///
    /// # Safety
    ///
    /// There is a fw_cfg device at `address` and 4 KiB of Non-secure RAM at
    /// `scratch`, page aligned; both stay mapped and nothing else uses either
    /// while this value lives.
    pub unsafe fn new(address: usize, scratch: usize) -> Result<Self, TransferError> {
        let registers = NonNull::new(address as *mut Registers).ok_or(TransferError)?;
        let mut device = Self {
            // SAFETY: the caller's promise.
            registers: unsafe { UniqueMmioPointer::new(registers) },
            scratch,
        };
        let selector = Item::Features as u16;
        field!(device.registers, selector).write(selector.to_be());
        if field!(device.registers, data).read() & FEATURE_DMA != 0 {
            Ok(device)
        } else {
            Err(TransferError)
        }
    }

    /// One transfer; its control structure starts the scratch page.
    fn transfer(&mut self, control: u32, length: u32, address: usize) -> Result<(), TransferError> {
        let access = Access {
            control: control.into(),
            length: length.into(),
            address: (address as u64).into(),
        };
        let place = self.scratch as *mut Access;
        // SAFETY: the scratch page is RAM, this value's alone, and aligned.
        unsafe { place.write_volatile(access) };
        // In memory before the device is told to look there. It is coherent
        // with the caches (`dma-coherent` in the device tree), so no line of
        // what it reads or writes needs maintenance.
        barrier::dsb(barrier::SY);
        let place_high = ((self.scratch as u64) >> 32) as u32;
        field!(self.registers, dma_high).write(place_high.to_be());
        // Writing the low half starts the transfer.
        field!(self.registers, dma_low).write((self.scratch as u32).to_be());
        for _ in 0..PATIENCE {
            // SAFETY: as above; the device writes it, so it is read as volatile.
            let access = unsafe { place.read_volatile() };
            // What it has transferred is read after its word that it is done.
            barrier::dsb(barrier::SY);
            match access.control.get() {
                0 => return Ok(()),
                control if control & CONTROL_ERROR != 0 => return Err(TransferError),
                _ => {}
            }
        }
        Err(TransferError)
    }

    /// Reads `length` bytes of an item to `address`.
    ///
    /// # Safety
    ///
    /// `address..address + length` is RAM that nothing uses.
    pub unsafe fn read(
        &mut self,
        item: Item,
        length: u32,
        address: u64,
    ) -> Result<(), TransferError> {
        let select = u32::from(item as u16) << 16 | CONTROL_SELECT;
        self.transfer(select | CONTROL_READ, length, address as usize)
    }

    /// Reads a few bytes of an item from `offset` on.
    fn small(&mut self, selector: u16, offset: u32, out: &mut [u8]) -> Result<(), TransferError> {
        let select = u32::from(selector) << 16 | CONTROL_SELECT;
        let length = out.len().min(MAX_TEXT);
        let buffer = self.scratch + BUFFER;
        self.transfer(select | CONTROL_SKIP, offset, 0)?;
        self.transfer(CONTROL_READ, length as u32, buffer)?;
        // SAFETY: `length` bytes of the scratch page, just written by the device.
        let read = unsafe { core::slice::from_raw_parts(buffer as *const u8, length) };
        out[..length].copy_from_slice(read);
        Ok(())
    }

    /// Reads an item that is a number.
    pub fn number(&mut self, item: Item) -> Result<u32, TransferError> {
        let mut bytes = [0; 4];
        self.small(item as u16, 0, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads the first bytes of an item.
    pub fn head(&mut self, item: Item, out: &mut [u8]) -> Result<(), TransferError> {
        self.small(item as u16, 0, out)
    }

    /// Reads a file that is a text of at most 64 bytes; `None` if there is no
    /// such file. A longer one is cut.
    pub fn text<'a>(
        &mut self,
        name: &str,
        out: &'a mut [u8; 64],
    ) -> Result<Option<&'a str>, TransferError> {
        let mut count = [0; 4];
        self.small(Item::Directory as u16, 0, &mut count)?;
        for index in 0..u32::from_be_bytes(count) {
            let mut entry = Entry::new_zeroed();
            let offset = 4 + index * size_of::<Entry>() as u32;
            self.small(Item::Directory as u16, offset, entry.as_mut_bytes())?;
            if until_nul(&entry.name) == name.as_bytes() {
                let length = (entry.size.get() as usize).min(out.len());
                self.small(entry.selector.get(), 0, &mut out[..length])?;
                return Ok(core::str::from_utf8(until_nul(&out[..length])).ok());
            }
        }
        Ok(None)
    }
}
