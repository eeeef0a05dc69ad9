//! What differs between the machines that the payload runs on, by the compatible strings of their device trees.

use core::ops::Range;
use dtoolkit::fdt::Fdt;

/// A machine's own addresses.
#[derive(Debug)]
pub struct Board {
    /// The root's compatible string in the device tree.
    compatible: &'static str,
    /// The console's PL011.
    pub uart: usize,
    /// The INTID of its interrupt.
    pub uart_intid: u64,
    /// A PL031 real-time clock.
    pub rtc: usize,
    /// The INTID of its interrupt.
    pub rtc_intid: u64,
    /// Addresses of the Secure world at which EL3 lives.
    pub el3: Range<u64>,
    /// Whether a PE that is powered down loses its timers.
    pub timers_stop: bool,
    /// The power controller, if the Normal world can reach one: registers as the FVP Base RevC's.
    pub power_controller: Option<usize>,
    /// Where the firmware looks for a device tree first, if that is RAM that nothing loads anew after a reset.
    pub forged_tree: Option<usize>,
    /// A GiB of addresses below 4 GiB that no test needs as it is.
    pub spare_gib: usize,
    /// Addresses of what is no RAM, or not the Normal world's.
    pub not_ram: &'static [u64],
}

static BOARDS: [Board; 2] = [
    // QEMU's virt.
    Board {
        compatible: "linux,dummy-virt",
        uart: 0x0900_0000,
        uart_intid: 32 + 1,
        rtc: 0x0901_0000,
        rtc_intid: 32 + 2,
        el3: 0x0e00_0000..0x1000_0000,
        timers_stop: false,
        power_controller: None,
        forged_tree: None,
        // RAM of a machine that has more than two.
        spare_gib: 3,
        not_ram: &[
            // Secure flash.
            0,
            0x1000,
            0x03ff_fffc,
            // Non-secure flash, GIC, UART.
            0x0400_0000,
            0x0800_0000,
            0x0900_0000,
            0x0a00_0000,
            // Secure RAM.
            0x0e00_0000,
            0x0e00_1000,
            0x0eff_fffc,
            // PCIe.
            0x1000_0000,
            0x3fff_0000,
        ],
    },
    // Arm's FVP Base RevC.
    Board {
        compatible: "arm,fvp-base-revc",
        uart: 0x1c09_0000,
        uart_intid: 32 + 5,
        rtc: 0x1c17_0000,
        rtc_intid: 32 + 4,
        el3: 0x0400_0000..0x0420_0000,
        timers_stop: true,
        power_controller: Some(0x1c10_0000),
        forged_tree: Some(0x8200_0000),
        // PCIe.
        spare_gib: 1,
        not_ram: &[
            // Trusted ROM, SRAM and DRAM.
            0,
            0x1000,
            0x0400_0000,
            0x0400_1000,
            0x0403_fffc,
            0x0600_0000,
            // Flash, UART, Non-secure SRAM, GIC.
            0x0800_0000,
            0x1c09_0000,
            0x2e00_0000,
            0x2f00_0000,
            0x7fff_fffc,
            // The Secure part of DRAM.
            0xff00_0000,
            0xffff_fffc,
        ],
    },
];

impl Board {
    /// The machine of this tree.
    pub fn of(tree: Option<Fdt<'_>>) -> &'static Self {
        let root = tree.map(|tree| tree.root());
        let is = |board: &&Self| {
            let names = root.as_ref().and_then(|root| root.compatible());
            names.is_some_and(|mut names| names.any(|name| name == board.compatible))
        };
        // Of one that isn't known, or without a tree, the first's console may show at least that.
        BOARDS.iter().find(is).unwrap_or(&BOARDS[0])
    }
}
