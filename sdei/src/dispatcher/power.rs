//! Where PSCI meets the dispatcher (DEN0054 4.5): a PE comes on, goes off, sleeps.

use super::Dispatcher;
use crate::{
    Error, Pe, Port,
    pe::Here,
    pstate::Rules,
    sync::{Ordering, fence},
};

impl<'a, P: Port, const PRIVATE: usize, const SHARED: usize> Dispatcher<'a, P, PRIVATE, SHARED> {
    /// This PE, number `index`, was turned on (or is the one that booted): nothing is registered
    /// or pending here, and it is masked. To be called before it enters the Normal world.
    ///
    /// A PE without a number in the dispatcher (`index` beyond the slice given to
    /// [`Dispatcher::new`]) gets [`Error::NotSupported`] from each call.
    pub fn pe_on(&self, pe: &mut Pe<'a, PRIVATE>, index: usize) {
        // A PE that was reset without going off first has things to leave.
        self.pe_off(pe);
        let Some(here) = self.pes.get(index) else {
            return;
        };
        pe.index = index;
        pe.here = Here(Some(here));
        pe.rules = Rules::new(self.port.client());
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
    pub fn pe_off(&self, pe: &mut Pe<'_, PRIVATE>) {
        let Here(Some(here)) = pe.here else {
            return;
        };
        self.set_on(pe.index, false);
        pe.masked = true;
        self.abandon(pe);
        self.unregister_all_private(pe, here);
        self.tend_all(pe.index);
        pe.index = usize::MAX;
        pe.here = Here(None);
        pe.rules = Rules::OFF;
    }

    /// PE number `index` has failed in EL3 and never leaves it: from now on signals to it are
    /// [`Error::InvalidParameters`], it is not asked to take shared events, and no interrupt is
    /// sent to it that was not before.
    ///
    /// Takes neither the [`Pe`], which may be inconsistent, nor a lock, which the PE may hold, and
    /// asks nothing of the [`Port`]. So what only a lock's holder may change is changed when
    /// another PE next holds it: the interrupts of RM_ANY events go elsewhere when a PE comes on
    /// or goes off, and a question that the PE has not answered goes on to the next PE when
    /// another looks at the event. A shared handler that runs there never ends, and a lock that
    /// the PE holds is never released: event 0, which needs none, works on.
    pub fn pe_failed(&self, index: usize) {
        if let Some(pe) = self.pes.get(index) {
            pe.unregister_event0();
            self.set_on(index, false);
        }
    }

    /// This PE is about to be suspended with its context lost (`CPU_SUSPEND` to a power-down
    /// state, `SYSTEM_SUSPEND`). Nothing changes; registrations survive, and so does what is
    /// pending. Standby needs no call.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] from inside a handler.
    pub fn pe_suspend(&self, pe: &Pe<'_, PRIVATE>) -> Result<(), Error> {
        if pe.is_in_handler() {
            Err(Error::Denied)
        } else {
            Ok(())
        }
    }

    /// This PE woke from a power-down: it is masked.
    pub fn pe_resume(&self, pe: &mut Pe<'_, PRIVATE>) {
        pe.masked = true;
    }
}
