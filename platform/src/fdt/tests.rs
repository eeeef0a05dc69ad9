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
    let size = rewrite(parse(source).unwrap(), additions, &mut out).unwrap();
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
        timers_stop: name == "down",
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
    check(&out, "/cpus/idle-states/down", "local-timer-stop", &[]);
    let phandles = [FIRST_IDLE_PHANDLE, FIRST_IDLE_PHANDLE + 1].map(u32::to_be_bytes);
    check(&out, "/cpus/cpu@0", "cpu-idle-states", &phandles.concat());
    let fdt = Fdt::new(&out).unwrap();
    assert!(fdt.find_node("/cpus/cpu-map").is_some());
    let standby = fdt.find_node("/cpus/idle-states/standby").unwrap();
    assert!(standby.property("local-timer-stop").is_none());
}

/// A machine with these CPUs and memory in two nodes.
fn with_cpus(affinities: &[u64]) -> Vec<u8> {
    tree(|tree| {
        tree.property("#address-cells", &[0, 0, 0, 2]);
        tree.property("#size-cells", &[0, 0, 0, 2]);
        for start in [0x8000_0000_u64, 0x8_8000_0000] {
            tree.begin(&format!("memory@{start:x}"));
            tree.property("device_type", b"memory\0");
            tree.property("reg", &[start, 0x8000_0000].map(u64::to_be_bytes).concat());
            tree.end();
        }
        tree.begin("cpus");
        for affinity in affinities {
            tree.begin(&format!("cpu@{affinity:x}"));
            tree.property("device_type", b"cpu\0");
            tree.property("reg", &affinity.to_be_bytes());
            tree.property("phandle", &[0, 0, 1, *affinity as u8]);
            tree.property("next-level-cache", &[0, 0, 0, 8]);
            tree.end();
        }
        tree.begin("l2-cache");
        tree.end();
        tree.end();
    })
}

#[test]
fn the_cpus_are_those_that_there_are() {
    let additions = Additions {
        pes: Some(&[0, 0x100, 0x200, 0x1_0000_0000]),
        ..Additions::default()
    };
    let out = rewritten(&with_cpus(&[0, 0x100, 0x10100]), &additions);
    let fdt = Fdt::new(&out).unwrap();
    let cpus = fdt.find_node("/cpus").unwrap();
    let names: Vec<_> = cpus.children().map(|node| node.name().to_owned()).collect();
    assert_eq!(
        names,
        ["cpu@0", "cpu@100", "l2-cache", "cpu@200", "cpu@100000000"]
    );
    for (path, affinity) in [
        ("/cpus/cpu@100", 0x100_u64),
        ("/cpus/cpu@200", 0x200),
        ("/cpus/cpu@100000000", 0x1_0000_0000),
    ] {
        check(&out, path, "reg", &affinity.to_be_bytes());
        check(&out, path, "enable-method", b"psci\0");
        check(&out, path, "next-level-cache", &[0, 0, 0, 8]);
    }
    // There is one of each phandle.
    let made = fdt.find_node("/cpus/cpu@200").unwrap();
    assert!(made.property("phandle").is_none());
    check(&out, "/cpus/cpu@100", "phandle", &[0, 0, 1, 0]);
}

