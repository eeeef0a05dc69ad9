//! TRNG (DEN0098): entropy where the CPU has FEAT_RNG, and nothing of it where not.

use super::smccc::{exact, only_x0, untouched};
use super::{Env, tests};
use crate::arch::Code;
use crate::check::{Outcome, check, equal};
use crate::psci;
use arm_sysregs::el1::accessors::read_id_aa64isar0_el1;

tests! { "trng":
    1 version_features_and_uuid,
    1 numbers_of_bits,
    1 every_bit_changes,
    1 refused,
    1 absent_without_feat_rng,
    2 all_pes_at_once,
}

const VERSION: u32 = 0x8400_0050;
const FEATURES: u32 = 0x8400_0051;
const GET_UUID: u32 = 0x8400_0052;
const RND32: u32 = 0x8400_0053;
const RND64: u32 = 0xc400_0053;
const ALL: [u32; 5] = [VERSION, FEATURES, GET_UUID, RND32, RND64];

const INVALID_PARAMETERS: i64 = -2;

fn is_there() -> bool {
    read_id_aa64isar0_el1().rndr() != 0
}

/// x0..x3 of a call that may change those; checks that it changes nothing else.
fn results(function: u32, argument: u64) -> Outcome<[u64; 4]> {
    let after = exact(Code::SmcThenSvc, function.into(), &[argument]);
    let results = [after.x[0], after.x[1], after.x[2], after.x[3]];
    untouched("a TRNG call", &after, &results[1..])?;
    Ok(results)
}

/// The entropy of a call, the lowest word first.
fn entropy(function: u32, bits: u64) -> Outcome<[u64; 3]> {
    let [status, high, middle, low] = results(function, bits)?;
    equal("TRNG_RND", status, 0)?;
    Ok([low, middle, high])
}

fn version_features_and_uuid(_: &'static Env) -> Outcome {
    if !is_there() {
        return Ok(());
    }
    only_x0("TRNG_VERSION", VERSION.into(), 0x1_0000)?;
    for function in ALL {
        equal("TRNG_FEATURES", psci::call32(FEATURES, function, 0, 0), 0)?;
    }
    for function in [
        0,
        0x8400_0054,
        0x8400_005f,
        0xc400_0050,
        0xc400_0052,
        0x8400_0000,
        u32::MAX,
    ] {
        let answer = psci::call32(FEATURES, function, 0, 0);
        equal("TRNG_FEATURES of no call", answer, psci::NOT_SUPPORTED)?;
    }
    let uuid = results(GET_UUID, 0)?;
    check("a UUID, not an error", uuid[0] != 0xffff_ffff)?;
    check("words of 32 bits", uuid.iter().all(|&word| word >> 32 == 0))?;
    // Version 4, in the upper half of byte 6; variant 1, in byte 8.
    equal("the UUID's version", uuid[1] >> 20 & 0xf, 4)?;
    equal("the UUID's variant", uuid[2] >> 6 & 0b11, 0b10)?;
    equal("the UUID again", results(GET_UUID, 0)?[3], uuid[3])
}

/// As many bits as were asked for, from the lowest of x3 up, and 0 above them.
fn numbers_of_bits(_: &'static Env) -> Outcome {
    if !is_there() {
        return Ok(());
    }
    for (function, width) in [(RND32, 32), (RND64, 64)] {
        for bits in 1..=3 * width {
            let words = entropy(function, bits)?;
            for (word, index) in words.into_iter().zip(0..) {
                let left = bits.saturating_sub(index * width).min(width);
                let beyond = if left == 64 { 0 } else { word >> left };
                equal("bits beyond what was asked for", beyond, 0)?;
            }
        }
    }
    Ok(())
}

/// Every bit that is asked for is 1 at times and 0 at times; no answer comes twice.
fn every_bit_changes(_: &'static Env) -> Outcome {
    if !is_there() {
        return Ok(());
    }
    for (function, width) in [(RND32, 32), (RND64, 64)] {
        let full = u64::MAX >> (64 - width);
        let (mut ones, mut zeros) = ([0; 3], [0; 3]);
        let mut last = [0; 3];
        // A bit that never changes in as many is once in 2^64 runs.
        for _ in 0..64 {
            let words = entropy(function, 3 * width)?;
            for index in 0..3 {
                check(
                    "no word comes twice",
                    width == 32 || words[index] != last[index],
                )?;
                ones[index] |= words[index];
                zeros[index] |= !words[index];
            }
            last = words;
        }
        for index in 0..3 {
            equal("bits that are 1 at times", ones[index], full)?;
            equal("bits that are 0 at times", zeros[index] & full, full)?;
        }
    }
    Ok(())
}

fn refused(_: &'static Env) -> Outcome {
    if !is_there() {
        return Ok(());
    }
    let invalid = |function: u32, bits| {
        let error = INVALID_PARAMETERS.cast_unsigned();
        let [status, rest @ ..] = results(function, bits)?;
        equal("TRNG_RND of too few or too many", status, error)?;
        check("no entropy with an error", rest == [0; 3])
    };
    for bits in [0, 97, 192, 193, 1 << 31, 0xffff_ffff] {
        invalid(RND32, bits)?;
    }
    for bits in [0, 193, 1 << 31, 1 << 32, 1 << 32 | 64, 1 << 63, u64::MAX] {
        invalid(RND64, bits)?;
    }
    // SMC32 has 32 bits of its argument.
    entropy(RND32, 1 << 32 | 8).map(|_| ())?;
    for function in [
        0x8400_0054,
        0x8400_005f,
        0xc400_0050,
        0xc400_0051,
        0xc400_0052,
    ] {
        let after = exact(Code::SmcThenSvc, function, &[]);
        equal("no call of TRNG's", after.x[0], u64::MAX)?;
        untouched("no call of TRNG's", &after, &[])?;
    }
    Ok(())
}

fn absent_without_feat_rng(_: &'static Env) -> Outcome {
    if is_there() {
        return Ok(());
    }
    for function in ALL {
        only_x0("TRNG without FEAT_RNG", function.into(), u64::MAX)?;
    }
    Ok(())
}

fn all_pes_at_once(env: &'static Env) -> Outcome {
    if !is_there() {
        return Ok(());
    }
    env.all_on()?;
    for pe in env.others() {
        pe.start(
            |_, _| {
                for _ in 0..100 {
                    entropy(RND64, 192)?;
                }
                Ok(())
            },
            0,
        )?;
    }
    env.others().try_for_each(|pe| pe.finish())
}
