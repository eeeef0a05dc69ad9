//! The device tree that is handed on: the machine's own, with what the firmware
//! offers written into it.
//!
//! The tree is read with `dtoolkit` and written in one pass. `dtoolkit` can
//! edit in place too, but not add nodes without a heap, and every insertion
//! there moves all that follows, which for a node per PE adds up.

use core::fmt;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use psci::recommended;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

const MAGIC: u32 = 0xd00d_feed;

/// The version of the format that is read and written, and the oldest that its
/// readers may know (Devicetree Specification 5.2).
const VERSION: u32 = 17;
const COMPATIBLE_VERSION: u32 = 16;

/// The header of a flattened device tree in bytes (Devicetree Specification 5.2).
const HEADER: usize = 40;

/// An entry of the memory reservation block, in bytes.
const RESERVATION: usize = 16;

/// The most that a tree may contain, in bytes: Linux takes no larger one.
pub const MAX_SIZE: usize = 2 << 20;

/// What the firmware adds to the tree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Additions<'a> {
    /// The kernel's command line (`/chosen/bootargs`); what the tree has
    /// stays if this is `None`.
    pub bootargs: Option<&'a str>,
    /// Where the initramfs is: start and end (exclusive), physical
    /// (`/chosen/linux,initrd-start`, `-end`).
    pub initrd: Option<(u64, u64)>,
    /// The idle states that every CPU has, in the order of their depth.
    pub idle_states: &'a [IdleState],
    /// The RAM of the Normal world, start and end (exclusive) of each range: one
    /// memory node in place of the tree's. They stay if this is `None`. The root
    /// needs two cells for addresses and two for sizes then.
    pub memory: Option<&'a [(u64, u64)]>,
    /// The affinity fields of the PEs that there are: CPU nodes of others are
    /// left out, those that lack are made after the tree's first. The nodes stay
    /// as they are if this is `None`.
    pub pes: Option<&'a [u64]>,
}

/// An idle state (the kernel's Documentation/devicetree/bindings/cpu/idle-states.yaml).
#[derive(Clone, Copy, Debug)]
pub struct IdleState {
    /// The name of its node.
    pub name: &'static str,
    /// CPU_SUSPEND's power_state.
    pub power_state: u32,
    /// Microseconds it takes at worst to enter it.
    pub entry_latency_us: u32,
    /// Microseconds it takes at worst to leave it.
    pub exit_latency_us: u32,
    /// Microseconds from which on it is worth it.
    pub min_residency_us: u32,
    /// Whether the PE's timers stop in it.
    pub timers_stop: bool,
}

/// What CPU_SUSPEND offers on a machine on which nothing takes time: figures that
/// make a kernel use all of it. `timers_stop` is that of the states with power off.
pub const fn idle_states(timers_stop: bool) -> [IdleState; 3] {
    [
        IdleState {
            name: "standby",
            power_state: recommended::STANDBY,
            entry_latency_us: 10,
            exit_latency_us: 10,
            min_residency_us: 100,
            timers_stop: false,
        },
        IdleState {
            name: "pe-down",
            power_state: recommended::PE_DOWN,
            entry_latency_us: 50,
            exit_latency_us: 100,
            min_residency_us: 1000,
            timers_stop,
        },
        IdleState {
            name: "cluster-down",
            power_state: recommended::CLUSTER_DOWN,
            entry_latency_us: 100,
            exit_latency_us: 250,
            min_residency_us: 2500,
            timers_stop,
        },
    ]
}

/// The phandle of the first idle state; the others follow. dtc and QEMU number
/// theirs from 1 and 0x8000 on.
const FIRST_IDLE_PHANDLE: u32 = 0x7fff_0000;

/// Why a tree could not be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FdtError {
    /// There is none: no magic number.
    Missing,
    /// It is malformed, or larger than the space for it.
    Damaged,
    /// The buffer is too small for the tree.
    NoSpace,
}

impl fmt::Display for FdtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no device tree",
            Self::Damaged => "damaged or too large device tree",
            Self::NoSpace => "no space for the device tree",
        })
    }
}

