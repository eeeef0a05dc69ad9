//! The device tree that is handed on: the machine's own, with what the firmware
//! offers written into it.
//!
//! The tree is read with `dtoolkit` and written in one pass. `dtoolkit` can
//! edit in place too, but not add nodes without a heap, and every insertion
//! there moves all that follows, which for a node per PE adds up.

use core::fmt;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const END: u32 = 9;

/// The header of a flattened device tree in bytes (Devicetree Specification 5.2).
const HEADER: usize = 40;

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
}

/// The phandle of the first idle state; the others follow. dtc and QEMU number
/// theirs from 1 and 0x8000 on.
const FIRST_IDLE_PHANDLE: u32 = 0x7fff_0000;

/// Why a tree could not be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FdtError {
    /// The buffer is too small for the tree.
    NoSpace,
}

impl fmt::Display for FdtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace => f.write_str("no space for the device tree"),
        }
    }
}

/// Writes `source` with the additions to `out` and returns its size in bytes.
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
        writer.u64(reservation.address())?;
        writer.u64(reservation.size())?;
    }
    writer.u64(0)?;
    writer.u64(0)?;

    let structure = writer.at;
    writer.root(source.root(), additions)?;
    writer.u32(END)?;
    let structure_size = writer.at - structure;

    let strings = writer.at;
    writer.bytes(source_strings(source))?;
    for name in ADDED_NAMES {
        writer.bytes(name.as_bytes())?;
        writer.bytes(&[0])?;
    }
    let total = writer.at;

    writer.at = 0;
    for field in [
        0xd00d_feed,
        total,
        structure,
        strings,
        reservations,
        17, // version
        16, // last compatible version
        source.boot_cpuid_phys() as usize,
        total - strings,
        structure_size,
    ] {
        writer.u32(field as u32)?;
    }
    Ok(total)
}

/// The property names that the additions use; those the source lacks and those
/// it has alike are appended to its strings.
const ADDED_NAMES: [&str; 13] = [
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
];

/// The source's strings block, which is kept as it is.
fn source_strings(source: Fdt<'_>) -> &[u8] {
    let data = source.data();
    let field = |at: usize| {
        u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]) as usize
    };
    let (offset, size) = (field(12), field(32));
    &data[offset..offset + size]
}

/// The address of the token that starts a node: its name follows at once.
fn token_of(node: FdtNode<'_>) -> usize {
    node.name().as_ptr() as usize - size_of::<u32>()
}

/// The source, and where the names of properties are in the strings block written.
struct Names<'a> {
    source: &'a [u8],
    start: usize,
    strings_start: usize,
    added_start: usize,
}

impl<'a> Names<'a> {
    fn new(source: Fdt<'a>) -> Self {
        let strings = source_strings(source);
        Self {
            source: source.data(),
            start: source.data().as_ptr() as usize,
            strings_start: strings.as_ptr() as usize,
            added_start: strings.len(),
        }
    }

    /// The offset of a name that is part of the source.
    fn of_source(&self, name: &str) -> u32 {
        (name.as_ptr() as usize - self.strings_start) as u32
    }

