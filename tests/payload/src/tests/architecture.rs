//! The Arm Architecture service (DEN0028 chapter 7): workarounds, SoC and which features EL3 has opened.

use super::smccc::{exact, only_x0, untouched};
use super::{Env, tests};
use crate::arch::Code;
use crate::check::{Outcome, check, equal};
use crate::psci;
use arm_sysregs::el1::accessors::*;
use smccc::arch as id;

tests! { "smccc":
    1 features_agree_with_calls,
    1 workarounds_of_this_cpu,
    1 workarounds_touch_nothing,
    1 no_soc_id,
    1 feature_availability,
    1 availability_of_no_register,
    2 the_same_on_all_pes,
}

const WORKAROUNDS: [u32; 3] = [
    id::SMCCC_ARCH_WORKAROUND_1,
    id::SMCCC_ARCH_WORKAROUND_2,
    id::SMCCC_ARCH_WORKAROUND_3,
];
const WORKAROUND_4: u32 = 0x8000_0004;
const FEATURE_AVAILABILITY: u32 = 0xc000_0003;
const INVALID_PARAMETER: i64 = -3;

fn features(function: u32) -> i64 {
    psci::call32(id::SMCCC_ARCH_FEATURES, function, 0, 0)
}

/// What ARCH_FEATURES says is there answers, and nothing else does.
fn features_agree_with_calls(_: &'static Env) -> Outcome {
    let wide = 0xc000_0000..0xc000_0010;
    for function in (0x8000_0000..0x8000_0010).chain(wide).chain(WORKAROUNDS) {
        let offered = features(function);
        check("ARCH_FEATURES", (-1..=1).contains(&offered))?;
        let after = exact(Code::SmcThenSvc, function.into(), &[]);
        let answered = after.x[0] != u64::MAX;
        // With rubbish in x1 ARCH_FEATURES itself says NOT_SUPPORTED.
        let there = offered >= 0 && function != id::SMCCC_ARCH_FEATURES;
        equal("whether a call is there", u64::from(answered), there.into())?;
    }
    Ok(())
}

/// What QEMU's CPU models need of firmware: a flush of their branch predictor for all there is (cortex-a57 and a72);
/// nothing, since they don't speculate so far or software below EL3 can do it; and max says by itself what it is safe
/// from. Of a64fx nothing is known.
fn workarounds() -> Outcome {
    const NOT_SUPPORTED: i64 = psci::NOT_SUPPORTED;
    const ARM: u8 = 0x41;
    const FUJITSU: u8 = 0x46;
    let (midr, csv2) = (read_midr_el1(), read_id_aa64pfr0_el1().csv2());
    let want = match (midr.implementer(), midr.partnum()) {
        (ARM, 0xd07 | 0xd08) => [0, NOT_SUPPORTED, 0],
        (ARM, _) => [1, 1, 1],
        (FUJITSU, _) => [NOT_SUPPORTED; 3],
        _ if csv2 >= 3 => [1, 1, 1],
        // Nothing says whether its branch history is safe.
        _ => [1, 1, NOT_SUPPORTED],
    };
    for (function, want) in WORKAROUNDS.into_iter().zip(want) {
        equal("ARCH_FEATURES of a workaround", features(function), want)?;
    }
    equal(
        "ARCH_FEATURES(WORKAROUND_4)",
        features(WORKAROUND_4),
        NOT_SUPPORTED,
    )?;
    only_x0("WORKAROUND_4", WORKAROUND_4.into(), u64::MAX)
}

fn workarounds_of_this_cpu(_: &'static Env) -> Outcome {
    workarounds()
}

/// They answer nothing, and registers are as before.
fn workarounds_touch_nothing(_: &'static Env) -> Outcome {
    for function in WORKAROUNDS {
        let answer = if features(function) < 0 {
            u64::MAX
        } else {
            function.into()
        };
        for _ in 0..10 {
            only_x0("a workaround", function.into(), answer)?;
            let after = exact(Code::SmcThenSvc, function.into(), &[0]);
            untouched("a workaround with 0", &after, &[0])?;
        }
        only_x0(
            "a workaround, SMC64",
            u64::from(function | 1 << 30),
            u64::MAX,
        )?;
    }
    Ok(())
}

