//! The skeleton of an EL3 firmware around the dispatcher: what its exception vectors call, and
//! what is behind the port.
//!
//! It runs on the host, so there is no hardware: where a firmware would access a register, a
//! comment names it. `main` plays the client.

use std::sync::atomic::{AtomicBool, Ordering};

use sdei::{
    Client, ClientEl, Control, Dispatcher, Event, Events, Features, Frame, Owner, Pe, Port,
    Priority, REGISTERS, SharedPe, call,
};

const PES: usize = 2;
/// SGIs 8 to 15 are EL3's by convention.
const SGI: u32 = 8;
/// The event by which the firmware reports hardware errors.
const HARDWARE_ERROR: i32 = 804;

/// The platform's events. A table that can't be right does not compile.
const EVENTS: Events<5, 3> = Events::new(
    [
        Event::SIGNAL,
        Event::explicit(HARDWARE_ERROR, Priority::Critical),
        Event::dynamic(1000, Priority::Normal),
        Event::dynamic(1001, Priority::Normal),
        Event::dynamic(1002, Priority::Normal),
    ],
    [
        Event::dynamic(2000, Priority::Normal),
        Event::dynamic(2001, Priority::Normal),
        Event::dynamic(2002, Priority::Normal),
    ],
);

static SHARED: [SharedPe; PES] = [const { SharedPe::new() }; PES];
static SDEI: Dispatcher<Hardware, 5, 3> = Dispatcher::new(EVENTS, &SHARED, Hardware);

/// What a PE finds by `TPIDR_EL3`. The vector saves the interrupted registers at its start.
struct PeData {
    frame: Saved,
    sdei: Pe<'static, 5>,
}

struct Saved {
    x: [u64; REGISTERS],
    /// `ELR_EL3` and `SPSR_EL3`; a firmware leaves them in their registers.
    elr: u64,
    spsr: u64,
}

impl Frame for Saved {
    fn x(&self) -> &[u64; REGISTERS] {
        &self.x
    }
    fn x_mut(&mut self) -> &mut [u64; REGISTERS] {
        &mut self.x
    }
    fn pc(&self) -> u64 {
        self.elr
    }
    fn pstate(&self) -> u64 {
        self.spsr
    }
    fn set_return(&mut self, pc: u64, pstate: u64) {
        (self.elr, self.spsr) = (pc, pstate);
    }
}

/// Synchronous exception from a lower EL, `ESR_EL3.EC` says SMC.
fn smc(pe: &mut PeData) {
    let function = pe.frame.x[0] as u32;
    match function {
        _ if call::is_sdei(function) => SDEI.call(&mut pe.sdei, &mut pe.frame),
        // PSCI's CPU_OFF: leave the dispatcher, then power down.
        0x8400_0002 => SDEI.pe_off(&mut pe.sdei),
        _ => pe.frame.x[0] = u64::MAX,
    }
}

/// FIQ from a lower EL: an interrupt of Group 0.
fn fiq(pe: &mut PeData, intid: u32) {
    // Read ICC_IAR0_EL1 for the INTID, write it to ICC_EOIR0_EL1 to drop the priority, and have
    // a barrier before anything another PE has written is read.
    if intid == SGI {
        // Write it to ICC_DIR_EL1, too: the SGI is at its end.
        SDEI.signalled(&mut pe.sdei, &mut pe.frame);
    } else if !SDEI.interrupt(&mut pe.sdei, &mut pe.frame, intid) {
        // No event's: a driver of the firmware's own, or nobody's. Write it to ICC_DIR_EL1.
    }
}

/// A hardware error came to EL3 as an SError: the client is to know.
fn hardware_error(pe: &mut PeData) {
    if let Err(error) = SDEI.raise(&mut pe.sdei, &mut pe.frame, HARDWARE_ERROR) {
        println!("no client wants to hear of the error: {error}");
    }
}

/// The SGI on its way to each PE.
static SGIS: [AtomicBool; PES] = [const { AtomicBool::new(false) }; PES];

struct Hardware;