#[test]
fn the_memory_is_what_the_normal_world_has() {
    let additions = Additions {
        memory: Some(&[(0x8000_0000, 0xff00_0000), (0x8_8000_0000, 0x9_0000_0000)]),
        ..Additions::default()
    };
    let out = rewritten(&with_cpus(&[0]), &additions);
    let fdt = Fdt::new(&out).unwrap();
    let nodes: Vec<_> = fdt
        .root()
        .children()
        .filter(|node| is_memory(node.name()))
        .map(|node| node.name().to_owned())
        .collect();
    assert_eq!(nodes, ["memory"]);
    let reg = [0x8000_0000_u64, 0x7f00_0000, 0x8_8000_0000, 0x8000_0000];
    check(&out, "/memory", "reg", &reg.map(u64::to_be_bytes).concat());
    check(&out, "/memory", "device_type", b"memory\0");
    // It stays without being asked for.
    let same = rewritten(&with_cpus(&[0]), &Additions::default());
    let reg = [0x8000_0000_u64, 0x8000_0000]
        .map(u64::to_be_bytes)
        .concat();
    check(&same, "/memory@80000000", "reg", &reg);
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

/// A tree with this many nodes in each other.
fn nested(levels: usize) -> Vec<u8> {
    tree(|tree| {
        for _ in 0..levels {
            tree.begin("level");
        }
        tree.property("innermost", &[1]);
        for _ in 0..levels {
            tree.end();
        }
        tree.begin("cpus");
        tree.begin("cpu@0");
        tree.property("device_type", b"cpu\0");
        for _ in 0..levels {
            tree.begin("level");
        }
        for _ in 0..levels {
            tree.end();
        }
        tree.end();
        tree.end();
    })
}

#[test]
fn depth_takes_no_stack() {
    let source = nested(30_000);
    // As large as that of the PE that boots.
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    let out = thread.spawn(move || {
        let mut out = vec![0; MAX_SIZE];
        let size = rewrite(parse(&source).unwrap(), &Additions::default(), &mut out).unwrap();
        parse(&out[..size]).unwrap().data().len() == size
    });
    assert!(out.unwrap().join().unwrap());
}

#[test]
fn a_tree_with_room_at_its_end() {
    let source = machine();
    let mut padded = source.clone();
    padded.resize(5 << 20, 0xaa);
    padded[4..8].copy_from_slice(&(5_u32 << 20).to_be_bytes());
    // There may be less space than it says, but not less than it takes.
    for space in [source.len(), source.len() + 7, MAX_SIZE] {
        let fdt = parse(&padded[..space]).unwrap();
        assert_eq!(fdt.data().len(), source.len());
    }
    assert_eq!(
        parse(&padded[..source.len() - 1]).unwrap_err(),
        FdtError::Damaged
    );
    let additions = Additions::default();
    let mut out = vec![0; 4096];
    let size = rewrite(parse(&padded).unwrap(), &additions, &mut out).unwrap();
    assert_eq!(out[..size], rewritten(&source, &additions));
}

#[test]
fn no_tree_and_half_of_one() {
    assert_eq!(parse(&[]).unwrap_err(), FdtError::Missing);
    assert_eq!(parse(&[0; 4096]).unwrap_err(), FdtError::Missing);
    let source = machine();
    for size in 4..source.len() {
        assert_eq!(parse(&source[..size]).unwrap_err(), FdtError::Damaged);
    }
}

#[test]
fn names_that_linux_takes() {
    let long = "a-näme,with-more-than-31-characters@1@2";
    let source = tree(|tree| {
        tree.begin(long);
        tree.property(long, b"x");
        tree.end();
        tree.begin("last");
        tree.end();
    });
    let out = rewritten(&source, &Additions::default());
    let node = parse(&out)
        .unwrap()
        .root()
        .children()
        .find(|node| node.name() == long)
        .unwrap();
    assert_eq!(node.property(long).unwrap().value(), b"x");
    // No name starts in the middle of a character.
    let at = source.len() - long.len() - 1 + 4;
    let structure = 40 + 32;
    let mut odd = source.clone();
    let offset = structure + 4 + 4 + 4 + (long.len() + 1).next_multiple_of(4) + 8;
    assert_eq!(source[offset..offset + 4], [0; 4]);
    odd[offset + 3] = 4;
    assert_eq!(&odd[at..at + 1], "ä".as_bytes()[1..].as_ref());
    assert_eq!(parse(&odd).unwrap_err(), FdtError::Damaged);
}

/// All that boards do with a tree.
fn use_it(bytes: &[u8]) -> bool {
    let Ok(fdt) = parse(bytes) else { return false };
    let cpus: Vec<_> = crate::tree::cpu_affinities(fdt).collect();
    let memory: Vec<_> = crate::tree::memory(fdt)
        .filter(|(start, end)| start < end)
        .collect();
    let _ = crate::tree::redistributors(fdt).map(Iterator::count);
    let idle_states = idle_states(true);
    for additions in [
        Additions::default(),
        Additions {
            bootargs: Some("a b"),
            initrd: Some((1, 2)),
            idle_states: &idle_states,
            memory: Some(&memory),
            pes: Some(&[0, 0x100, 7]),
        },
        Additions {
            pes: Some(&cpus[..cpus.len().min(8)]),
            ..Additions::default()
        },
    ] {
        let mut out = vec![0; 16 << 10];
        if let Ok(size) = rewrite(fdt, &additions, &mut out) {
            let again = parse(&out[..size]).unwrap();
            assert!(crate::tree::top(again, "psci").is_some());
        }
    }
    true
}

#[test]
fn no_damage_makes_it_panic() {
    let sources = [
        machine(),
        with_cpus(&[0, 0x100, 0x10100]),
        gic(),
        nested(20),
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 8) as usize % below
    };
    const WORDS: [u32; 12] = [
        0,
        1,
        2,
        3,
        4,
        5,
        9,
        16,
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX,
        !3,
    ];
    let mut taken = 0;
    for round in 0..20_000 {
        let mut tree = sources[round % sources.len()].clone();
        for _ in 0..=random(3) {
            let at = random(tree.len());
            match random(4) {
                0 => tree[at] = random(256) as u8,
                1 => tree[at] ^= 1 << random(8),
                2 => {
                    let word = WORDS[random(WORDS.len())];
                    for (place, byte) in tree[at & !3..].iter_mut().zip(word.to_be_bytes()) {
                        *place = byte;
                    }
                }
                _ => {
                    // A token, or what is in its place, once more.
                    let from = random(tree.len()) & !3;
                    let length = (4 * random(8)).min(tree.len() - from.max(at & !3));
                    tree.copy_within(from..from + length, at & !3);
                }
            }
        }
        taken += u32::from(use_it(&tree));
    }
    // Not all of them are refused at once.
    assert!(taken > 3_000, "{taken}");
}

/// A machine's GIC.
fn gic() -> Vec<u8> {
    tree(|tree| {
        tree.property("#address-cells", &[0, 0, 0, 2]);
        tree.property("#size-cells", &[0, 0, 0, 2]);
        tree.begin("intc@8000000");
        tree.property("compatible", b"arm,gic-v3\0");
        tree.property("#redistributor-regions", &[0, 0, 0, 2]);
        let reg = [0x800_0000_u64, 0x1_0000, 0x80a_0000, 0xf6_0000, 1 << 40, 1];
        tree.property("reg", &reg.map(u64::to_be_bytes).concat());
        tree.end();
    })
}

#[test]
fn redistributors_are_found() {
    let tree = gic();
    let regions: Vec<_> = crate::tree::redistributors(parse(&tree).unwrap())
        .unwrap()
        .collect();
    assert_eq!(
        regions,
        [(0x80a_0000, 0x900_0000), (1 << 40, (1 << 40) + 1)]
    );
}