/// QEMU's `virt` is no SoC of anybody's.
fn no_soc_id(_: &'static Env) -> Outcome {
    const SOC_ID_64: u32 = id::SMCCC_ARCH_SOC_ID | 1 << 30;
    for function in [id::SMCCC_ARCH_SOC_ID, SOC_ID_64] {
        equal(
            "ARCH_FEATURES(SOC_ID)",
            features(function),
            psci::NOT_SUPPORTED,
        )?;
    }
    for kind in [0, 1, 2, 3, 0xffff_ffff] {
        let after = exact(Code::SmcThenSvc, id::SMCCC_ARCH_SOC_ID.into(), &[kind]);
        equal("SOC_ID", after.x[0], u64::MAX)?;
        untouched("SOC_ID", &after, &[kind])?;
        let after = exact(Code::SmcThenSvc, SOC_ID_64.into(), &[kind]);
        equal("SOC_ID, SMC64", after.x[0], u64::MAX)?;
        untouched("SOC_ID, SMC64", &after, &[kind])?;
    }
    Ok(())
}

/// How the call names a register of EL3: S3_6_Cn_Cm_op2.
const fn selector(crn: u64, crm: u64, op2: u64) -> u64 {
    0b11 << 19 | 6 << 16 | crn << 12 | crm << 8 | op2 << 5
}

const SCR: u64 = selector(1, 1, 0);
const CPTR: u64 = selector(1, 1, 2);
const MDCR: u64 = selector(1, 3, 1);
const MPAM3: u64 = selector(10, 5, 0);

/// The mask of the bits whose feature is there.
fn mask(bits: &[(u32, bool)]) -> u64 {
    bits.iter()
        .map(|&(bit, present)| u64::from(present) << bit)
        .sum()
}

