//! The services of this image: one SDEI dispatcher and one PSCI state machine.

use platform::{Platform, PsciPort, SdeiInterrupts, SdeiPes, SdeiPort, board, board::Board};
use psci::Psci;
use sdei::{Dispatcher, SharedPe};

static SHARED_PES: [SharedPe; Board::MAX_PES] = [const { SharedPe::new() }; Board::MAX_PES];

/// What the PEs share, where it is known when the image is built.
#[derive(Debug)]
pub struct SharedPes;

impl AsRef<[SharedPe]> for SharedPes {
    #[inline(always)]
    fn as_ref(&self) -> &[SharedPe] {
        &SHARED_PES
    }
}

/// SDEI (Arm DEN0054).
pub static SDEI: Dispatcher<
    SdeiPort<Board>,
    SharedPes,
    SdeiInterrupts<Board>,
    { board::PRIVATE_EVENTS },
    { board::SHARED_EVENTS },
> = Dispatcher::with_interrupts(
    board::EVENTS,
    SharedPes,
    sdei_aarch64::El3(SdeiPes::new()),
    SdeiInterrupts::new(),
);

static PSCI_PORT: PsciPort<Board> = PsciPort::new();
// No cluster is without a PE.
static PSCI_CLUSTERS: [psci::Domain; Board::MAX_PES] =
    [const { psci::Domain::new() }; Board::MAX_PES];
static PSCI_PES: [psci::Pe; Board::MAX_PES] = [const { psci::Pe::new() }; Board::MAX_PES];

/// PSCI (Arm DEN0022).
pub static PSCI: Psci<'static, PsciPort<Board>> = Psci::new(&PSCI_PORT, &PSCI_PES, &PSCI_CLUSTERS);