    fn of_added(&self, name: &str) -> u32 {
        let before: usize = ADDED_NAMES
            .iter()
            .take_while(|added| **added != name)
            .map(|added| added.len() + 1)
            .sum();
        (self.added_start + before) as u32
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    names: Names<'a>,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), FdtError> {
        let end = self.at + bytes.len();
        self.out
            .get_mut(self.at..end)
            .ok_or(FdtError::NoSpace)?
            .copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    fn u32(&mut self, value: u32) -> Result<(), FdtError> {
        self.bytes(&value.to_be_bytes())
    }

    fn u64(&mut self, value: u64) -> Result<(), FdtError> {
        self.bytes(&value.to_be_bytes())
    }

    /// Tokens start at multiples of four bytes.
    fn pad(&mut self) -> Result<(), FdtError> {
        let padding = self.at.next_multiple_of(4) - self.at;
        self.bytes(&[0; 3][..padding])
    }

    fn begin(&mut self, name: &str) -> Result<(), FdtError> {
        self.u32(BEGIN_NODE)?;
        self.bytes(name.as_bytes())?;
        self.bytes(&[0])?;
        self.pad()
    }

    fn end(&mut self) -> Result<(), FdtError> {
        self.u32(END_NODE)
    }

    fn property_at(&mut self, name: u32, value: &[u8]) -> Result<(), FdtError> {
        self.u32(PROP)?;
        self.u32(value.len() as u32)?;
        self.u32(name)?;
        self.bytes(value)?;
        self.pad()
    }

    /// Adds a property whose name is one of [`ADDED_NAMES`].
    fn property(&mut self, name: &str, value: &[u8]) -> Result<(), FdtError> {
        self.property_at(self.names.of_added(name), value)
    }

    /// Adds a property that holds one string. A NUL would end it early, so
    /// the value stops there.
    fn string(&mut self, name: &str, value: &str) -> Result<(), FdtError> {
        let value = value.split('\0').next().unwrap_or_default();
        self.u32(PROP)?;
        self.u32(value.len() as u32 + 1)?;
        self.u32(self.names.of_added(name))?;
        self.bytes(value.as_bytes())?;
        self.bytes(&[0])?;
        self.pad()
    }

    fn properties(&mut self, node: FdtNode<'_>, replaced: &[&str]) -> Result<(), FdtError> {
        for property in node.properties() {
            let name = property.name();
            if !replaced.contains(&name) {
                self.property_at(self.names.of_source(name), property.value())?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, node: FdtNode<'_>) -> Result<(), FdtError> {
        self.begin(node.name())?;
        self.properties(node, &[])?;
        for child in node.children() {
            self.copy(child)?;
        }
        self.end()
    }

    fn root(&mut self, root: FdtNode<'_>, additions: &Additions<'_>) -> Result<(), FdtError> {
        self.begin("")?;
        self.properties(root, &[])?;
        let mut chosen = None;
        let mut firmware = None;
        let mut children = root.children().peekable();
        while let Some(child) = children.next() {
            match (child.name(), children.peek()) {
                ("psci", _) => {}
                ("chosen", _) => chosen = Some(child),
                ("firmware", _) => firmware = Some(child),
                ("cpus", _) => self.cpus(child, additions.idle_states)?,
                (_, None) => self.copy(child)?,
                // The names of its properties stay where they are in the
                // strings block, so it can stay as it is, up to the next one.
                (_, Some(next)) => {
                    let (start, end) = (token_of(child), token_of(*next));
                    let source = self.names.source;
                    self.bytes(&source[start - self.names.start..end - self.names.start])?;
                }
            }
        }
        self.chosen(chosen, additions)?;
        self.firmware(firmware)?;
        self.begin("psci")?;
        self.property("compatible", b"arm,psci-1.0\0arm,psci-0.2\0")?;
        self.string("method", "smc")?;
        self.end()?;
        self.end()
    }

    fn cpus(&mut self, cpus: FdtNode<'_>, idle_states: &[IdleState]) -> Result<(), FdtError> {
        self.begin(cpus.name())?;
        self.properties(cpus, &[])?;
        for child in cpus.children() {
            if is_cpu(child) {
                self.begin(child.name())?;
                self.properties(child, &["enable-method", "cpu-idle-states"])?;
                self.string("enable-method", "psci")?;
                if !idle_states.is_empty() {
                    self.cell_list("cpu-idle-states", idle_phandles(idle_states))?;
                }
                for grandchild in child.children() {
                    self.copy(grandchild)?;
                }
                self.end()?;
            } else if child.name() != "idle-states" {
                self.copy(child)?;
            }
        }
        self.idle_states(idle_states)?;
        self.end()
    }

    fn idle_states(&mut self, idle_states: &[IdleState]) -> Result<(), FdtError> {
        if idle_states.is_empty() {
            return Ok(());
        }
        self.begin("idle-states")?;
        self.string("entry-method", "psci")?;
        for (state, phandle) in idle_states.iter().zip(idle_phandles(idle_states)) {
            self.begin(state.name)?;
            self.string("compatible", "arm,idle-state")?;
            for (name, value) in [
                ("arm,psci-suspend-param", state.power_state),
                ("entry-latency-us", state.entry_latency_us),
                ("exit-latency-us", state.exit_latency_us),
                ("min-residency-us", state.min_residency_us),
                ("phandle", phandle),
            ] {
                self.property(name, &value.to_be_bytes())?;
            }
            self.end()?;
        }
        self.end()
    }

    /// Adds a property that is a list of cells.
    fn cell_list(
        &mut self,
        name: &str,
        cells: impl ExactSizeIterator<Item = u32>,
    ) -> Result<(), FdtError> {
        self.u32(PROP)?;
        self.u32((cells.len() * size_of::<u32>()) as u32)?;
        self.u32(self.names.of_added(name))?;
        for cell in cells {
            self.u32(cell)?;
        }
        Ok(())
    }

    fn chosen(
        &mut self,
        chosen: Option<FdtNode<'_>>,
        additions: &Additions<'_>,
    ) -> Result<(), FdtError> {
        let initrd = ["linux,initrd-start", "linux,initrd-end"];
        self.begin("chosen")?;
        if let Some(node) = chosen {
            let [start, end] = initrd;
            let replaced: &[&str] = match additions.bootargs {
                Some(_) => &[start, end, "bootargs"],
                None => &[start, end],
            };
            self.properties(node, replaced)?;
        }
        if let Some(bootargs) = additions.bootargs {
            self.string("bootargs", bootargs)?;
        }
        if let Some((start, end)) = additions.initrd {
            for (name, value) in initrd.into_iter().zip([start, end]) {
                self.property(name, &value.to_be_bytes())?;
            }
        }
        for child in chosen.iter().flat_map(|node| node.children()) {
            self.copy(child)?;
        }
        self.end()
    }

    fn firmware(&mut self, firmware: Option<FdtNode<'_>>) -> Result<(), FdtError> {
        self.begin("firmware")?;
        if let Some(node) = firmware {
            self.properties(node, &[])?;
            for child in node.children() {
                if child.name() != "sdei" {
                    self.copy(child)?;
                }
            }
        }
        self.begin("sdei")?;
        self.string("compatible", "arm,sdei-1.0")?;
        self.string("method", "smc")?;
        self.end()?;
        self.end()
    }
}

fn idle_phandles(idle_states: &[IdleState]) -> impl ExactSizeIterator<Item = u32> {
    (0..idle_states.len()).map(|n| FIRST_IDLE_PHANDLE + n as u32)
}

/// Whether a node is a CPU's, and not `cpu-map` or another relative of it.
pub(crate) fn is_cpu(node: FdtNode<'_>) -> bool {
    node.property("device_type")
        .is_some_and(|kind| kind.value() == b"cpu\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a tree by the writer itself; `rewrite` must carry it over.
    fn tree(build: impl FnOnce(&mut Tree)) -> Vec<u8> {
        let mut tree = Tree::default();
        tree.begin("");
        build(&mut tree);
        tree.end();
        tree.finish()
    }

    /// A device tree in the making, written without the code under test.
    #[derive(Default)]
    struct Tree {
        structure: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Tree {
        fn word(&mut self, value: u32) {
            self.structure.extend(value.to_be_bytes());
        }

        fn pad(&mut self) {
            self.structure
                .resize(self.structure.len().next_multiple_of(4), 0);
        }

        fn begin(&mut self, name: &str) {
            self.word(1);
            self.structure.extend(name.as_bytes());
            self.structure.push(0);
            self.pad();
        }

        fn property(&mut self, name: &str, value: &[u8]) {
            self.word(3);
            self.word(value.len() as u32);
            self.word(self.strings.len() as u32);
            self.strings.extend(name.as_bytes());
            self.strings.push(0);
            self.structure.extend(value);
            self.pad();
        }

        fn end(&mut self) {
            self.word(2);
        }

        fn finish(mut self) -> Vec<u8> {
            self.word(9);
            let structure = 40 + 32;
            let strings = structure + self.structure.len();
            let total = strings + self.strings.len();
            let mut out = Vec::new();
            for field in [
                0xd00d_feed,
                total,
                structure,
                strings,
                40,
                17,
                16,
                7,
                self.strings.len(),
                self.structure.len(),
            ] {
                out.extend((field as u32).to_be_bytes());
            }
            // One memory reservation, and the end of them.
            out.extend(0x1000_u64.to_be_bytes());
            out.extend(0x2000_u64.to_be_bytes());
            out.extend([0; 16]);
            out.extend(self.structure);
            out.extend(self.strings);
            out
        }
    }

    fn machine() -> Vec<u8> {
        tree(|tree| {
            tree.property("model", b"a machine\0");
            tree.begin("soc");
            tree.property("odd", b"abc");
            tree.begin("device");
            tree.property("reg", &[1, 2, 3, 4]);
            tree.end();
            tree.end();
            tree.begin("cpus");
            tree.begin("cpu@0");
            tree.property("device_type", b"cpu\0");
            tree.property("enable-method", b"spin-table\0");
            tree.begin("cache");
            tree.end();
            tree.end();
            tree.begin("cpu-map");
            tree.end();
            tree.end();
            tree.begin("psci");
            tree.property("method", b"hvc\0");
            tree.end();
            tree.begin("chosen");
            tree.property("bootargs", b"old\0");
            tree.property("linux,initrd-start", &[9; 8]);
            tree.property("rng-seed", &[5; 8]);
            tree.begin("module");
            tree.end();
            tree.end();
            tree.begin("firmware");
            tree.begin("scmi");
            tree.end();
            tree.begin("sdei");
            tree.property("method", b"hvc\0");
            tree.end();
            tree.end();
            tree.begin("last");
            tree.property("status", b"okay\0");
            tree.end();
        })
    }

    fn rewritten(source: &[u8], additions: &Additions<'_>) -> Vec<u8> {
        let mut out = vec![0xaa; 4096];
        let size = rewrite(Fdt::new(source).unwrap(), additions, &mut out).unwrap();
        out.truncate(size);
        out
    }

    #[track_caller]
    fn check(tree: &[u8], path: &str, property: &str, value: &[u8]) {
        let fdt = Fdt::new(tree).unwrap();
        let node = fdt.find_node(path).unwrap();
        let all: Vec<_> = node
            .properties()
            .filter(|p| p.name() == property)
            .map(|p| p.value().to_vec())
            .collect();
        assert_eq!(all, [value], "{path} {property}");
    }

    #[test]
    fn what_the_firmware_offers_is_added() {
        let out = rewritten(&machine(), &Additions::default());
        check(&out, "/psci", "method", b"smc\0");
        check(&out, "/psci", "compatible", b"arm,psci-1.0\0arm,psci-0.2\0");
        check(&out, "/firmware/sdei", "method", b"smc\0");
        check(&out, "/firmware/sdei", "compatible", b"arm,sdei-1.0\0");
        check(&out, "/cpus/cpu@0", "enable-method", b"psci\0");
    }

    #[test]
    fn everything_else_stays() {
        let source = machine();
        let out = rewritten(&source, &Additions::default());
        check(&out, "/", "model", b"a machine\0");
        check(&out, "/soc", "odd", b"abc");
        check(&out, "/soc/device", "reg", &[1, 2, 3, 4]);
        check(&out, "/chosen", "bootargs", b"old\0");
        check(&out, "/chosen", "rng-seed", &[5; 8]);
        check(&out, "/last", "status", b"okay\0");
        let fdt = Fdt::new(&out).unwrap();
        for path in [
            "/cpus/cpu@0/cache",
            "/cpus/cpu-map",
            "/chosen/module",
            "/firmware/scmi",
        ] {
            assert!(fdt.find_node(path).is_some(), "{path}");
        }
        let names: Vec<_> = fdt
            .root()
            .children()
            .map(|node| node.name().to_owned())
            .collect();
        assert_eq!(names, ["soc", "cpus", "last", "chosen", "firmware", "psci"]);
        assert!(
            fdt.find_node("/cpus/cpu-map")
                .unwrap()
                .property("enable-method")
                .is_none()
        );
        assert_eq!(fdt.boot_cpuid_phys(), 7);
        let reserved: Vec<_> = fdt
            .memory_reservations()
            .map(|one| (one.address(), one.size()))
            .collect();
        assert_eq!(reserved, [(0x1000, 0x2000)]);
    }

    #[test]
    fn the_kernels_part_is_replaced() {
        let out = rewritten(
            &machine(),
            &Additions {
                bootargs: Some("console=ttyAMA0\0ignored"),
                initrd: Some((0x4400_0000, 0x4500_0001)),
                ..Additions::default()
            },
        );
        check(&out, "/chosen", "bootargs", b"console=ttyAMA0\0");
        check(
            &out,
            "/chosen",
            "linux,initrd-start",
            &0x4400_0000_u64.to_be_bytes(),
        );
        check(
            &out,
            "/chosen",
            "linux,initrd-end",
            &0x4500_0001_u64.to_be_bytes(),
        );
        // What pointed at another initramfs is gone in any case.
        let none = rewritten(&machine(), &Additions::default());
        let fdt = Fdt::new(&none).unwrap();
        let chosen = fdt.find_node("/chosen").unwrap();
        assert!(chosen.property("linux,initrd-start").is_none());
    }

    #[test]
    fn every_cpu_gets_the_idle_states() {
        let state = |name, power_state| IdleState {
            name,
            power_state,
            entry_latency_us: 1,
            exit_latency_us: 2,
            min_residency_us: 3,
        };
        let additions = Additions {
            idle_states: &[state("standby", 1), state("down", 0x4000_0002)],
            ..Additions::default()
        };
        let out = rewritten(&machine(), &additions);
        check(&out, "/cpus/idle-states", "entry-method", b"psci\0");
        for (path, power_state, phandle) in [
            ("/cpus/idle-states/standby", 1_u32, FIRST_IDLE_PHANDLE),
            (
                "/cpus/idle-states/down",
                0x4000_0002,
                FIRST_IDLE_PHANDLE + 1,
            ),
        ] {
            check(&out, path, "compatible", b"arm,idle-state\0");
            check(
                &out,
                path,
                "arm,psci-suspend-param",
                &power_state.to_be_bytes(),
            );
            check(&out, path, "min-residency-us", &[0, 0, 0, 3]);
            check(&out, path, "phandle", &phandle.to_be_bytes());
        }
        let phandles = [FIRST_IDLE_PHANDLE, FIRST_IDLE_PHANDLE + 1].map(u32::to_be_bytes);
        check(&out, "/cpus/cpu@0", "cpu-idle-states", &phandles.concat());
        let fdt = Fdt::new(&out).unwrap();
        assert!(fdt.find_node("/cpus/cpu-map").is_some());
    }

    #[test]
    fn a_tree_without_any_of_it() {
        let out = rewritten(&tree(|_| {}), &Additions::default());
        check(&out, "/firmware/sdei", "method", b"smc\0");
        check(&out, "/psci", "method", b"smc\0");
    }

    #[test]
    fn a_tree_written_twice_stays_the_same() {
        let once = rewritten(&machine(), &Additions::default());
        let twice = rewritten(&once, &Additions::default());
        let show = |tree: &[u8]| format!("{}", Fdt::new(tree).unwrap());
        assert_eq!(show(&once), show(&twice));
    }

    #[test]
    fn every_size_too_small_is_refused() {
        let source = machine();
        let fdt = Fdt::new(&source).unwrap();
        let full = rewritten(&source, &Additions::default()).len();
        for size in 0..full {
            let mut out = vec![0; size];
            assert_eq!(
                rewrite(fdt, &Additions::default(), &mut out),
                Err(FdtError::NoSpace),
                "{size}"
            );
        }
    }
}
