//! The hardware under the machine: an interrupt controller, and the registers of the client EL.

use core::cell::{Cell, RefCell};
use std::vec::Vec;

use crate::{Client, ClientEl, Control, Owner, Port, is_ppi};

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
        let taken =
            |irq: &Irq| irq.group0 && irq.enabled && irq.pending && !irq.active && irq.route == pe;
        let of = |irqs: &[(u32, Irq)]| {
            irqs.iter()
                .find(|(_, irq)| taken(irq))
                .map(|(intid, _)| *intid)
        };
        of(&self.ppi[pe]).or_else(|| of(&self.spi))
    }
}

/// The port: the hardware, and which PE is in EL3.
#[derive(Debug)]
pub struct Fake {
    pub pe: Cell<usize>,
    pub hardware: RefCell<Hardware>,
}

impl Fake {
    fn with<R>(&self, intid: u32, f: impl FnOnce(&mut Irq) -> R) -> R {
        let mut hardware = self.hardware.borrow_mut();
        let irq = hardware
            .irq(self.pe.get(), intid)
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
        // Two PEs per cluster: Aff1 is the cluster.
        let fields = affinity & 0xff_00ff_ffff;
        let (cluster, core) = (fields >> 8, fields & 0xff);
        let index = usize::try_from(cluster * 2 + core).ok()?;
        (core < 2 && index < self.hardware.borrow().sgi.len()).then_some(index)
    }

    fn notify(&self, pe: usize) {
        self.hardware.borrow_mut().sgi[pe] = true;
    }

    fn client(&self) -> Client {
        self.hardware.borrow().client
    }

    fn control(&self, el: ClientEl) -> Control {
        let hardware = self.hardware.borrow();
        assert_eq!(el, hardware.client.el);
        hardware.control
    }

    fn exlock_enabled(&self, _: ClientEl) -> bool {
        unreachable!("no test's machine has FEAT_GCS")
    }

    fn vbar(&self, _: ClientEl) -> u64 {
        self.hardware.borrow().vbar
    }

    fn take_exception(&self, _: ClientEl, elr: u64, spsr: u64) {
        self.hardware.borrow_mut().exception[self.pe.get()] = Some((elr, spsr));
    }

    fn owner(&self, intid: u32) -> Option<Owner> {
        let mut hardware = self.hardware.borrow_mut();
        let irq = hardware.irq(self.pe.get(), intid)?;
        Some(if irq.secure || irq.group0 {
            Owner::Secure
        } else {
            Owner::NonSecure
        })
    }

    fn is_active(&self, intid: u32) -> bool {
        self.with(intid, |irq| irq.active)
    }

    fn claim(&self, intid: u32) {
        self.with(intid, |irq| {
            assert!(!irq.group0 && !irq.secure, "INTID {intid} is claimed twice");
            irq.group0 = true;
            irq.enabled = false;
        });
    }

    fn give_back(&self, intid: u32) {
        self.own(intid, |irq| {
            assert!(!irq.secure, "INTID {intid} was never the client's");
            assert!(!irq.active, "INTID {intid} is given back while active");
            irq.group0 = false;
            irq.enabled = false;
        });
    }

    fn route(&self, intid: u32, pe: usize) {
        self.own(intid, |irq| irq.route = pe);
    }

    fn enable(&self, intid: u32) {
        self.own(intid, |irq| irq.enabled = true);
    }

    fn disable(&self, intid: u32) {
        self.own(intid, |irq| irq.enabled = false);
    }

    fn clear_pending(&self, intid: u32) {
        self.own(intid, |irq| irq.pending &= irq.level);
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
