//! The TRNG firmware interface (Arm DEN0098, version 1.0): entropy from
//! FEAT_RNG's RNDRRS. Where the PE lacks it there is none of these calls.

use core::arch::asm;

use arm_sysregs::el1::accessors::read_id_aa64isar0_el1;

use crate::pe::PeData;
use crate::smc::{NOT_SUPPORTED, SMC64, error};

/// TRNG's function IDs are these and the same with bit 30 (DEN0028, table 6-2).
pub const FIRST: u32 = 0x8400_0050;
/// How many there are.
pub const COUNT: u32 = 0x10;

const VERSION: u32 = 0x8400_0050;
const FEATURES: u32 = 0x8400_0051;
const GET_UUID: u32 = 0x8400_0052;
const RND32: u32 = 0x8400_0053;
const RND64: u32 = 0xc400_0053;

const VERSION_1_0: u64 = 0x1_0000;

/// What this source of entropy is called by, for nothing else: the UUID
/// a920ebf3-056b-4dd1-a16e-181a6e5f109f, as four words, bytes in order from
/// the lowest of the first.
const UUID: [u32; 4] = [0xf3eb_20a9, 0xd14d_6b05, 0x1a18_6ea1, 0x9f10_5f6e];

const INVALID_PARAMETERS: i64 = -2;
const NO_ENTROPY: i64 = -3;

/// The words that one call can return, and that it takes its entropy from.
const WORDS: usize = 3;

/// How often the hardware is asked for one word before it is believed to have
/// none.
const TRIES: usize = 32;

/// Serves the call `fid`, one of the range.
pub fn call(pe: &mut PeData, fid: u32) {
    let x = &mut pe.frame.x;
    if !read_id_aa64isar0_el1().is_feat_rng_present() {
        x[0] = error(NOT_SUPPORTED);
        return;
    }
    match fid {
        VERSION => x[0] = VERSION_1_0,
        FEATURES => {
            x[0] = match x[1] as u32 {
                VERSION | FEATURES | GET_UUID | RND32 | RND64 => 0,
                _ => error(NOT_SUPPORTED),
            }
        }
        GET_UUID => x[..UUID.len()].copy_from_slice(&UUID.map(u64::from)),
        RND32 => random(x, fid, u64::from(x[1] as u32), u32::BITS),
        RND64 => random(x, fid, x[1], u64::BITS),
        _ => x[0] = error(NOT_SUPPORTED),
    }
}

/// TRNG_RND (DEN0098 2.4): `bits` of entropy in x3, x2 and x1, from the lowest
/// bit up, `width` in each; 0 above them. On an error there is 0 in all three.
fn random(x: &mut [u64; sdei::REGISTERS], fid: u32, bits: u64, width: u32) {
    let most = u64::from(width) * WORDS as u64;
    let result = if (1..=most).contains(&bits) {
        entropy(bits).ok_or(NO_ENTROPY)
    } else {
        Err(INVALID_PARAMETERS)
    };
    let (status, words) = match result {
        Ok(words) => (0, words),
        Err(code) => (error(code), [0; WORDS]),
    };
    x[0] = status;
    let [low, middle, high] = words;
    (x[1], x[2], x[3]) = if fid & SMC64 != 0 {
        (high, middle, low)
    } else {
        let half = |word: u64| u64::from(word as u32);
        (half(middle), low >> u32::BITS, half(low))
    };
}

/// So many random bits, the lowest first, and 0 above them; `None` if the
/// hardware has none.
fn entropy(bits: u64) -> Option<[u64; WORDS]> {
    let mut words = [0; WORDS];
    let mut left = bits;
    let mut last = None;
    for word in &mut words {
        if left == 0 {
            break;
        }
        let fresh = rndrrs()?;
        // A source that repeats itself is broken, whatever it says itself.
        if last.replace(fresh) == Some(fresh) {
            return None;
        }
        *word = if left < 64 {
            fresh & ((1 << left) - 1)
        } else {
            fresh
        };
        left = left.saturating_sub(64);
    }
    Some(words)
}

/// One word from RNDRRS, which the hardware takes from its source of entropy
/// afresh, and tests.
fn rndrrs() -> Option<u64> {
    (0..TRIES).find_map(|_| {
        let (word, ok): (u64, u64);
        // SAFETY: the PE has FEAT_RNG. It sets Z if there was no number.
        unsafe {
            asm!(
                "mrs {word}, s3_3_c2_c4_1",
                "cset {ok}, ne",
                word = out(reg) word,
                ok = out(reg) ok,
                options(nomem, nostack)
            )
        };
        (ok != 0).then_some(word)
    })
}