/// Everything that the ID registers promise is open, and nothing else is said to be.
fn availability() -> Outcome {
    let (pfr0, pfr1, pfr2) = (
        read_id_aa64pfr0_el1(),
        read_id_aa64pfr1_el1(),
        read_id_aa64pfr2_el1(),
    );
    let (isar0, isar1, isar2) = (
        read_id_aa64isar0_el1(),
        read_id_aa64isar1_el1(),
        read_id_aa64isar2_el1(),
    );
    let (mmfr0, mmfr1) = (read_id_aa64mmfr0_el1(), read_id_aa64mmfr1_el1());
    let (mmfr3, mmfr4) = (read_id_aa64mmfr3_el1(), read_id_aa64mmfr4_el1());
    let (dfr0, dfr1) = (read_id_aa64dfr0_el1(), read_id_aa64dfr1_el1());
    let pauth = isar1.apa() | isar1.api() | isar1.gpa() | isar1.gpi() | isar2.apa3() | isar2.gpa3();
    let scxtnum = pfr0.csv2() >= 2 || pfr0.csv2() == 1 && pfr1.csv2_frac() >= 2;
    let accdata = isar1.ls64() >= 3;
    let indirection = mmfr3.s1pie() | mmfr3.s2pie() | mmfr3.s1poe() | mmfr3.s2poe();
    let pmu = !matches!(dfr0.pmuver(), 0 | 0xf);
    let mpam = pfr0.mpam() | pfr1.mpam_frac() != 0;
    let scr = mask(&[
        (15, pfr0.ras() >= 1),
        (16, pauth != 0),
        (25, scxtnum),
        (26, pfr1.mte() >= 2),
        (27, mmfr0.fgt() >= 1),
        (28, mmfr0.ecv() >= 2),
        (35, pfr0.amu() >= 2),
        (36, accdata),
        (37, accdata),
        (38, mmfr1.hcx() >= 1),
        (39, pfr1.gcs() >= 1),
        (40, isar0.rndr() >= 1),
        (41, pfr1.sme() >= 1),
        (42, pfr1.the() >= 1),
        (43, mmfr3.tcrx() >= 1),
        (44, mmfr3.sctlrx() >= 1),
        (45, indirection != 0),
        (46, mmfr3.aie() >= 1),
        (47, mmfr3.d128() >= 1),
        (50, pfr2.fpmr() >= 1),
        (53, pfr1.pfar() >= 1),
        (54, mmfr4.srmask() >= 1),
        (55, isar2.sysinstr_128() >= 1),
        (59, mmfr0.fgt() >= 2),
        (60, mmfr1.hafdbs() >= 4),
        (61, mmfr4.hacdbs() >= 1),
    ]);
    let cptr = mask(&[
        (8, pfr0.sve() >= 1),
        (10, true),
        (12, pfr1.sme() >= 1),
        (20, dfr0.tracever() >= 1),
        (30, pfr0.amu() >= 1),
        (31, true),
    ]);
    let mdcr = mask(&[
        (6, pmu),
        (7, pmu && dfr0.pmuver() >= 9),
        (9, true),
        (10, dfr0.doublelock() == 0),
        (12, dfr0.pmsver() >= 1),
        (19, dfr0.tracefilt() >= 1),
        (24, dfr0.tracebuffer() >= 1),
        (27, mmfr0.fgt() >= 1),
        (28, dfr0.mtpmu() == 1),
        (32, dfr0.brbe() >= 1),
        (43, dfr0.debugver() >= 11),
        (44, dfr0.pmss() >= 1),
        (47, dfr1.ite() >= 1),
    ]);
    let registers = [
        ("SCR_EL3", SCR, scr),
        ("CPTR_EL3", CPTR, cptr),
        ("MDCR_EL3", MDCR, mdcr),
        ("MPAM3_EL3", MPAM3, mask(&[(62, mpam)])),
    ];
    for (name, selector, want) in registers {
        let after = exact(Code::SmcThenSvc, FEATURE_AVAILABILITY.into(), &[selector]);
        equal("FEATURE_AVAILABILITY", after.x[0], 0)?;
        equal(name, after.x[1], want)?;
        untouched(name, &after, &[want])?;
    }
    Ok(())
}

fn feature_availability(_: &'static Env) -> Outcome {
    availability()
}

fn availability_of_no_register(_: &'static Env) -> Outcome {
    let no_registers = [
        0,
        1,
        SCR | 1,
        SCR | 1 << 21,
        SCR | 1 << 32,
        SCR | 1 << 63,
        selector(1, 0, 0),
        selector(12, 0, 0),
        selector(1, 1, 1),
        u64::MAX,
    ];
    for selector in no_registers {
        let after = exact(Code::SmcThenSvc, FEATURE_AVAILABILITY.into(), &[selector]);
        let error = INVALID_PARAMETER.cast_unsigned();
        equal("FEATURE_AVAILABILITY of no register", after.x[0], error)?;
        untouched("FEATURE_AVAILABILITY of no register", &after, &[0])?;
    }
    // It is an SMC64 call.
    let narrow = FEATURE_AVAILABILITY & !(1 << 30);
    equal("ARCH_FEATURES", features(narrow), psci::NOT_SUPPORTED)?;
    let after = exact(Code::SmcThenSvc, narrow.into(), &[SCR]);
    equal("FEATURE_AVAILABILITY, SMC32", after.x[0], u64::MAX)?;
    untouched("FEATURE_AVAILABILITY, SMC32", &after, &[SCR])
}

fn the_same_on_all_pes(env: &'static Env) -> Outcome {
    env.all_on()?;
    for pe in env.others() {
        pe.run(|_, _| workarounds(), 0)?;
        pe.run(|_, _| availability(), 0)?;
    }
    Ok(())
}