impl Port for Hardware {
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        usize::try_from(affinity & 0xff_00ff_ffff)
            .ok()
            .filter(|&index| index < PES)
    }
    fn notify(&self, pe: usize) {
        // DSB ISH, then write ICC_SGI0R_EL1.
        SGIS[pe].store(true, Ordering::Release);
    }
    fn client(&self) -> Client {
        Client {
            // ID_AA64PFR0_EL1.EL2.
            el: ClientEl::El2,
            // ID_AA64MMFR1_EL1.PAN, ID_AA64PFR1_EL1.{SSBS, MTE, NMI, GCS}.
            features: Features::default(),
        }
    }
    fn control(&self, _el: ClientEl) -> Control {
        // SCTLR_EL2; HCR_EL2.E2H and TGE.
        Control {
            sctlr: 0,
            host: false,
        }
    }
    fn exlock_enabled(&self, _el: ClientEl) -> bool {
        false // GCSCR_EL2.EXLOCKEN
    }
    fn vbar(&self, _el: ClientEl) -> u64 {
        0 // VBAR_EL2
    }
    fn take_exception(&self, _el: ClientEl, _elr: u64, _spsr: u64) {
        // ELR_EL2 and SPSR_EL2.
    }

    // PPIs are in this PE's GICR_* registers, SPIs in GICD_*.
    fn owner(&self, _intid: u32) -> Option<Owner> {
        // IGROUPR and IGRPMODR; None beyond GICD_TYPER.ITLinesNumber.
        Some(Owner::NonSecure)
    }
    fn is_active(&self, _intid: u32) -> bool {
        false // ISACTIVER
    }
    fn claim(&self, _intid: u32) {
        // ICENABLER, wait for RWP, IGROUPR and IGRPMODR to Group 0, IPRIORITYR.
    }
    fn give_back(&self, _intid: u32) {
        // ICENABLER, wait for RWP, IGROUPR to Non-secure Group 1.
    }
    fn route(&self, _intid: u32, _pe: usize) {
        // GICD_IROUTER.
    }
    fn enable(&self, _intid: u32) {
        // ISENABLER.
    }
    fn disable(&self, _intid: u32) {
        // ICENABLER, wait for RWP.
    }
    fn clear_pending(&self, _intid: u32) {
        // ICPENDR.
    }
    fn is_asserted(&self, _intid: u32) -> bool {
        true // edge in ICFGR, or ISPENDR
    }
    fn deactivate(&self, _intid: u32) {
        // ICACTIVER, from whichever PE.
    }
}

/// Where the client's handlers are.
const HANDLER: u64 = 0xffff_8000_0010_0000;
const ERROR_HANDLER: u64 = 0xffff_8000_0020_0000;

fn main() {
    let el2h = 0b1001;
    let mut pes: [PeData; PES] = std::array::from_fn(|_| PeData {
        frame: Saved {
            x: [0; REGISTERS],
            elr: 0x8000_0000,
            spsr: el2h,
        },
        sdei: Pe::new(),
    });
    // Each PE as it comes on, before it leaves EL3 for the first time.
    for (index, pe) in pes.iter_mut().enumerate() {
        SDEI.pe_on(&mut pe.sdei, index);
    }
    let call = |pe: &mut PeData, args: &[u64]| {
        pe.frame.x[..args.len()].copy_from_slice(args);
        smc(pe);
        pe.frame.x[0]
    };
    let error_event = HARDWARE_ERROR.cast_unsigned().into();
    for pe in &mut pes {
        for (event, handler) in [(0, HANDLER), (error_event, ERROR_HANDLER)] {
            assert_eq!(call(pe, &[0xc400_0021, event, handler, 0, 0, 0]), 0);
            assert_eq!(call(pe, &[0xc400_0022, event]), 0);
        }
        assert_eq!(call(pe, &[0xc400_002c]), 0);
    }

    assert_eq!(call(&mut pes[0], &[0xc400_002f, 0, 1]), 0);
    assert!(SGIS[1].swap(false, Ordering::Acquire));
    fiq(&mut pes[1], SGI);
    assert_eq!(pes[1].frame.elr, HANDLER);
    println!("PE 0 signalled event 0, PE 1 is in its handler");

    hardware_error(&mut pes[1]);
    assert_eq!(pes[1].frame.elr, ERROR_HANDLER);
    println!("an error preempted it with a Critical event");

    call(&mut pes[1], &[0xc400_0025]);
    assert_eq!(pes[1].frame.elr, HANDLER);
    call(&mut pes[1], &[0xc400_0025]);
    assert_eq!((pes[1].frame.elr, pes[1].frame.spsr), (0x8000_0000, el2h));
    println!("both completed, and the client goes on where it was");
}
