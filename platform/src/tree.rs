//! What boards read in a device tree.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

use crate::fdt::{cpu_affinity, is_cpu, is_memory};

/// Behind the last physical address that EL3 can map: 48 bits.
const ADDRESSES: u64 = 1 << 48;

/// The root's child of this name: `dtoolkit`'s look-up by path is for more than that.
pub fn top<'a>(tree: Fdt<'a>, name: &str) -> Option<FdtNode<'a>> {
    tree.root().children().find(|node| node.name() == name)
}

/// The affinity fields of the tree's CPUs, in its order.
pub fn cpu_affinities(tree: Fdt<'_>) -> impl Iterator<Item = u64> {
    top(tree, "cpus")
        .into_iter()
        .flat_map(|cpus| cpus.children())
        .filter(|node| is_cpu(*node))
        .filter_map(|node| cpu_affinity(node))
}

/// The Non-secure RAM, start and end (exclusive) of each range: memory nodes that
/// are not disabled, which Secure ones are.
///
/// Up to where physical addresses of EL3's end.
pub fn memory(tree: Fdt<'_>) -> impl Iterator<Item = (u64, u64)> {
    tree.root()
        .children()
        .filter(|node| {
            let enabled = || {
                node.property("status")
                    .is_none_or(|status| [&b"okay\0"[..], b"ok\0"].contains(&status.value()))
            };
            is_memory(node.name()) && enabled()
        })
        .flat_map(|node| node.reg().ok().flatten().into_iter().flatten())
        .filter_map(|reg| {
            let (start, size) = (reg.address::<u64>().ok()?, reg.size::<u64>().ok()?);
            Some((start, start.saturating_add(size).min(ADDRESSES)))
        })
}

/// The GICv3's regions of redistributors, start and end (exclusive) of each; `None`
/// if the tree has no GICv3. A region that no address space has is left out.
pub fn redistributors(tree: Fdt<'_>) -> Option<impl Iterator<Item = (usize, usize)>> {
    let node = tree.root().children().find(|node| {
        node.property("compatible").is_some_and(|all| {
            let mut all = all.value().split(|byte| *byte == 0);
            all.any(|one| one == b"arm,gic-v3")
        })
    })?;
    // The first region of `reg` is the distributor; `#redistributor-regions`
    // (1 where it is missing) of redistributors follow, then what GICv2 had.
    let regions = node
        .property("#redistributor-regions")
        .and_then(|property| property.value_as::<u32>().ok())
        .unwrap_or(1) as usize;
    let reg = node.reg().ok().flatten()?;
    Some(reg.skip(1).take(regions).filter_map(|region| {
        let (start, size) = (region.address::<u64>().ok()?, region.size::<u64>().ok()?);
        let end = start.checked_add(size).filter(|end| *end <= ADDRESSES)?;
        Some((start as usize, end as usize))
    }))
}
