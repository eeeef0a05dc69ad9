//! Interrupts of the Normal world's that it has marked as non-maskable (FEAT_GICv3_NMI).

use super::writes;
use crate::check::{Outcome, check, equal, wait};
use crate::event::{self, PRIVATE, SHARED};
use crate::line::{self, Line, Settings};
use crate::pe::{Finish, Pe};
use crate::tests::bound::lowering;
use crate::tests::{Env, tests};
use crate::{gic, say, sdei};
use arm_gic::gicv3::GicCpuInterface;
use arm_gic::{IntId, InterruptGroup};
use arm_sysregs::el1::accessors::read_icc_rpr_el1;
use arm_sysregs::read_sysreg;
use core::sync::atomic::Ordering::*;

tests! { "attack":
    1 marked_as_nmi_then_bound,
    2 event_0_while_an_nmi_is_active,
}

// Which `arm-sysregs` 0.5 lacks.
read_sysreg!(icc_nmiar1_el1: s3_0_c12_c9_5, u64, safe);

/// ICC_RPR_EL1.NMI: the active interrupt with the highest priority is non-maskable.
fn is_nmi_active() -> bool {
    read_icc_rpr_el1().bits() & 1 << 63 != 0
}

/// Whether this machine has FEAT_GICv3_NMI; says so if not.
fn has_nmi() -> bool {
    writes::init();
    let has_nmi = writes::has_nmi();
    if !has_nmi {
        say!("skipped: no FEAT_GICv3_NMI (GICD_TYPER.NMI is 0)");
    }
    has_nmi
}

/// An interrupt that the Normal world has marked as non-maskable becomes an event's.
fn marked_as_nmi_then_bound(env: &'static Env) -> Outcome {
    if !has_nmi() {
        return Ok(());
    }
    let me = env.me();
    for line in [Line::Rtc, Line::Virtual] {
        line.lower();
        writes::mark_nmi(me.index(), line.intid(), true);
        let event = if line == Line::Rtc { SHARED } else { PRIVATE };
        equal("BIND", event::bind(line.intid()), event as i64)?;
        let behaviour = lowering(line);
        event::listen(event, behaviour)?;
        equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
        for times in 1..4 {
            line.raise();
            wait("a bound event's handler", || {
                event::count(event, me) >= times
            })?;
        }
        equal("DISABLE", sdei::disable(event), 0)?;
        equal("UNREGISTER", sdei::unregister(event), 0)?;
        equal("RELEASE", event::release(event), 0)?;
        writes::mark_nmi(me.index(), line.intid(), false);
        me.register(|_| Finish::complete())?;
        equal("ENABLE", sdei::enable(0), 0)?;
        for times in 1..4 {
            equal("SIGNAL", sdei::signal(me.mpidr()), 0)?;
            me.await_count(times)?;
        }
        check("interrupts arrive", gic::interrupts_work())?;
        equal("UNREGISTER", sdei::unregister(0), 0)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
    }
    Ok(())
}

/// What is marked: an interrupt of this PE's or of the machine's.
#[derive(Clone, Copy)]
enum Source {
    Sgi,
    Line(Line),
}

impl Source {
    fn intid(self) -> IntId {
        match self {
            Self::Sgi => gic::SGI,
            Self::Line(line) => IntId::try_from(line.intid() as u32).unwrap_or(gic::SGI),
        }
    }

    /// Makes it pending on `pe`, which runs this.
    fn raise(self, pe: &Pe) {
        match self {
            Self::Sgi => gic::send(pe),
            Self::Line(line) => {
                let settings = Settings {
                    priority: 0x80,
                    edge: false,
                    route: pe.mpidr(),
                };
                line::set(line.intid(), settings);
                line::enable(line.intid(), true);
                line.raise();
            }
        }
    }

    /// Takes its cause away: it does not come again.
    fn lower(self) {
        if let Self::Line(line) = self {
            line.lower();
            line::enable(line.intid(), false);
        }
    }
}

/// From ICC_IAR1_EL1.
fn acknowledge() -> u64 {
    GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)
        .map_or(0, |intid| intid.raw_value().into())
}

/// What is marked, and the register that it is acknowledged by.
const NMIS: [(Source, fn() -> u64); 4] = [
    (Source::Sgi, acknowledge),
    (Source::Sgi, read_icc_nmiar1_el1),
    (Source::Line(Line::Virtual), acknowledge),
    (Source::Line(Line::Rtc), acknowledge),
];

/// Has an NMI active on `pe`, which runs this, from when it stores 1 to `words[0]` until it finds 1 in `words[1]`.
fn hold_nmi(pe: &'static Pe, nmi: u64) -> Outcome {
    let (source, acknowledge) = NMIS[nmi as usize];
    let intid = source.intid();
    let number = intid.raw_value().into();
    writes::mark_nmi(pe.index(), number, true);
    source.raise(pe);
    wait("the NMI", || acknowledge() == number)?;
    check("the NMI is active", is_nmi_active())?;
    pe.words[0].store(1, Release);
    wait("the end of the signals", || pe.words[1].load(Acquire) == 1)?;
    check("the NMI is still active", is_nmi_active())?;
    source.lower();
    GicCpuInterface::end_interrupt(intid, InterruptGroup::Group1);
    writes::mark_nmi(pe.index(), number, false);
    Ok(())
}

/// Another PE signals event 0 to one on which an NMI of the Normal world is active. QEMU does not drop the priority of
/// a Group 0 interrupt then when it is told to: one that EL3 left raised would keep everything else from this PE.
fn event_0_while_an_nmi_is_active(env: &'static Env) -> Outcome {
    if !has_nmi() {
        return Ok(());
    }
    let pe = env.other(0)?;
    pe.run(|pe, _| pe.listen(|_| Finish::complete()), 0)?;
    for nmi in 0..NMIS.len() {
        pe.handling.set(|_| Finish::complete());
        pe.words[0].store(0, Release);
        pe.words[1].store(0, Release);
        let signal = |times| {
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
            pe.await_count(times)
        };
        pe.start(hold_nmi, nmi as u64)?;
        wait("an active NMI", || pe.words[0].load(Acquire) == 1)?;
        signal(1)?;
        signal(2)?;
        pe.words[1].store(1, Release);
        pe.finish()?;
        for times in 3..6 {
            signal(times)?;
        }
        pe.run(|_, _| check("interrupts arrive", gic::interrupts_work()), 0)?;
    }
    pe.run(
        |_, _| {
            equal("PE_MASK", sdei::pe_mask(), 1)?;
            equal("UNREGISTER", sdei::unregister(0), 0)
        },
        0,
    )
}
