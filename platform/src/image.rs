//! The header of an arm64 Linux `Image` (Documentation/arch/arm64/booting.rst).

use core::fmt;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first 64 bytes of the kernel.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct ImageHeader {
    code: [U32; 2],
    text_offset: U64,
    image_size: U64,
    flags: U64,
    reserved: [U64; 3],
    magic: [u8; 4],
    pe_offset: U32,
}

/// A kernel is loaded at this alignment plus its text offset, in bytes.
pub const ALIGNMENT: u64 = 2 << 20;

/// The text offset of kernels from before 3.17, whose header has none, in bytes.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;

/// What such a kernel may need behind its end for .bss, in bytes: no kernel of
/// that time has more.
const OLD_BSS: u64 = 16 << 20;

/// What files of other kinds start with: an EFI zboot kernel (after a word), gzip,
/// ELF.
const ZIMG: u32 = u32::from_le_bytes(*b"zimg");
const GZIP: u32 = 0x8b1f;
const ELF: u32 = u32::from_le_bytes(*b"\x7fELF");

/// Where a kernel wants to be loaded, and the memory it uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Distance of the first byte from a multiple of [`ALIGNMENT`], in bytes.
    pub text_offset: u64,
    /// Memory that the kernel uses from its first byte on, in bytes.
    pub size: u64,
}

/// Why what was found is not a kernel that can be started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeaderError {
    /// No arm64 Image header: no magic number, or too short for one.
    NoImage,
    /// An EFI zboot kernel, which unpacks itself under EFI.
    Zboot,
    /// A gzip file.
    Gzip,
    /// An ELF file.
    Elf,
    /// The header's text offset or size can't be meant.
    Absurd,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoImage => "no arm64 Image header",
            Self::Zboot => "EFI zboot; cargo xtask run --kernel FILE unpacks it",
            Self::Gzip => "gzip; gunzip it",
            Self::Elf => "ELF; take arch/arm64/boot/Image",
            Self::Absurd => "its arm64 Image header is damaged",
        })
    }
}

impl ImageHeader {
    /// Reads the layout of a kernel of `file_size` bytes.
    pub fn layout(&self, file_size: u64) -> Result<Layout, HeaderError> {
        if file_size < size_of::<Self>() as u64 || self.magic != *b"ARM\x64" {
            return Err(match self.code.map(U32::get) {
                [_, ZIMG] => HeaderError::Zboot,
                [first, _] if first & 0xffff == GZIP => HeaderError::Gzip,
                [ELF, _] => HeaderError::Elf,
                _ => HeaderError::NoImage,
            });
        }
        let layout = match self.image_size.get() {
            0 => Layout {
                text_offset: OLD_TEXT_OFFSET,
                size: file_size + OLD_BSS,
            },
            size => Layout {
                text_offset: self.text_offset.get(),
                size: size.max(file_size),
            },
        };
        // No machine has this much memory to load it into; sums stay far from
        // overflow below.
        if layout.text_offset > 1 << 40 || layout.size > 1 << 40 {
            return Err(HeaderError::Absurd);
        }
        Ok(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text_offset: u64, image_size: u64) -> ImageHeader {
        let mut header = ImageHeader::read_from_bytes(&[0; 64]).unwrap();
        header.magic = *b"ARMd";
        header.text_offset = text_offset.into();
        header.image_size = image_size.into();
        header
    }

    #[test]
    fn a_kernel_of_today() {
        assert_eq!(
            header(0, 0x200_0000).layout(0x180_0000),
            Ok(Layout {
                text_offset: 0,
                size: 0x200_0000
            })
        );
    }

    #[test]
    fn a_kernel_without_image_size() {
        assert_eq!(
            header(0x1234, 0).layout(0x100_0000),
            Ok(Layout {
                text_offset: 0x8_0000,
                size: 0x200_0000
            })
        );
    }

    #[test]
    fn a_file_larger_than_it_says() {
        assert_eq!(header(0, 100).layout(200).unwrap().size, 200);
    }

    #[test]
    fn no_kernel() {
        let mut other = header(0, 1);
        other.magic = *b"\x1f\x8b\x08\0";
        for (code, error) in [
            (*b"\x1f\x8b\x08\0\0\0\0\0", HeaderError::Gzip),
            (*b"MZ\0\0zimg", HeaderError::Zboot),
            (*b"\x7fELF\x02\x01\x01\0", HeaderError::Elf),
            (*b"MZ\0\0\0\0\0\0", HeaderError::NoImage),
        ] {
            other.code = zerocopy::transmute!(code);
            assert_eq!(other.layout(4096), Err(error));
        }
        assert_eq!(header(0, 1).layout(63), Err(HeaderError::NoImage));
        assert_eq!(header(u64::MAX, 1).layout(4096), Err(HeaderError::Absurd));
        assert_eq!(header(0, u64::MAX).layout(4096), Err(HeaderError::Absurd));
    }
}