/// The tree at the start of `space`. Its data end where its last block does:
/// the header's size may count more, which is room to edit it.
///
/// Checks all that `dtoolkit` and [`rewrite`] rely on, so that neither panics.
/// `dtoolkit`'s own check wants the exact size, and refuses names that Linux takes.
pub fn parse(space: &[u8]) -> Result<Fdt<'_>, FdtError> {
    match space.first_chunk() {
        Some(magic) if u32::from_be_bytes(*magic) == MAGIC => {}
        _ => return Err(FdtError::Missing),
    }
    let end = checked_end(space).ok_or(FdtError::Damaged)?;
    Ok(Fdt::new_unchecked(&space[..end]))
}

/// Where the blocks of a tree end; `None` if it is malformed.
fn checked_end(space: &[u8]) -> Option<usize> {
    let mut fields = [0; HEADER / 4];
    let (header, _) = space.as_chunks().0.split_at_checked(fields.len())?;
    for (field, bytes) in fields.iter_mut().zip(header) {
        *field = u32::from_be_bytes(*bytes) as usize;
    }
    let [
        _,
        total,
        structure,
        strings,
        reservations,
        version,
        compatible,
        _,
        strings_size,
        structure_size,
    ] = fields;
    let known = (compatible..=version).contains(&(VERSION as usize));
    if !known || !structure.is_multiple_of(4) {
        return None;
    }
    let data = &space[..space.len().min(total)];
    let terminator = data
        .get(reservations..)?
        .chunks_exact(RESERVATION)
        .position(|entry| entry.iter().all(|byte| *byte == 0))?;
    let ends = [
        HEADER,
        reservations + (terminator + 1) * RESERVATION,
        structure + structure_size,
        strings + strings_size,
    ];
    let names = text(data.get(strings..strings + strings_size)?)?;
    // Then every name in it has an end.
    if !names.is_empty() && !names.ends_with('\0') {
        return None;
    }
    node_size(data.get(structure..structure + structure_size)?, names)?;
    ends.into_iter().max()
}

/// The size in bytes of the node that `structure` starts with, from the token that
/// begins it to the one that ends it; `None` if it is malformed. Its properties'
/// names are in `names`.
fn node_size(structure: &[u8], names: &str) -> Option<usize> {
    let mut rest = structure;
    let mut depth = 0_usize;
    // Properties come before nodes.
    let mut properties = false;
    loop {
        let token = word(&mut rest)?;
        match token {
            BEGIN_NODE => {
                let length = rest.iter().position(|byte| *byte == 0)?;
                text(&rest[..length])?;
                rest = rest.get((length + 1).next_multiple_of(4)..)?;
                depth += 1;
                properties = true;
            }
            PROP if properties => {
                let length = word(&mut rest)? as usize;
                let name = word(&mut rest)? as usize;
                if name >= names.len() || !names.is_char_boundary(name) {
                    return None;
                }
                rest = rest.get(length.next_multiple_of(4)..)?;
            }
            NOP if depth > 0 => {}
            END_NODE if depth > 0 => {
                depth -= 1;
                properties = false;
                if depth == 0 {
                    return Some(structure.len() - rest.len());
                }
            }
            _ => return None,
        }
    }
}

/// Names as `dtoolkit` wants them; the specification has only a part of ASCII.
fn text(bytes: &[u8]) -> Option<&str> {
    core::str::from_utf8(bytes).ok()
}

/// Takes a word off the front.
fn word(bytes: &mut &[u8]) -> Option<u32> {
    let (word, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*word))
}

