//! PSCI, SMCCC and TRNG: calls that return at once.

use super::*;

pub(super) fn psci_calls(state: &State) {
    let me = state.env.me().mpidr();
    let last = state.env.others().last().map_or(me, |pe| pe.mpidr());
    for target in [me, last, NOBODY] {
        let of = if target == me {
            "of itself"
        } else if target == last {
            "of the last PE"
        } else {
            "of nobody"
        };
        for level in 0..4 {
            state.psci(
                "PSCI_AFFINITY_INFO",
                of,
                power::PSCI_AFFINITY_INFO_64,
                target,
                level,
                0,
            );
            state.psci(
                "PSCI_NODE_HW_STATE",
                of,
                power::PSCI_NODE_HW_STATE_64,
                target,
                level,
                0,
            );
            for parameter in [
                state.env.machine.standby,
                state.env.machine.power_down.unwrap_or(0),
            ] {
                state.psci(
                    "PSCI_STAT_RESIDENCY",
                    of,
                    power::PSCI_STAT_RESIDENCY_64,
                    target,
                    parameter.into(),
                    0,
                );
                state.psci(
                    "PSCI_STAT_COUNT",
                    of,
                    power::PSCI_STAT_COUNT_64,
                    target,
                    parameter.into(),
                    0,
                );
            }
        }
    }
    // One that is on, or nobody: the entry point is misaligned for who is off.
    state.psci(
        "PSCI_CPU_ON",
        "refused",
        power::PSCI_CPU_ON_64,
        last,
        u64::MAX,
        0,
    );
    state.psci(
        "PSCI_CPU_ON",
        "refused",
        power::PSCI_CPU_ON_64,
        me,
        arch::load_address(),
        0,
    );
    state.psci(
        "PSCI_CPU_ON",
        "of nobody",
        power::PSCI_CPU_ON_64,
        NOBODY,
        arch::load_address(),
        0,
    );
    for mode in [1, 0, 7] {
        state.psci(
            "PSCI_SET_SUSPEND_MODE",
            "either",
            power::PSCI_SET_SUSPEND_MODE,
            mode,
            0,
            0,
        );
    }
    state.psci("PSCI_MEM_PROTECT", "on", power::PSCI_MEM_PROTECT, 1, 0, 0);
    state.psci("PSCI_MEM_PROTECT", "off", power::PSCI_MEM_PROTECT, 0, 0, 0);
    let ram = &state.env.machine.ram;
    for (base, size) in [
        (ram.start, ram.end - ram.start),
        (ram.end - 1, 1),
        (ram.end - 1, 2),
        (0, u64::MAX),
    ] {
        state.psci(
            "PSCI_MEM_PROTECT_CHECK_RANGE",
            "a range",
            power::PSCI_MEM_PROTECT_CHECK_RANGE_64,
            base,
            size,
            0,
        );
    }
    for function in [
        power::PSCI_VERSION,
        0x8400_0016,
        0xc400_001f,
        id::SMCCC_VERSION,
        0xc400_0024,
        0x8400_0053,
    ] {
        state.psci(
            "PSCI_FEATURES",
            "of any call",
            power::PSCI_FEATURES,
            function.into(),
            0,
            0,
        );
    }
    for (call, function) in [
        ("PSCI_MIGRATE", power::PSCI_MIGRATE_64),
        ("PSCI_MIGRATE_INFO_TYPE", power::PSCI_MIGRATE_INFO_TYPE),
        (
            "PSCI_MIGRATE_INFO_UP_CPU",
            power::PSCI_MIGRATE_INFO_UP_CPU_64,
        ),
        ("PSCI_CPU_SUSPEND", power::PSCI_CPU_SUSPEND_64),
        ("PSCI_SYSTEM_SUSPEND", power::PSCI_SYSTEM_SUSPEND_64),
        ("PSCI_SYSTEM_RESET2", power::PSCI_SYSTEM_RESET2_64),
        (
            "PSCI_CPU_DEFAULT_SUSPEND",
            power::PSCI_CPU_DEFAULT_SUSPEND_64,
        ),
        ("PSCI_VERSION", power::PSCI_VERSION),
    ] {
        // An entry point or a kind that is refused.
        state.psci(call, "refused", function, 0x1111_1111, 0x1111_1111, 0);
    }
}

pub(super) fn smccc_calls(state: &State) {
    for function in [
        id::SMCCC_VERSION,
        0x8000_7fff,
        0x8000_3fff,
        0x8000_8000,
        0x8000_0003,
        0x8000_0002,
        0xffff_ffff,
    ] {
        state.psci(
            "SMCCC_ARCH_FEATURES",
            "of any call",
            id::SMCCC_ARCH_FEATURES,
            function.into(),
            0,
            0,
        );
    }
    for kind in 0..3 {
        state.psci(
            "SMCCC_ARCH_SOC_ID",
            "any kind",
            id::SMCCC_ARCH_SOC_ID,
            kind,
            0,
            0,
        );
    }
    // SCR_EL3, CPTR_EL3, MDCR_EL3, MPAM3_EL3 and none, as S3_6_Cn_Cm_op2.
    for register in [0x1e_1100, 0x1e_1140, 0x1e_1320, 0x1e_a500, 0] {
        state.psci(
            "SMCCC_ARCH_FEATURE_AVAILABILITY",
            "any register",
            0xc000_0003,
            register,
            0,
            0,
        );
    }
    for function in [
        id::SMCCC_ARCH_WORKAROUND_1,
        id::SMCCC_ARCH_WORKAROUND_2,
        id::SMCCC_ARCH_WORKAROUND_3,
        0x8000_0004,
    ] {
        state.psci("SMCCC_ARCH_WORKAROUND", "any", function, 1, 0, 0);
    }
    state.psci("SMCCC_VERSION", "", id::SMCCC_VERSION, 0, 0, 0);
    for function in [
        0xc401_ff00_u32,
        0x8001_0000,
        0x8001_ffff,
        0x8401_001f,
        0xffff_ffff,
        0xc401_003f,
    ] {
        state.psci(
            "unknown function ID",
            "with the SVE hint",
            function,
            0,
            0,
            0,
        );
    }
    for (call, function) in [
        ("TRNG_VERSION", 0x8400_0050_u32),
        ("TRNG_FEATURES", 0x8400_0051),
        ("TRNG_GET_UUID", 0x8400_0052),
        ("TRNG_RND", 0xc400_0053),
    ] {
        state.psci(
            call,
            "192 bits",
            function,
            if function == 0x8400_0051 {
                0xc400_0053
            } else {
                192
            },
            0,
            0,
        );
    }
}
