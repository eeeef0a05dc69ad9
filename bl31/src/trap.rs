//! What reaches EL3 from below and is neither an interrupt nor `SMC #0`: calls
//! that only AArch32 makes, and accesses to what this firmware has not opened,
//! which are UNDEFINED for whoever made them.

use aarch64_cpu::registers::{ELR_EL3, Readable, SPSR_EL3, Writeable};
use arm_sysregs::el1::accessors::write_esr_el1;
use arm_sysregs::el1::registers::EsrEl1;
use arm_sysregs::el2::accessors::{read_hcr_el2, write_esr_el2};
use arm_sysregs::el2::registers::EsrEl2;
use arm_sysregs::el3::accessors::read_esr_el3;
use arm_sysregs::el3::registers::SpsrEl3;
use platform::undefined;
use sdei::{Client, ClientEl};
use sdei_aarch64::{client, client_el, control, exlock_enabled, take_exception, vbar};

use crate::handover;
use crate::pe::PeData;
use crate::smc::{NOT_SUPPORTED, smc_from_aarch32};

/// Exception classes (Arm ARM, ESR_EL3.EC).
const EC_SMC32: u8 = 0x13;
const EC_SMC64: u8 = 0x17;

/// An ESR with EC 0 (unknown reason) for a 32-bit instruction.
const ESR_UNDEFINED: u64 = 1 << 25;

/// Serves a synchronous exception from below EL3 that is no `SMC #0` from AArch64.
pub extern "C" fn synchronous(pe: &mut PeData) {
    let esr = read_esr_el3();
    let immediate = esr.iss() & 0xffff;
    match esr.ec() {
        EC_SMC32 if immediate == 0 => smc_from_aarch32(pe),
        // Only `SMC #0` is a call (DEN0028 2.4).
        EC_SMC32 | EC_SMC64 => pe.frame.x[0] = NOT_SUPPORTED as u64,
        _ => inject_undefined(),
    }
}

/// Makes it look as if the instruction at ELR_EL3 had been UNDEFINED where it
/// was executed.
fn inject_undefined() {
    let (pc, spsr) = (ELR_EL3.get(), SPSR_EL3.get());
    let el = target(spsr);
    take_exception(el, pc, spsr);
    match el {
        ClientEl::El1 => write_esr_el1(EsrEl1::from_bits_retain(ESR_UNDEFINED)),
        ClientEl::El2 => write_esr_el2(EsrEl2::from_bits_retain(ESR_UNDEFINED)),
    }
    ELR_EL3.set(vbar(el).wrapping_add(undefined::vector_offset(el, spsr)));
    let client = Client { el, ..client() };
    let pstate = client.exception_pstate(spsr, control(el), || exlock_enabled(el));
    SPSR_EL3.set(pstate);
}

/// The EL that an UNDEFINED instruction is taken to.
fn target(spsr: u64) -> ClientEl {
    match client_el() {
        ClientEl::El1 => ClientEl::El1,
        ClientEl::El2 => undefined::target(spsr, read_hcr_el2()),
    }
}

/// An exception return of EL3's was an illegal one: the Normal world has changed the
/// state of its ELs since it was interrupted (HCR_EL2.TGE, say), or never had the
/// one that it asked for. EL3 is where it was, with PSTATE.IL set and the PC that
/// was to be returned to, and has taken an exception for that or for an interrupt.
///
/// Returns to the client EL in that state: there it is the Illegal Execution state
/// exception that such a return from EL2 itself would have ended in.
pub extern "C" fn illegal_return() {
    /// What such a return takes from the SPSR (Arm ARM, 'Illegal return events').
    const KEPT: u64 = 0xf << 28 | 0xf << 6;
    let mode = handover::mode(client_el());
    SPSR_EL3.set(SPSR_EL3.get() & KEPT | (SpsrEl3::IL | mode).bits());
}