/// Writes `source`, which [`parse`] has checked, with the additions to `out` and
/// returns its size in bytes.
///
/// Always added: `/psci` and `/firmware/sdei` with method `smc`, and
/// `enable-method = "psci"` in each node below `/cpus` that is a CPU. What of
/// these the tree has already is replaced.
pub fn rewrite<'a>(
    source: Fdt<'a>,
    additions: &Additions<'_>,
    out: &'a mut [u8],
) -> Result<usize, FdtError> {
    let mut writer = Writer {
        out,
        at: HEADER,
        names: Names::new(source),
    };
    let reservations = writer.at;
    for reservation in source.memory_reservations() {
        writer.u64(reservation.address());
        writer.u64(reservation.size());
    }
    writer.u64(0);
    writer.u64(0);

    let structure = writer.at;
    writer.root(source.root(), additions);
    writer.u32(END);
    let structure_size = writer.at - structure;

    let strings = writer.at;
    writer.bytes(writer.names.strings.as_bytes());
    for name in ADDED_NAMES {
        writer.bytes(name.as_bytes());
        writer.bytes(&[0]);
    }
    let total = writer.at;

    writer.at = 0;
    for field in [
        MAGIC as usize,
        total,
        structure,
        strings,
        reservations,
        VERSION as usize,
        COMPATIBLE_VERSION as usize,
        source.boot_cpuid_phys() as usize,
        total - strings,
        structure_size,
    ] {
        writer.u32(field as u32);
    }
    if total <= writer.out.len() {
        Ok(total)
    } else {
        Err(FdtError::NoSpace)
    }
}

/// The property names that the additions use; those the source lacks and those
/// it has alike are appended to its strings.
const ADDED_NAMES: [&str; 16] = [
    "compatible",
    "method",
    "enable-method",
    "bootargs",
    "linux,initrd-start",
    "linux,initrd-end",
    "cpu-idle-states",
    "entry-method",
    "phandle",
    "arm,psci-suspend-param",
    "entry-latency-us",
    "exit-latency-us",
    "min-residency-us",
    "local-timer-stop",
    "device_type",
    "reg",
];

/// The source's strings block, which is kept as it is.
fn source_strings(source: Fdt<'_>) -> &str {
    let data = source.data();
    let field = |at: usize| {
        u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]) as usize
    };
    let (offset, size) = (field(12), field(32));
    text(&data[offset..offset + size]).unwrap_or_default()
}

/// The address of the token that starts a node: its name follows at once.
fn token_of(node: FdtNode<'_>) -> usize {
    node.name().as_ptr() as usize - size_of::<u32>()
}

/// The source, and where the names of properties are in the strings block written.
struct Names<'a> {
    source: &'a [u8],
    start: usize,
    strings: &'a str,
}

impl<'a> Names<'a> {
    fn new(source: Fdt<'a>) -> Self {
        Self {
            source: source.data(),
            start: source.data().as_ptr() as usize,
            strings: source_strings(source),
        }
    }

    /// The offset of a name that is part of the source.
    fn of_source(&self, name: &str) -> u32 {
        (name.as_ptr() as usize - self.strings.as_ptr() as usize) as u32
    }

    fn of_added(&self, name: &str) -> u32 {
        let before: usize = ADDED_NAMES
            .iter()
            .take_while(|added| **added != name)
            .map(|added| added.len() + 1)
            .sum();
        (self.strings.len() + before) as u32
    }
}

