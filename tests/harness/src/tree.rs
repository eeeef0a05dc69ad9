//! Device trees that a machine is given (`-dtb`) in place of its own: what QEMU
//! would have made, edited.

use std::fs;
use std::path::Path;
use std::process::Command;

use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, ToPropertyValue};

use crate::machine::{Consoles, Machine};

/// A change to a machine's own tree.
pub type Edit = fn(&mut DeviceTree);

/// Gives `machine`, of which all else is set, its own tree after `edit`, in `file`.
///
/// # Errors
///
/// Says in words what QEMU or a file has against it.
pub fn give(machine: &mut Machine, edit: Edit, file: &Path) -> Result<(), String> {
    let output = Command::new(&machine.qemu.path)
        .args(machine.arguments(Consoles::Streams(Path::new("/dev/null"))))
        .args(["-machine", &format!("dumpdtb={}", file.display())])
        .output()
        .map_err(|error| format!("cannot run {}: {error}", machine.qemu.path.display()))?;
    let own = fs::read(file).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("QEMU wrote no {}: {error}: {said}", file.display())
    })?;
    let own = Fdt::new(&own).map_err(|error| format!("QEMU's device tree: {error}"))?;
    let mut tree = DeviceTree::from_fdt(&own);
    edit(&mut tree);
    fs::write(file, tree.to_dtb())
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    machine.tree = Some(file.into());
    Ok(())
}

fn node(name: &str) -> DeviceTreeNode {
    DeviceTreeNode::new_unchecked(name)
}

fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.remove_property(name);
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

/// The tree's CPUs.
fn cpus(tree: &mut DeviceTree) -> impl Iterator<Item = &mut DeviceTreeNode> {
    tree.find_node_mut("/cpus")
        .into_iter()
        .flat_map(DeviceTreeNode::children_mut)
        .filter(|node| node.name().starts_with("cpu@"))
}

/// As of a machine whose firmware is a hypervisor, and whose CPUs spin.
pub(crate) fn anothers(tree: &mut DeviceTree) {
    let mut sdei = node("sdei");
    set(&mut sdei, "compatible", "arm,sdei-1.0");
    set(&mut sdei, "method", "hvc");
    let mut firmware = node("firmware");
    firmware.add_child(sdei);
    tree.root.add_child(firmware);
    let mut psci = node("psci");
    set(&mut psci, "compatible", "arm,psci-1.0");
    set(&mut psci, "method", "hvc");
    tree.root.remove_child("psci");
    tree.root.add_child(psci);
    for cpu in cpus(tree) {
        set(cpu, "enable-method", "spin-table");
        set(cpu, "cpu-release-addr", 0x4000_0000_u64);
    }
}

/// Affinities of two cells, a CPU that is disabled, and one CPU fewer than the
/// machine has.
pub(crate) fn other_cpus(tree: &mut DeviceTree) {
    for cpu in cpus(tree) {
        let affinity = cpu
            .property("reg")
            .and_then(|reg| dtoolkit::Property::value_as::<u32>(&reg).ok());
        set(cpu, "reg", u64::from(affinity.unwrap_or_default()));
    }
    if let Some(nodes) = tree.find_node_mut("/cpus") {
        set(nodes, "#address-cells", 2_u32);
        if let Some(cpu) = nodes.child_mut("cpu@1") {
            set(cpu, "status", "disabled");
        }
        nodes.remove_child("cpu@3");
        // It would name the one that is gone.
        nodes.remove_child("cpu-map");
    }
}

/// The CPU that boots is missing.
pub(crate) fn no_cpu_0(tree: &mut DeviceTree) {
    if let Some(nodes) = tree.find_node_mut("/cpus") {
        nodes.remove_child("cpu@0");
        nodes.remove_child("cpu-map");
    }
}

/// A region of redistributors that takes more translation tables than there are.
pub(crate) fn endless_gic(tree: &mut DeviceTree) {
    for gic in tree.root.children_mut() {
        if gic.name().starts_with("intc@") {
            let mut reg = gic
                .property("reg")
                .map_or(Vec::new(), |reg| dtoolkit::Property::value(&reg).to_vec());
            // Behind the distributor and the one region that there is.
            reg.truncate(32);
            reg.extend(
                [1_u64 << 40, 1 << 46]
                    .into_iter()
                    .flat_map(u64::to_be_bytes),
            );
            set(gic, "reg", &reg[..]);
            set(gic, "#redistributor-regions", 2_u32);
        }
    }
}

/// No `/chosen`, and memory that is reserved.
pub(crate) fn reserved(tree: &mut DeviceTree) {
    tree.root.remove_child("chosen");
    let mut buffer = node("buffer@70000000");
    set(&mut buffer, "reg", &[0, 0x7000_0000, 0, 0x10_0000_u32][..]);
    set(&mut buffer, "no-map", &[][..] as &[u8]);
    let mut all = node("reserved-memory");
    set(&mut all, "#address-cells", 2_u32);
    set(&mut all, "#size-cells", 2_u32);
    set(&mut all, "ranges", &[][..] as &[u8]);
    all.add_child(buffer);
    tree.root.add_child(all);
}

/// Nodes in nodes, as deep as this, and names longer than the specification has them.
pub(crate) fn deep(tree: &mut DeviceTree) {
    let mut inner = node("a-node-whose-name-has-more-than-31-characters");
    set(
        &mut inner,
        "a-property-whose-name-has-more-than-31-characters",
        1_u32,
    );
    for level in 0..40 {
        let mut outer = node(&format!("level-{level}"));
        outer.add_child(inner);
        inner = outer;
    }
    tree.root.add_child(inner);
}

/// Nearly as large as Linux takes a tree.
pub(crate) fn big(tree: &mut DeviceTree) {
    fill(tree, 1000);
}

/// Larger than Linux takes a tree.
pub(crate) fn too_big(tree: &mut DeviceTree) {
    fill(tree, 1100);
}

fn fill(tree: &mut DeviceTree, nodes: u32) {
    for number in 0..nodes {
        let mut filler = node(&format!("filler-{number}"));
        set(&mut filler, "filling", &[0x55_u8; 1980][..]);
        tree.root.add_child(filler);
    }
}
