//! The services of this image: one SDEI dispatcher and one PSCI state machine.

use platform::{Platform, Ports, board, board::Board};
use psci::Psci;
use sdei::{Dispatcher, SharedPe};
use sdei_aarch64::El3;

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
    El3<Ports<Board>>,
    SharedPes,
    Ports<Board>,
    { board::PRIVATE_EVENTS },
    { board::SHARED_EVENTS },
> = Dispatcher::with_interrupts(board::EVENTS, SharedPes, El3(Ports::new()), Ports::new());

static PSCI_PORT: Ports<Board> = Ports::new();
// No cluster is without a PE.
static PSCI_CLUSTERS: [psci::Domain; Board::MAX_PES] =
    [const { psci::Domain::new() }; Board::MAX_PES];
static PSCI_PES: [psci::Pe; Board::MAX_PES] = [const { psci::Pe::new() }; Board::MAX_PES];

/// PSCI (Arm DEN0022).
pub static PSCI: Psci<'static, Ports<Board>> = Psci::new(&PSCI_PORT, &PSCI_PES, &PSCI_CLUSTERS);
