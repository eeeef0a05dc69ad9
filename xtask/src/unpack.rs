//! Kernels that are not what the firmware boots, an arm64 `Image`: what is
//! compressed is unpacked.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use ruzstd::decoding::StreamingDecoder;

use crate::project;

/// The kernel in `path` as an `Image`: the same file if it is one.
///
/// # Errors
///
/// Says what the file is instead, and what to do, or that it cannot be read.
pub fn kernel(path: PathBuf) -> Result<PathBuf> {
    let file = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let image = image(&file).with_context(|| path.display().to_string())?;
    let Cow::Owned(image) = image else {
        return Ok(path);
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let place = project::target().join(format!("{name}.Image"));
    project::make_dir(&project::target())?;
    fs::write(&place, image).with_context(|| format!("cannot write {}", place.display()))?;
    println!(
        "{} is compressed: unpacked to {}",
        path.display(),
        place.display()
    );
    Ok(place)
}

/// The image in a file of any kind.
fn image(file: &[u8]) -> Result<Cow<'_, [u8]>> {
    let unpacked = match file {
        // Linux's drivers/firmware/efi/libstub/zboot-header.S.
        [b'M', b'Z', _, _, b'z', b'i', b'm', b'g', ..] => zboot(file)?,
        [0x1f, 0x8b, ..] => gunzip(file)?,
        [0x7f, b'E', b'L', b'F', ..] => {
            bail!("an ELF file: take the kernel's arch/arm64/boot/Image")
        }
        _ => return Ok(file.into()),
    };
    if unpacked.get(56..60) != Some(b"ARM\x64") {
        bail!("what is packed in it is no arm64 Image");
    }
    Ok(unpacked.into())
}

/// The payload of an EFI zboot kernel.
fn zboot(file: &[u8]) -> Result<Vec<u8>> {
    let field = |at: usize| {
        let bytes = file.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let payload = || {
        let (offset, size) = (field(8)?, field(12)?);
        file.get(offset..offset.checked_add(size)?)
    };
    let payload = payload().context("an EFI zboot kernel that is cut off")?;
    let name = file.get(24..56).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    match name {
        b"gzip" => gunzip(payload),
        b"zstd" | b"zstd22" => unzstd(payload),
        other => bail!(
            "an EFI zboot kernel, compressed with {}: only gzip and zstd are unpacked here. \
             Take arch/arm64/boot/Image out of its build",
            String::from_utf8_lossy(other)
        ),
    }
}

fn gunzip(packed: &[u8]) -> Result<Vec<u8>> {
    let mut image = Vec::new();
    GzDecoder::new(packed)
        .read_to_end(&mut image)
        .context("cannot unpack it with gzip")?;
    Ok(image)
}

fn unzstd(packed: &[u8]) -> Result<Vec<u8>> {
    // As large as zstd makes any: kernels are packed with --ultra.
    const WINDOW: u64 = 1 << 31;
    let mut image = Vec::new();
    StreamingDecoder::new_with_max_window_size(packed, WINDOW)
        .context("cannot unpack it with zstd")?
        .read_to_end(&mut image)
        .context("cannot unpack it with zstd")?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn plain() -> Vec<u8> {
        let mut image = vec![0; 100_000];
        image[56..60].copy_from_slice(b"ARM\x64");
        image[99_999] = 7;
        image
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// An EFI zboot kernel; behind the payload is its size, as the kernel's Makefile
    /// has it, and the loader.
    fn zboot_file(kind: &str, payload: &[u8]) -> Vec<u8> {
        let mut file = b"MZ\0\0zimg".to_vec();
        file.extend(0x1000_u32.to_le_bytes());
        file.extend((payload.len() as u32).to_le_bytes());
        file.extend([0; 8]);
        file.extend(kind.as_bytes());
        file.resize(0x1000, 0);
        file.extend(payload);
        file.extend([0xa5; 5000]);
        file
    }

    #[test]
    fn kernels_of_all_kinds() {
        let plain = plain();
        for file in [
            plain.clone(),
            gzip(&plain),
            zboot_file("gzip", &gzip(&plain)),
            zboot_file("zstd", &zstd(&plain)),
            zboot_file("zstd22", &[zstd(&plain), vec![1, 2, 3, 4]].concat()),
        ] {
            assert_eq!(image(&file).unwrap(), plain);
        }
        // What is no kernel is the firmware's to refuse.
        assert!(matches!(image(b"#!/bin/sh"), Ok(Cow::Borrowed(_))));
    }

    #[track_caller]
    fn refused(file: &[u8], why: &str) {
        let error = format!("{:#}", image(file).unwrap_err());
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn what_cannot_be_unpacked() {
        refused(b"\x7fELF\x02\x01", "ELF");
        refused(&zboot_file("lzma", b"x"), "compressed with lzma");
        refused(&zboot_file("zstd", b"not zstd"), "cannot unpack");
        refused(&zboot_file("gzip", &gzip(b"small")), "no arm64 Image");
        refused(&gzip(&[0; 4096]), "no arm64 Image");
        let cut = zboot_file("gzip", &gzip(&plain()));
        refused(&cut[..0x1010], "cut off");
        refused(&cut[..10], "cut off");
        let mut far = cut;
        far[8..16].copy_from_slice(&[0xff; 8]);
        refused(&far, "cut off");
    }
}
