// SPDX-License-Identifier: MIT OR Apache-2.0

//! The hardware under the dispatcher in tests: PEs' registers and an interrupt controller. Of the
//! crate it uses the public face only, for the fuzz target has it, too.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    vec::Vec,
};

use super::api::{AFFINITY, Client, ClientEl, Control, Interrupts, Owner, Port, is_ppi};

/// One interrupt, as the interrupt controller sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Irq {
    pub secure: bool,
    pub group0: bool,
    pub enabled: bool,
    pub level: bool,
    /// The line of a level-sensitive interrupt, the latch of an edge-triggered one.
    pub pending: bool,
    pub active: bool,
    pub priority: u8,
    pub route: usize,
}

/// The state of the hardware.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hardware {
    pub client: Client,
    pub control: Control,
    pub vbar: u64,
    /// The SGI of `notify`, pending per PE.
    pub sgi: Vec<bool>,
    /// `ELR_ELc` and `SPSR_ELc` as last written by the dispatcher.
    pub exception: Vec<Option<(u64, u64)>>,
    pub ppi: Vec<Vec<(u32, Irq)>>,
    pub spi: Vec<(u32, Irq)>,
}

impl Hardware {
    pub fn irq(&mut self, pe: usize, intid: u32) -> Option<&mut Irq> {
        let irqs = if is_ppi(intid) {
            &mut self.ppi[pe]
        } else {
            &mut self.spi
        };
        irqs.iter_mut()
            .find(|(number, _)| *number == intid)
            .map(|(_, irq)| irq)
    }

    /// The interrupt that PE `pe` would acknowledge now.
    pub fn highest(&self, pe: usize) -> Option<u32> {
        let of = |irqs: &[(u32, Irq)], routed: bool| {
            let taken = |irq: &Irq| {
                irq.group0
                    && irq.enabled
                    && irq.pending
                    && !irq.active
                    && (irq.route == pe || !routed)
            };
            irqs.iter()
                .find(|(_, irq)| taken(irq))
                .map(|(intid, _)| *intid)
        };
        of(&self.ppi[pe], false).or_else(|| of(&self.spi, true))
    }

    /// Acknowledges it.
    pub fn acknowledge(&mut self, pe: usize) -> Option<u32> {
        let intid = self.highest(pe)?;
        let irq = self.irq(pe, intid).unwrap();
        irq.active = true;
        irq.pending &= irq.level;
        Some(intid)
    }
}

/// The affinity of a PE, as a client reads it from MPIDR_EL1: with bit 31. Two PEs per cluster:
/// Aff1 is the cluster.
pub fn mpidr(pe: usize) -> u64 {
    let pe = pe as u64;
    (1 << 31) | (pe / 2) << 8 | (pe % 2)
}

/// The priority of an interrupt of EL3's.
const EL3_PRIORITY: u8 = 0;

/// The hardware, and which PE is in EL3.
#[derive(Clone, Debug)]
pub struct Fake(Arc<(AtomicUsize, Mutex<Hardware>)>);

impl Fake {
    pub fn new(hardware: Hardware) -> Self {
        Self(Arc::new((AtomicUsize::new(0), Mutex::new(hardware))))
    }

    /// PE `pe` enters EL3.
    pub fn enter(&self, pe: usize) {
        self.0.0.store(pe, Relaxed);
    }

    fn pe(&self) -> usize {
        self.0.0.load(Relaxed)
    }

    pub fn hardware(&self) -> MutexGuard<'_, Hardware> {
        self.0.1.lock().unwrap()
    }

    fn with<R>(&self, intid: u32, f: impl FnOnce(&mut Irq) -> R) -> R {
        let mut hardware = self.hardware();
        let irq = hardware
            .irq(self.pe(), intid)
            .expect("the dispatcher uses an interrupt that is not implemented");
        f(irq)
    }

    /// For changes that only the owner of an interrupt may make.
    fn own(&self, intid: u32, f: impl FnOnce(&mut Irq)) {
        self.with(intid, |irq| {
            assert!(irq.group0, "INTID {intid} is used without being EL3's");
            f(irq);
        });
    }
}

impl Port for Fake {
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        assert_eq!(affinity & !AFFINITY, 0, "more than the affinity");
        let (cluster, core) = (affinity >> 8, affinity & 0xff);
        let index = usize::try_from(cluster * 2 + core).ok()?;
        (core < 2 && index < self.hardware().sgi.len()).then_some(index)
    }

    fn notify(&self, affinity: u64) {
        let pe = self.pe_index(affinity).expect("an SGI to nobody");
        self.hardware().sgi[pe] = true;
    }

    fn client(&self) -> Client {
        self.hardware().client
    }

    fn control(&self, el: ClientEl) -> Control {
        let hardware = self.hardware();
        assert_eq!(el, hardware.client.el);
        hardware.control
    }

    fn exlock_enabled(&self, _: ClientEl) -> bool {
        unreachable!("no test's machine has FEAT_GCS")
    }

    fn vbar(&self, _: ClientEl) -> u64 {
        self.hardware().vbar
    }

    fn take_exception(&self, _: ClientEl, elr: u64, spsr: u64) {
        let pe = self.pe();
        self.hardware().exception[pe] = Some((elr, spsr));
    }
}

impl Interrupts for Fake {
    /// Its priority.
    type Saved = u8;

    fn owner(&self, intid: u32) -> Option<Owner> {
        let mut hardware = self.hardware();
        let irq = hardware.irq(self.pe(), intid)?;
        Some(if irq.secure || irq.group0 {
            Owner::Secure
        } else {
            Owner::NonSecure
        })
    }

    fn is_active(&self, intid: u32) -> bool {
        self.with(intid, |irq| irq.active)
    }

    fn claim(&self, intid: u32) -> u8 {
        self.with(intid, |irq| {
            assert!(!irq.group0 && !irq.secure, "INTID {intid} is claimed twice");
            irq.group0 = true;
            irq.enabled = false;
            irq.pending &= irq.level;
            core::mem::replace(&mut irq.priority, EL3_PRIORITY)
        })
    }

    fn clear_pending(&self, intid: u32) {
        self.own(intid, |irq| irq.pending &= irq.level);
    }

    fn release(&self, intid: u32, acknowledged: bool, saved: Option<u8>) {
        self.own(intid, |irq| {
            assert_eq!(irq.active, acknowledged, "INTID {intid} is left active");
            assert_eq!(
                irq.secure,
                saved.is_none(),
                "INTID {intid} is not given back"
            );
            irq.active = false;
            irq.enabled = false;
            irq.pending &= irq.level;
            if let Some(priority) = saved {
                irq.group0 = false;
                irq.priority = priority;
            }
        });
    }

    fn route(&self, intid: u32, affinity: u64) {
        let pe = self
            .pe_index(affinity)
            .expect("an interrupt is sent to nobody");
        self.own(intid, |irq| irq.route = pe);
    }

    fn enable(&self, intid: u32) {
        self.own(intid, |irq| irq.enabled = true);
    }

    fn disable(&self, intid: u32) {
        self.own(intid, |irq| irq.enabled = false);
    }

    fn is_asserted(&self, intid: u32) -> bool {
        self.with(intid, |irq| !irq.level || irq.pending)
    }

    fn deactivate(&self, intid: u32) {
        self.own(intid, |irq| {
            assert!(irq.active, "INTID {intid} is deactivated twice");
            irq.active = false;
        });
    }
}
