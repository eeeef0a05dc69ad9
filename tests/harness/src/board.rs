//! The boards that the firmware is built for, and what each can be tested with.

use std::fmt;

/// A board, as the harness knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Board {
    /// QEMU's `virt` machine.
    #[default]
    QemuVirt,
    /// Arm's FVP Base RevC, in one of its models.
    FvpBase,
}

/// What a board can do that others can't.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// The numbers of PEs that the payload runs on.
    pub cpus: &'static [u32],
    /// Whether it can be had without EL2.
    pub without_el2: bool,
    /// Whether its PEs can also run at the same time, not only in turn.
    pub at_once: bool,
    /// Whether older QEMUs have it, too.
    pub old_qemu: bool,
}

impl Board {
    /// Every board.
    pub const ALL: [Self; 2] = [Self::QemuVirt, Self::FvpBase];

    /// What it can do.
    pub const fn abilities(self) -> Abilities {
        match self {
            Self::QemuVirt => Abilities {
                cpus: &[1, 2, 4, 8],
                without_el2: true,
                at_once: true,
                old_qemu: true,
            },
            Self::FvpBase => Abilities {
                cpus: &[1, 8],
                without_el2: false,
                at_once: false,
                old_qemu: false,
            },
        }
    }

    /// What the names of its tests begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::QemuVirt => "",
            Self::FvpBase => "FVP: ",
        }
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QemuVirt => "QEMU virt",
            Self::FvpBase => "FVP Base RevC",
        })
    }
}
