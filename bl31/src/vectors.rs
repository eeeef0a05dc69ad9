//! The exception vectors of EL3.
//!
//! From below EL3 an SMC or an FIQ comes with SP_EL3 at the PE's
//! [`PeData`], the frame first: store, call, load, return.
//! Anything else from below goes to [`trap`](crate::trap), and so does what follows
//! an illegal exception return; anything else from EL3 itself is a bug and goes to
//! [`crash`](crate::crash).

use core::arch::global_asm;
use core::mem::offset_of;

use arm_sysregs::el3::registers::SpsrEl3;

use crate::crash::Dump;
use crate::memory::memory_function;
use crate::pe::{CRASH_STACK, CRASH_STACK_SIZE, Frame, PeData, Stack};

const _: () = assert!(offset_of!(PeData, frame) == 0);

/// ESR_EL3 of an `SMC #0` in AArch64 state: EC 0x17, IL, ISS 0.
const SMC64_0: u32 = 0x17 << 26 | 1 << 25;

global_asm!(
    r#"
    .macro  save
    stp     x0, x1, [sp, #{x} + 0]
    stp     x2, x3, [sp, #{x} + 16]
    stp     x4, x5, [sp, #{x} + 32]
    stp     x6, x7, [sp, #{x} + 48]
    stp     x8, x9, [sp, #{x} + 64]
    stp     x10, x11, [sp, #{x} + 80]
    stp     x12, x13, [sp, #{x} + 96]
    stp     x14, x15, [sp, #{x} + 112]
    stp     x16, x17, [sp, #{x} + 128]
    stp     x18, x30, [sp, #{x18}]
    .endm

    .macro  leave
    eret
    // What follows an exception return must not be speculated into, with the
    // registers that the Normal world gave. Never executed.
    dsb     nsh
    isb
    .endm

    .macro  restore
    ldp     x0, x1, [sp, #{x} + 0]
    ldp     x2, x3, [sp, #{x} + 16]
    ldp     x4, x5, [sp, #{x} + 32]
    ldp     x6, x7, [sp, #{x} + 48]
    ldp     x8, x9, [sp, #{x} + 64]
    ldp     x10, x11, [sp, #{x} + 80]
    ldp     x12, x13, [sp, #{x} + 96]
    ldp     x14, x15, [sp, #{x} + 112]
    ldp     x16, x17, [sp, #{x} + 128]
    ldp     x18, x30, [sp, #{x18}]
    leave
    .endm

    // An exception of EL3's own: scratch goes to registers of the Normal
    // world, which this PE does not return to.
    .macro  own number
    .balign 0x80
    msr     tpidr_el3, x0
    mov     x0, #\number
    b       own_exception
    .endm

    // The same, but for what comes right after an exception return of EL3's that
    // was an illegal one: PSTATE.IL was set then, and nothing else sets it in EL3.
    .macro  own_or_illegal number
    .balign 0x80
    msr     tpidr_el3, x0
    mrs     x0, spsr_el3
    tbz     x0, #{il}, 1f
    b       illegal
1:  mov     x0, #\number
    b       own_exception
    .endm

    // Most vectors are a few instructions, and the room behind them is code's that
    // has no need to be elsewhere.
    .section .vectors, "ax"
    .balign 0x800
    .global vectors
vectors:
    own     0
own_exception:
    // Registers of the Normal world, which this PE does not return to.
    msr     sp_el0, x1
    msr     tpidr_el0, x2
    msr     tpidrro_el0, x3
    // Without the MMU exclusive accesses need not work, and only one PE gets here.
    mrs     x1, sctlr_el3
    tbz     x1, #0, 3f
    // One report at a time: nobody's is 0, a PE's its MPIDR, in which bit 31 is set,
    // and 1 remains of one that failed.
    ldr     x1, =crash_reporter
    mrs     x3, mpidr_el1
1:  ldaxr   x2, [x1]
    cmp     x2, x3
    b.eq    crashed_again
    cbz     x2, 2f
    wfe
    b       1b
2:  stxr    w2, x3, [x1]
    cbnz    w2, 1b
3:
    mov     x1, sp
    ldr     x2, ={crash_stack} + {crash_stack_end} - {dump_size}
    mov     sp, x2
    str     x0, [sp, #{d_vector}]
    str     x1, [sp, #{d_sp}]
    mrs     x0, tpidr_el3
    mrs     x1, sp_el0
    mrs     x2, tpidr_el0
    mrs     x3, tpidrro_el0
    b       report

    own     1
report:
    stp     x0, x1, [sp, #{d_x} + 0]
    stp     x2, x3, [sp, #{d_x} + 16]
    stp     x4, x5, [sp, #{d_x} + 32]
    stp     x6, x7, [sp, #{d_x} + 48]
    stp     x8, x9, [sp, #{d_x} + 64]
    stp     x10, x11, [sp, #{d_x} + 80]
    stp     x12, x13, [sp, #{d_x} + 96]
    stp     x14, x15, [sp, #{d_x} + 112]
    stp     x16, x17, [sp, #{d_x} + 128]
    stp     x18, x19, [sp, #{d_x} + 144]
    stp     x20, x21, [sp, #{d_x} + 160]
    stp     x22, x23, [sp, #{d_x} + 176]
    stp     x24, x25, [sp, #{d_x} + 192]
    stp     x26, x27, [sp, #{d_x} + 208]
    stp     x28, x29, [sp, #{d_x} + 224]
    str     x30, [sp, #{d_x} + 240]
    mov     x0, sp
    bl      {crash}
    ldr     x1, =crash_reporter
    stlr    xzr, [x1]
1:  wfi
    b       1b

    own     2
    // This PE's report caused an exception itself.
crashed_again:
    mov     x2, #1
    str     x2, [x1]
    ldr     x2, ={crash_stack} + {crash_stack_end}
    mov     sp, x2
    bl      {crash_again}
1:  wfi
    b       1b
    .ltorg

    own     3
    // The registers are the Normal world's, and SP_EL3 is at the frame.
illegal:
    mrs     x0, tpidr_el3
    save
    bl      {illegal_return}
    b       exit

    own_or_illegal 4
    "#,
    memory_function!(memset),
    r#"
    own_or_illegal 5
    "#,
    memory_function!(bcmp),
    r#"
    own_or_illegal 6
    own_or_illegal 7

    // From AArch64: synchronous.
    .balign 0x80
    save
    mrs     x1, esr_el3
    mov     w2, #{smc64_0}
    cmp     w1, w2
    b.ne    other_synchronous
    mov     x0, sp
    bl      {smc}
    restore

    // IRQ: not routed to EL3.
    own     9
other_synchronous:
    mov     x0, sp
    bl      {synchronous}
    // Falls through.

    .global exit
exit:
    restore

    // FIQ: Group 0.
    .balign 0x80
    save
    mov     x0, sp
    bl      {fiq}
    restore

    // SError: not routed to EL3.
    own     11
    // Leaves EL3 for an entry point: x0 is the PE's data. What Rust has in the
    // registers is EL3's own, or of what the PE did before.
    .global enter_normal_world
enter_normal_world:
    mov     sp, x0
    ldr     x0, [sp, #{x}]
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    mov     x4, xzr
    mov     x5, xzr
    mov     x6, xzr
    mov     x7, xzr
    mov     x8, xzr
    mov     x9, xzr
    mov     x10, xzr
    mov     x11, xzr
    mov     x12, xzr
    mov     x13, xzr
    mov     x14, xzr
    mov     x15, xzr
    mov     x16, xzr
    mov     x17, xzr
    mov     x18, xzr
    mov     x19, xzr
    mov     x20, xzr
    mov     x21, xzr
    b       enter_cleared

    // From AArch32: the same.
    .balign 0x80
    save
    b       other_synchronous

    own     13
enter_cleared:
    mov     x22, xzr
    mov     x23, xzr
    mov     x24, xzr
    mov     x25, xzr
    mov     x26, xzr
    mov     x27, xzr
    mov     x28, xzr
    mov     x29, xzr
    mov     x30, xzr
    leave

    .balign 0x80
    save
    mov     x0, sp
    bl      {fiq}
    restore
    own     15
    "#,
    memory_function!(memcpy),
    r#"
    .balign 0x80
    .global vectors_end
vectors_end:

    .section .bss.crash_reporter, "aw", %nobits
    .balign 8
crash_reporter:
    .zero   8
    "#,
    x = const offset_of!(Frame, x),
    x18 = const offset_of!(Frame, x18),
    smc64_0 = const SMC64_0,
    smc = sym crate::smc::smc,
    fiq = sym crate::interrupt::fiq,
    synchronous = sym crate::trap::synchronous,
    illegal_return = sym crate::trap::illegal_return,
    il = const SpsrEl3::IL.bits().trailing_zeros(),
    crash = sym crate::crash::exception,
    crash_again = sym crate::crash::again,
    crash_stack = sym CRASH_STACK,
    crash_stack_end = const size_of::<Stack<CRASH_STACK_SIZE>>(),
    dump_size = const size_of::<Dump>(),
    d_x = const offset_of!(Dump, x),
    d_sp = const offset_of!(Dump, sp),
    d_vector = const offset_of!(Dump, vector),
);

const _: () = assert!(offset_of!(Frame, x30) == offset_of!(Frame, x18) + 8);
const _: () = assert!(size_of::<Dump>().is_multiple_of(16));

// `PeData` is only an address there: the assembly looks at its frame alone.
#[allow(improper_ctypes)]
unsafe extern "C" {
    /// Enters the Normal world with the frame's x0 and nothing in the other
    /// registers, at ELR_EL3 with SPSR_EL3. SP_EL3 is at the frame from then on.
    ///
    /// # Safety
    ///
    /// `pe` is this PE's slot, initialised, and ELR_EL3, SPSR_EL3 and SCR_EL3
    /// are those of a Non-secure EL. Everything on the current stack is given up.
    pub fn enter_normal_world(pe: *mut PeData) -> !;
}