/// Writes as far as there is space, and counts on where there is none: whether it
/// was enough is asked once, at the end.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    names: Names<'a>,
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(place) = self.out.get_mut(self.at..end) {
            place.copy_from_slice(bytes);
        }
        self.at = end;
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Tokens start at multiples of four bytes.
    fn pad(&mut self) {
        let padding = self.at.next_multiple_of(4) - self.at;
        self.bytes(&[0; 3][..padding]);
    }

    fn begin(&mut self, name: &str) {
        self.u32(BEGIN_NODE);
        self.bytes(name.as_bytes());
        self.bytes(&[0]);
        self.pad();
    }

    fn end(&mut self) {
        self.u32(END_NODE);
    }

    fn property_at(&mut self, name: u32, value: &[u8]) {
        self.u32(PROP);
        self.u32(value.len() as u32);
        self.u32(name);
        self.bytes(value);
        self.pad();
    }

    /// Adds a property whose name is one of [`ADDED_NAMES`].
    fn property(&mut self, name: &str, value: &[u8]) {
        self.property_at(self.names.of_added(name), value);
    }

    /// Adds a property that holds one string. A NUL would end it early, so
    /// the value stops there.
    fn string(&mut self, name: &str, value: &str) {
        let value = until_nul(value.as_bytes());
        self.u32(PROP);
        self.u32(value.len() as u32 + 1);
        self.u32(self.names.of_added(name));
        self.bytes(value);
        self.bytes(&[0]);
        self.pad();
    }

    fn properties(&mut self, node: FdtNode<'_>, replaced: &[&str]) {
        for property in node.properties() {
            let name = property.name();
            if !replaced.contains(&name) {
                self.property_at(self.names.of_source(name), property.value());
            }
        }
    }

    /// Copies a node with all that is in it. The names of its properties stay
    /// where they are in the strings block, so it can stay as it is.
    fn copy(&mut self, node: FdtNode<'_>) {
        let names = &self.names;
        let node = &names.source[token_of(node) - names.start..];
        // The whole tree was checked, so this node has a size.
        let size = node_size(node, names.strings).unwrap_or_default();
        self.bytes(&node[..size]);
    }

    fn root(&mut self, root: FdtNode<'_>, additions: &Additions<'_>) {
        self.begin("");
        self.properties(root, &[]);
        let mut chosen = None;
        let mut firmware = None;
        let mut children = root.children().peekable();
        while let Some(child) = children.next() {
            match (child.name(), children.peek()) {
                ("psci", _) => {}
                ("chosen", _) => chosen = Some(child),
                ("firmware", _) => firmware = Some(child),
                ("cpus", _) => self.cpus(child, additions),
                (name, _) if additions.memory.is_some() && is_memory(name) => {}
                (_, None) => self.copy(child),
                // As `copy`, but it is known where it ends.
                (_, Some(next)) => {
                    let (start, end) = (token_of(child), token_of(*next));
                    let source = self.names.source;
                    self.bytes(&source[start - self.names.start..end - self.names.start]);
                }
            }
        }
        if let Some(ranges) = additions.memory {
            self.memory(ranges);
        }
        self.chosen(chosen, additions);
        self.firmware(firmware);
        self.begin("psci");
        self.property("compatible", b"arm,psci-1.0\0arm,psci-0.2\0");
        self.string("method", "smc");
        self.end();
        self.end();
    }

    fn memory(&mut self, ranges: &[(u64, u64)]) {
        self.begin("memory");
        self.string("device_type", "memory");
        self.u32(PROP);
        self.u32(size_of_val(ranges) as u32);
        self.u32(self.names.of_added("reg"));
        for (start, end) in ranges {
            self.u64(*start);
            self.u64(end - start);
        }
        self.end();
    }

    fn cpus(&mut self, cpus: FdtNode<'_>, additions: &Additions<'_>) {
        let idle_states = additions.idle_states;
        self.begin(cpus.name());
        self.properties(cpus, &[]);
        for child in cpus.children() {
            if is_cpu(child) {
                let is_there = |pes: &[u64]| cpu_affinity(child).is_some_and(|a| pes.contains(&a));
                if additions.pes.is_none_or(is_there) {
                    self.cpu(child, idle_states, None);
                }
            } else if child.name() != "idle-states" {
                self.copy(child);
            }
        }
        let mut nodes = cpus.children().filter(|node| is_cpu(*node));
        if let Some(first) = nodes.next() {
            for pe in additions.pes.into_iter().flatten() {
                let has_it = |node| cpu_affinity(node) == Some(*pe);
                if !cpus.children().any(|node| is_cpu(node) && has_it(node)) {
                    self.cpu(first, idle_states, Some(*pe));
                }
            }
        }
        self.idle_states(idle_states);
        self.end();
    }

    /// A CPU's node; as that of another PE, if one is given.
    fn cpu(&mut self, cpu: FdtNode<'_>, idle_states: &[IdleState], pe: Option<u64>) {
        let mut replaced: &[&str] = &["enable-method", "cpu-idle-states"];
        if let Some(pe) = pe {
            replaced = &["enable-method", "cpu-idle-states", "reg", "phandle"];
            self.begin_cpu(pe);
            let cells = pe.to_be_bytes();
            // As wide as its model's.
            let width = cpu.property("reg").map_or(8, |reg| reg.value().len());
            self.property("reg", &cells[8 - width.min(8)..]);
        } else {
            self.begin(cpu.name());
        }
        self.properties(cpu, replaced);
        self.string("enable-method", "psci");
        if !idle_states.is_empty() {
            self.cell_list("cpu-idle-states", idle_phandles(idle_states));
        }
        for child in cpu.children() {
            self.copy(child);
        }
        self.end();
    }

    /// Begins `cpu@AFFINITY`.
    fn begin_cpu(&mut self, pe: u64) {
        self.u32(BEGIN_NODE);
        // Only a `Writer`'s own errors could be lost here, and it has none.
        let _ = fmt::Write::write_fmt(self, format_args!("cpu@{pe:x}\0"));
        self.pad();
    }

    fn idle_states(&mut self, idle_states: &[IdleState]) {
        if idle_states.is_empty() {
            return;
        }
        self.begin("idle-states");
        self.string("entry-method", "psci");
        for (state, phandle) in idle_states.iter().zip(idle_phandles(idle_states)) {
            self.begin(state.name);
            self.string("compatible", "arm,idle-state");
            for (name, value) in [
                ("arm,psci-suspend-param", state.power_state),
                ("entry-latency-us", state.entry_latency_us),
                ("exit-latency-us", state.exit_latency_us),
                ("min-residency-us", state.min_residency_us),
                ("phandle", phandle),
            ] {
                self.property(name, &value.to_be_bytes());
            }
            if state.timers_stop {
                self.property("local-timer-stop", &[]);
            }
            self.end();
        }
        self.end();
    }

    /// Adds a property that is a list of cells.
    fn cell_list(&mut self, name: &str, cells: impl ExactSizeIterator<Item = u32>) {
        self.u32(PROP);
        self.u32((cells.len() * size_of::<u32>()) as u32);
        self.u32(self.names.of_added(name));
        for cell in cells {
            self.u32(cell);
        }
    }

    fn chosen(&mut self, chosen: Option<FdtNode<'_>>, additions: &Additions<'_>) {
        let initrd = ["linux,initrd-start", "linux,initrd-end"];
        self.begin("chosen");
        if let Some(node) = chosen {
            let [start, end] = initrd;
            let replaced: &[&str] = match additions.bootargs {
                Some(_) => &[start, end, "bootargs"],
                None => &[start, end],
            };
            self.properties(node, replaced);
        }
        if let Some(bootargs) = additions.bootargs {
            self.string("bootargs", bootargs);
        }
        if let Some((start, end)) = additions.initrd {
            for (name, value) in initrd.into_iter().zip([start, end]) {
                self.property(name, &value.to_be_bytes());
            }
        }
        for child in chosen.iter().flat_map(|node| node.children()) {
            self.copy(child);
        }
        self.end();
    }

    fn firmware(&mut self, firmware: Option<FdtNode<'_>>) {
        self.begin("firmware");
        if let Some(node) = firmware {
            self.properties(node, &[]);
            for child in node.children() {
                if child.name() != "sdei" {
                    self.copy(child);
                }
            }
        }
        self.begin("sdei");
        self.string("compatible", "arm,sdei-1.0");
        self.string("method", "smc");
        self.end();
        self.end();
    }
}

/// The bytes before the first NUL; all of them if there is none.
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    let length = bytes.iter().position(|byte| *byte == 0);
    &bytes[..length.unwrap_or(bytes.len())]
}

fn idle_phandles(idle_states: &[IdleState]) -> impl ExactSizeIterator<Item = u32> {
    (0..idle_states.len()).map(|n| FIRST_IDLE_PHANDLE + n as u32)
}

/// Whether a node is a CPU's, and not `cpu-map` or another relative of it.
pub(crate) fn is_cpu(node: FdtNode<'_>) -> bool {
    node.property("device_type")
        .is_some_and(|kind| kind.value() == b"cpu\0")
}

/// Whether a node of this name describes memory (Devicetree Specification 3.4).
pub(crate) fn is_memory(name: &str) -> bool {
    name == "memory" || name.starts_with("memory@")
}

/// The affinity fields of a CPU: its `reg`, of one or two cells.
pub(crate) fn cpu_affinity(cpu: FdtNode<'_>) -> Option<u64> {
    match *cpu.property("reg")?.value() {
        [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
