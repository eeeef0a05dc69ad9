// SPDX-License-Identifier: MIT OR Apache-2.0

//! The handler's states, one by one.

use crate::{
    Error,
    handler::{Handler, Unregistered},
};

use Handler::{
    Enabled, EnabledRunning, Registered, RegisteredRunning, UnregisterPending,
    Unregistered as None_,
};

const DENIED: Result<Handler, Error> = Err(Error::Denied);

type Row = (
    Handler,
    u64,
    [Result<Handler, Error>; 3],
    Result<(Handler, Unregistered), Error>,
    Option<Handler>,
    Handler,
);

/// State, status, and what each transition makes of it: register, enable, disable, unregister,
/// dispatch, complete.
#[rustfmt::skip]
const TABLE: [Row; 6] = [
    (None_, 0b000, [Ok(Registered), DENIED, DENIED], Err(Error::Denied), None, None_),
    (Registered, 0b001, [DENIED, Ok(Enabled), Ok(Registered)], Ok((None_, Unregistered::Now)), None, Registered),
    (Enabled, 0b011, [DENIED, Ok(Enabled), Ok(Registered)], Ok((None_, Unregistered::Now)), Some(EnabledRunning), Enabled),
    (RegisteredRunning, 0b101, [DENIED, Ok(EnabledRunning), Ok(RegisteredRunning)], Ok((UnregisterPending, Unregistered::AtCompletion)), None, Registered),
    (EnabledRunning, 0b111, [DENIED, Ok(EnabledRunning), Ok(RegisteredRunning)], Ok((UnregisterPending, Unregistered::AtCompletion)), None, Enabled),
    (UnregisterPending, 0b100, [DENIED, DENIED, DENIED], Ok((UnregisterPending, Unregistered::AtCompletion)), None, None_),
];

#[test]
fn every_transition_of_every_state() {
    for (state, status, [register, enable, disable], unregister, dispatch, complete) in TABLE {
        assert_eq!(state.status(), status, "{state:?}");
        assert_eq!(state.is_registered(), status & 1 != 0, "{state:?}");
        assert_eq!(state.is_running(), status & 4 != 0, "{state:?}");
        assert_eq!(state.is_ready(), status == 0b011, "{state:?}");
        assert_eq!(state.is_unregistered(), status == 0, "{state:?}");
        assert_eq!(state.register(), register, "{state:?}");
        assert_eq!(state.enable(), enable, "{state:?}");
        assert_eq!(state.disable(), disable, "{state:?}");
        assert_eq!(state.unregister(), unregister, "{state:?}");
        assert_eq!(state.dispatch(), dispatch, "{state:?}");
        assert_eq!(state.complete(), complete, "{state:?}");
    }
}
