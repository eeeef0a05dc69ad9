//! The services of this image: one SDEI dispatcher and one PSCI state machine.

use platform::{Platform, PsciPort, SdeiPort, board, board::Board};
use psci::Psci;
use sdei::{Dispatcher, SharedPe};

static SHARED_PES: [SharedPe; Board::MAX_PES] = [const { SharedPe::new() }; Board::MAX_PES];

/// SDEI (Arm DEN0054).
pub static SDEI: Dispatcher<
    'static,
    SdeiPort<Board>,
    { board::PRIVATE_EVENTS },
    { board::SHARED_EVENTS },
> = Dispatcher::new(board::EVENTS, &SHARED_PES, SdeiPort::new());

static PSCI_PORT: PsciPort<Board> = PsciPort::new();
static PSCI_PES: [psci::Pe; Board::MAX_PES] = [const { psci::Pe::new() }; Board::MAX_PES];

/// PSCI (Arm DEN0022).
pub static PSCI: Psci<'static, PsciPort<Board>> = Psci::new(&PSCI_PORT, &PSCI_PES);
