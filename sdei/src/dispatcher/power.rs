// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where PSCI meets the dispatcher (DEN0054 4.5): a PE comes on, goes off, sleeps.

use super::Dispatcher;
use crate::{
    Interrupts, Pe, Port, SharedPe,
    port::AFFINITY,
    pstate::Rules,
    sync::{Ordering, fence},
};

impl<P: Port, S: AsRef<[SharedPe]>, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    /// This PE was turned on (or is the one that booted): nothing is registered or pending here,
    /// and it is masked. To be called before it enters the Normal world. `mpidr` is its MPIDR_EL1,
    /// of which the affinity counts.
    ///
    /// A PE of which [`Port::pe_index`] knows nothing, or whose index is beyond the [`SharedPe`]s,
    /// gets [`NotSupported`](crate::Error::NotSupported) from each call.
    pub fn pe_on<const N: usize>(&self, pe: &mut Pe<N, I::Saved>, mpidr: u64) {
        const { assert!(N >= PRIVATE, "a PE has room for each private event") };
        // A PE that was reset without going off first has things to leave.
        self.pe_off(pe);
        let affinity = mpidr & AFFINITY;
        let Some(index) = self.port.pe_index(affinity) else {
            return;
        };
        let Some(here) = self.pes.as_ref().get(index) else {
            return;
        };
        pe.index = index;
        pe.rules = Rules::new(self.port.client());
        here.set_affinity(affinity);
        self.set_on(index, true);
        // With the fence in `next_on`: see there.
        fence(Ordering::SeqCst);
        if self.has_routes.load(Ordering::Relaxed) {
            self.tend_all(index);
        }
    }

    /// This PE is on its way off (`CPU_OFF`), perhaps from inside a handler, which is abandoned:
    /// unregisters its private events, gives their interrupts back, drops what is pending for
    /// them and sends the interrupts of RM_ANY events to another PE: to one that is on, or to the
    /// next that comes on. Shared events of RM_PE stay as they are and wait for the PE, or for
    /// another routing.
    ///
    /// This can't be taken back, so it comes after the last point at which `CPU_OFF` can be
    /// refused. Where the PE then does not go off after all, it is as one that was never on:
    /// [`Dispatcher::pe_on`] makes it one that has just come on.
    pub fn pe_off<const N: usize>(&self, pe: &mut Pe<N, I::Saved>) {
        if self.here(pe).is_none() {
            return;
        }
        self.set_on(pe.index, false);
        pe.masked = true;
        self.abandon(pe);
        self.unregister_all_private(pe, !I::PPIS_START_ANEW);
        self.tend_all(pe.index);
        pe.index = usize::MAX;
        pe.rules = Rules::OFF;
    }

    /// The PE with this MPIDR_EL1, of which the affinity counts, has failed in EL3 and never leaves
    /// it: from now on signals to it are refused, it is not asked to take
    /// shared events, and no interrupt is sent to it that was not before.
    ///
    /// Takes neither the [`Pe`], which may be inconsistent, nor a lock, which the PE may hold, and
    /// asks nothing of the [`Port`] but the PE's index. So what only a lock's holder may change is changed when
    /// another PE next holds it: the interrupts of RM_ANY events go elsewhere when a PE comes on
    /// or goes off, and a question that the PE has not answered goes on to the next PE when
    /// another looks at the event. A shared handler that runs there never ends, and a lock that
    /// the PE holds is never released: event 0, which needs none, works on.
    pub fn pe_failed(&self, mpidr: u64) {
        let Some(index) = self.port.pe_index(mpidr & AFFINITY) else {
            return;
        };
        if let Some(pe) = self.pes.as_ref().get(index) {
            pe.unregister_event0();
            self.set_on(index, false);
        }
    }

    /// Whether this PE may be suspended with its context lost (`CPU_SUSPEND` to a power-down
    /// state, `SYSTEM_SUSPEND`): not from inside a handler. The answer to the client is DENIED
    /// then. Nothing changes; registrations survive the suspend, and so does what is pending.
    /// Standby needs no call, and neither does a power-down that was abandoned before the PE lost
    /// its context.
    #[must_use]
    pub const fn may_suspend<const N: usize>(&self, pe: &Pe<N, I::Saved>) -> bool {
        !pe.is_in_handler()
    }

    /// This PE woke from a power-down: it is masked.
    pub const fn pe_resume<const N: usize>(&self, pe: &mut Pe<N, I::Saved>) {
        pe.masked = true;
    }
}
