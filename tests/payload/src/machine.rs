//! What the device tree says about the machine.

use crate::board::Board;
use crate::pe::{self, Pe};
use crate::psci;
use core::ops::Range;
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use spin::Once;

/// The most regions of redistributors looked at.
const REGIONS: usize = 4;

/// The machine, from its device tree.
#[derive(Debug)]
pub struct Machine {
    /// Its own addresses.
    pub board: &'static Board,
    /// How many PEs there are.
    pub pes: usize,
    /// Index of the PE that booted.
    pub boot: usize,
    /// RAM, of which nodes that touch are one.
    pub ram: Range<u64>,
    /// The distributor's address.
    pub gicd: u64,
    /// The redistributors' regions; 0 where there is none.
    pub gicr: [u64; REGIONS],
    /// CPU_SUSPEND's parameter for standby.
    pub standby: u32,
    /// CPU_SUSPEND's parameter for the shallowest power-down of the device tree, where there is one.
    pub power_down: Option<u32>,
    /// Whether the tree has the nodes by which an operating system finds the firmware's calls.
    pub has_psci: bool,
    /// See `has_psci`.
    pub has_sdei: bool,
    /// The device tree.
    pub tree: &'static [u8],
    /// The command line.
    pub bootargs: &'static str,
}

static MACHINE: Once<Machine> = Once::new();

impl Machine {
    /// The machine.
    pub fn get() -> &'static Self {
        MACHINE.get().expect("the device tree is read first")
    }

    /// The word after `key` on the command line.
    pub fn argument(&self, key: &str) -> Option<&'static str> {
        self.bootargs
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(key))
    }

    /// Reads the tree and describes the PEs.
    ///
    /// # Safety
    ///
    /// `tree` is the address of a device tree that nobody writes to.
    pub unsafe fn read(tree: *const u8) -> Result<&'static Self, &'static str> {
        // SAFETY: The caller vouches for the tree.
        let tree =
            unsafe { Fdt::from_raw(tree) }.map_err(|_| "x0 is not the address of a device tree")?;
        let mut machine = Self {
            board: Board::of(Some(tree)),
            pes: 0,
            boot: usize::MAX,
            ram: 0..0,
            gicd: 0,
            gicr: [0; REGIONS],
            // DEN0022 6.5, the recommended encoding of StateID: 1 is a core's standby.
            standby: psci::extended_state_id().into(),
            power_down: None,
            has_psci: compatible(tree, "/psci", "arm,psci-1.0"),
            has_sdei: compatible(tree, "/firmware/sdei", "arm,sdei-1.0"),
            tree: tree.data(),
            bootargs: "",
        };
        for cpu in tree
            .cpus()
            .map_err(|_| "the device tree has no /cpus")?
            .children()
        {
            if cpu.name_without_address() != "cpu" {
                continue;
            }
            let id = cpu
                .reg()
                .ok()
                .flatten()
                .and_then(|mut reg| reg.next()?.address::<u64>().ok());
            let id = id.ok_or("a cpu node has no reg")?;
            if machine.pes == pe::MAX {
                return Err("more PEs than the payload has stacks for");
            }
            if id == crate::arch::mpidr() & crate::arch::AFFINITY {
                machine.boot = machine.pes;
            }
            Pe::describe(machine.pes, id);
            machine.pes += 1;
        }
        if machine.boot == usize::MAX {
            return Err("the PE that booted is not in the device tree");
        }
        for node in tree.root().children() {
            let mut reg = node.reg().ok().flatten().into_iter().flatten();
            match node.name_without_address() {
                "memory" => {
                    let Some(reg) = reg.next() else { continue };
                    let (Ok(base), Ok(size)) = (reg.address::<u64>(), reg.size::<u64>()) else {
                        continue;
                    };
                    let end = base + size;
                    machine.ram = if base == machine.ram.end {
                        machine.ram.start..end
                    } else if end == machine.ram.start {
                        base..machine.ram.end
                    } else {
                        base..end
                    };
                }
                "intc" | "interrupt-controller" => {
                    let mut addresses = reg.filter_map(|reg| reg.address::<u64>().ok());
                    machine.gicd = addresses.next().unwrap_or(0);
                    let regions = node
                        .property("#redistributor-regions")
                        .and_then(|regions| regions.value_as::<u32>().ok())
                        .unwrap_or(1);
                    for (region, base) in addresses.take(regions as usize).take(REGIONS).enumerate()
                    {
                        machine.gicr[region] = base;
                    }
                }
                _ => {}
            }
        }
        if let Some(chosen) = tree.chosen()
            && let Some(bootargs) = chosen.property("bootargs")
        {
            machine.bootargs = bootargs.value_as::<&str>().unwrap_or("");
        }
        let states = tree.find_node("/cpus/idle-states");
        machine.power_down = states
            .into_iter()
            .flat_map(|states| states.children())
            .filter_map(|state| {
                state
                    .property("arm,psci-suspend-param")?
                    .value_as::<u32>()
                    .ok()
            })
            .find(|&parameter| psci::is_power_down(parameter));
        Ok(MACHINE.call_once(|| machine))
    }
}

fn compatible(tree: Fdt<'static>, path: &str, name: &str) -> bool {
    tree.find_node(path)
        .and_then(|node| {
            node.compatible()
                .map(|mut names| names.any(|found| found == name))
        })
        .unwrap_or(false)
}
