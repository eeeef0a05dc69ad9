//! `stage=crash`: EL3 crashes on one PE after the other, and what the others see of it. A crash can't be had through
//! the firmware's calls; its test timer's call has it on request.

use crate::arch::Code;
use crate::check::{Outcome, equal, wait};
use crate::event::arm_timer;
use crate::machine::Machine;
use crate::pe::{Finish, Pe};
use crate::psci::{self, OFF};
use crate::tests::Env;
use crate::{say, sdei};

/// In place of an event's number: crash.
const CRASH: u64 = i32::MIN as u32 as u64;

const INTERNAL_FAILURE: i64 = -6;
const INVALID_PARAMETERS: i64 = -2;

/// Goes through it. The firmware's reports go to this console, too, so nothing is said meanwhile.
pub fn run(machine: &'static Machine) {
    let env = Env::new(machine);
    let outcome = crashes(env);
    let (passed, failed) = match outcome {
        Ok(()) => {
            say!("ok crash.the_others_go_on");
            (1, 0)
        }
        Err(why) => {
            say!("not ok crash.the_others_go_on: {why}");
            (0, 1)
        }
    };
    say!("payload: {passed} passed, {failed} failed");
}

fn crashes(env: &'static Env) -> Outcome {
    env.all_on()?;
    for pe in env.others() {
        pe.run(|pe, _| pe.listen(|_| Finish::complete()), 0)?;
    }
    let mut dead = 0;
    // All but one, so that two more are there to see the first.
    for victim in env.others().skip(1) {
        signalled(env, dead)?;
        victim.start(
            |_, _| {
                arm_timer(CRASH, 0);
                crate::check::fail("the firmware did not crash")
            },
            0,
        )?;
        // It is off once the report has been written.
        wait("signals to a PE that crashed are accepted", || {
            sdei::signal(victim.mpidr()) == INVALID_PARAMETERS
        })?;
        equal("AFFINITY_INFO", psci::affinity_info(victim.mpidr(), 0), OFF)?;
        let again = psci::cpu_on(victim.mpidr(), Code::Secondary.address(), 0);
        equal("CPU_ON", again, INTERNAL_FAILURE)?;
        dead += 1;
    }
    signalled(env, dead)
}

/// Event 0 reaches every PE that is left: the first of the others, and those behind the dead ones.
fn signalled(env: &'static Env, dead: usize) -> Outcome {
    let alive = |(number, _): &(usize, &'static Pe)| *number == 0 || *number > dead;
    for (_, pe) in env.others().enumerate().filter(alive) {
        let before = pe.handling.count();
        equal("EVENT_SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(before + 1)?;
    }
    Ok(())
}
