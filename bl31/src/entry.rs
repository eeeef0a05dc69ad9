//! Reset: the first instructions of every PE, until it has a stack.
//!
//! All PEs may start together, wherever the machine put the image, with MMU
//! and caches off. The one that boots copies the image to where it runs and
//! goes to [`boot_main`](crate::boot_main); the others wait for the board's
//! gate to open, turn the MMU on, look for their slot and go to
//! [`secondary_main`](crate::secondary_main).
//!
//! Where the machine powers PEs down, they come back here. The gate is open
//! then: the machine runs, and whoever finds it so, the PE that booted too, goes
//! the way of the others.

use core::arch::global_asm;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU64, AtomicUsize};

use arm_sysregs::el3::registers::SctlrEl3;
use platform::topology::AFFINITY_MASK;
use platform::{Platform, board::Board};

use crate::mmu::{MMU_REGISTERS, MmuRegisters, SYNCHRONIZED};
use crate::pe::{BOOT_STACK, BOOT_STACK_SIZE, SLOTS, Slot, Stack};
use crate::workarounds::{ARM, CORTEX_A57, CORTEX_A72, NO_LOAD_PASSES_STORE};

const _: () = assert!(CORTEX_A72 == CORTEX_A57 + 1);

/// How many slots are mapped: one for each PE of the machine. Set before the
/// gate opens.
pub static SLOT_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whose each slot is: the affinity fields of the PE with that index. Set before
/// the gate opens.
pub static SLOT_OWNERS: [AtomicU64; Board::MAX_PES] = [const { AtomicU64::new(0) }; Board::MAX_PES];

/// What a PE below EL3 has to say, NUL-terminated. The code that says it runs where
/// the machine put the image, from where this is as far away as where it is linked.
#[unsafe(link_section = ".rodata.reset")]
static NOT_EL3: [u8; NOT_EL3_TEXT.len() + Board::NEEDS_EL3.len() + 3] =
    line(NOT_EL3_TEXT, Board::NEEDS_EL3);

const NOT_EL3_TEXT: &str = "bl31: cannot boot: not started at EL3";

/// What a PE says whose first instructions cause an exception.
#[unsafe(link_section = ".rodata.reset")]
static TOO_EARLY: [u8; TOO_EARLY_TEXT.len() + 3] = line(TOO_EARLY_TEXT, "");

const TOO_EARLY_TEXT: &str = "bl31: cannot boot: exception at reset";

/// The same of a PE in AArch32, where there may be one.
#[unsafe(link_section = ".rodata.reset")]
static NOT_AARCH64: [u8; if MAY_BE_AARCH32 {
    NOT_AARCH64_TEXT.len() + Board::NEEDS_AARCH64.len() + 3
} else {
    0
}] = line(NOT_AARCH64_TEXT, Board::NEEDS_AARCH64);

const NOT_AARCH64_TEXT: &str = "bl31: cannot boot: no AArch64";

const MAY_BE_AARCH32: bool = !Board::NEEDS_AARCH64.is_empty();

/// Two texts as one line, and a NUL.
const fn line<const N: usize>(first: &str, second: &str) -> [u8; N] {
    let mut line = [0; N];
    let (first, second) = (first.as_bytes(), second.as_bytes());
    let mut at = 0;
    while at + 3 < N {
        line[at] = if at < first.len() {
            first[at]
        } else {
            second[at - first.len()]
        };
        at += 1;
    }
    if N > 0 {
        line[at] = b'\r';
        line[at + 1] = b'\n';
    }
    line
}

/// SCTLR_EL3 until the MMU is on: little-endian, no translation, no data cache.
const SCTLR_RESET: u64 = SctlrEl3::RES1.union(SYNCHRONIZED).union(SctlrEl3::I).bits();

global_asm!(
    r#"
    // Invalidates the data cache for the addresses from one symbol to another;
    // x3 is the size of a line.
    .macro  invalidate start, end
    ldr     x1, =\start
    ldr     x2, =\end
1:  dc      ivac, x1
    add     x1, x1, x3
    cmp     x1, x2
    b.lo    1b
    .endm

    .section .text.reset, "ax"
    .global reset
reset:
    .if     {may_be_aarch32}
    // A32: `b reset + 0x84`, to what a PE in AArch32 does. A64: `tst x0, x0`.
    .long   0xea00001f
    .endif
    // Below EL3 there is no more to do than to say so.
    mrs     x0, currentel
    cmp     x0, #(3 << 2)
    b.ne    not_el3
    ldr     x0, ={sctlr_reset}
    msr     sctlr_el3, x0
    // An exception from here on is said, at `reset` + 0x200.
    adr     x0, reset
    msr     vbar_el3, x0
    // What follows is loaded little-endian.
    isb
    // No load passes an older store (CVE-2018-3639) on a Cortex-A57 or A72:
    // they let that be changed only before the MMU is on. The barriers below
    // synchronize it.
    mrs     x0, midr_el1
    ubfx    x1, x0, #24, #8
    cmp     x1, #{arm}
    b.ne    1f
    ubfx    x1, x0, #4, #12
    sub     x1, x1, #{cortex_a57}
    cmp     x1, #1
    b.hi    1f
    mrs     x0, s3_1_c15_c2_0
    orr     x0, x0, #{no_load_passes_store}
    msr     s3_1_c15_c2_0, x0
1:  ldr     x2, ={gate}
    ldr     w1, [x2]
    tbnz    w1, #0, 6f
    mrs     x0, mpidr_el1
    ldr     x1, ={affinity_mask}
    and     x0, x0, x1
    ldr     x1, ={boot_affinity}
    cmp     x0, x1
    b.eq    2f

    // Wait for the gate to open. Who opens it sends an event.
5:  ldr     w1, [x2]
    tbnz    w1, #0, 6f
    wfe
    b       5b

    .if     {may_be_aarch32}
    // A32, in Secure SVC mode. The PE that boots says why it doesn't.
    .org    reset + 0x84
    .long   0xee100fb0              //     mrc   p15, 0, r0, c0, c0, 5  (MPIDR)
    .long   0xe1b00400              //     lsls  r0, r0, #8
    .long   0x1a000006              //     bne   2f
    .long   0xe59f101c              //     ldr   r1, 3f
    .long   0xe59f001c              //     ldr   r0, 4f
    .long   0xe08f0000              //     add   r0, pc, r0  (pc: two instructions on)
    .long   0xe4d02001              // 1:  ldrb  r2, [r0], #1
    .long   0xe3520000              //     cmp   r2, #0
    .long   0x15c12000              //     strbne r2, [r1]
    .long   0x1afffffb              //     bne   1b
    .long   0xe320f003              // 2:  wfi
    .long   0xeafffffd              //     b     2b
    .long   {raw_uart}              // 3:
    .long   {not_aarch64} - . + 0x18 // 4:  from what pc is in the add
    .endif

    // What caches hold from before of all that is written below must neither be
    // written back over it nor be found once they are on. With the data cache
    // off nothing is added to them until then.
2:  mrs     x3, ctr_el0
    ubfx    x3, x3, #16, #4
    mov     x5, #4
    lsl     x3, x5, x3
    invalidate __text_start, __boot_stack_end
    invalidate __bss_start, __bss_end
    // Done before the first store.
    dsb     sy

    // x0: where the image is; x1 to x2: where it runs; x4: the end of .bss.
    adr     x0, reset
    ldr     x1, =__data_offset
    add     x6, x0, x1
    ldr     x1, =__text_start
    ldr     x2, =__code_end
    cmp     x0, x1
    b.eq    2f
    mov     x3, x1
1:  ldp     x4, x5, [x0], #16
    stp     x4, x5, [x3], #16
    cmp     x3, x2
    b.lo    1b
2:  ldr     x3, =__data_start
    ldr     x2, =__data_end
1:  cmp     x3, x2
    b.hs    2f
    ldp     x4, x5, [x6], #16
    stp     x4, x5, [x3], #16
    b       1b
2:  ldr     x3, =__bss_start
    ldr     x4, =__bss_end
    // Whole pages.
3:  stp     xzr, xzr, [x3]
    stp     xzr, xzr, [x3, #16]
    stp     xzr, xzr, [x3, #32]
    stp     xzr, xzr, [x3, #48]
    add     x3, x3, #64
    cmp     x3, x4
    b.lo    3b

    // With the data cache off, all of this goes to memory: it is there before
    // an instruction of it is fetched, and the instruction cache must not have
    // what was at its address before.
    dsb     sy
    ic      iallu
    dsb     sy
    isb
    ldr     x0, =primary
    br      x0

    // The image may be looked at only after the gate was, and the instruction
    // cache of this PE must not have what was at its address before.
6:  dsb     sy
    ic      iallu
    dsb     sy
    isb
    ldr     x0, =secondary
    br      x0

not_el3:
    mrs     x0, mpidr_el1
    ldr     x1, ={affinity_mask}
    and     x0, x0, x1
    ldr     x1, ={boot_affinity}
    cmp     x0, x1
    b.ne    9f
    adr     x0, {not_el3}
8:  ldr     x1, ={raw_uart}
7:  ldrb    w2, [x0], #1
    cbz     w2, 9f
    strb    w2, [x1]
    b       7b
9:  wfi
    b       9b

    // The vector of a synchronous exception from EL3 itself. All others are masked.
    .org    reset + 0x200
    adr     x0, {too_early}
    b       8b
    .ltorg

    .section .text.entry, "ax"
primary:
    ldr     x0, =vectors
    msr     vbar_el3, x0
    // From here on a fault is reported.
    isb
    ldr     x0, ={boot_stack} + {boot_stack_end}
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    b       {boot_main}

secondary:
    ldr     x0, =vectors
    msr     vbar_el3, x0
    // Written before the boot PE turned its caches on, so memory has them. It is
    // all of .data and .bss that is read with the caches off.
    ldr     x0, ={mmu_registers}
    ldr     x1, [x0, #{mair}]
    msr     mair_el3, x1
    ldr     x1, [x0, #{tcr}]
    msr     tcr_el3, x1
    ldr     x1, [x0, #{ttbr0}]
    msr     ttbr0_el3, x1
    ldr     x1, [x0, #{sctlr}]
    // A TLB may have anything in it after a reset.
    tlbi    alle3
    dsb     nsh
    // The MMU is on only after the registers that it works by are written, and
    // what follows, the first use of the stack's address, only after it is on.
    isb
    msr     sctlr_el3, x1
    isb
    // The slot of the PE with this MPIDR; its number is the PE's index.
    mrs     x0, mpidr_el1
    ldr     x1, ={affinity_mask}
    and     x0, x0, x1
    ldr     x2, ={slot_owners}
    ldr     x3, ={slot_count}
    ldr     x3, [x3]
    mov     x1, xzr
1:  cmp     x1, x3
    b.hs    2f
    ldr     x4, [x2, x1, lsl #3]
    cmp     x4, x0
    b.eq    3f
    add     x1, x1, #1
    b       1b
3:  ldr     x0, ={slots} + {slot_pe}
    ldr     x2, ={slot_size}
    madd    x0, x1, x2, x0
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    b       {secondary_main}
    // A PE that is none of the machine's, by what describes it.
2:  wfi
    b       2b
    .ltorg
    "#,
    sctlr_reset = const SCTLR_RESET,
    arm = const ARM,
    cortex_a57 = const CORTEX_A57,
    no_load_passes_store = const NO_LOAD_PASSES_STORE,
    affinity_mask = const AFFINITY_MASK,
    boot_affinity = const Board::BOOT_AFFINITY,
    raw_uart = const Board::RAW_UART,
    gate = const Board::GATE,
    boot_stack = sym BOOT_STACK,
    boot_stack_end = const size_of::<Stack<BOOT_STACK_SIZE>>(),
    boot_main = sym crate::boot_main,
    secondary_main = sym crate::secondary_main,
    mmu_registers = sym MMU_REGISTERS,
    mair = const offset_of!(MmuRegisters, mair),
    tcr = const offset_of!(MmuRegisters, tcr),
    ttbr0 = const offset_of!(MmuRegisters, ttbr0),
    sctlr = const offset_of!(MmuRegisters, sctlr),
    not_el3 = sym NOT_EL3,
    too_early = sym TOO_EARLY,
    may_be_aarch32 = const MAY_BE_AARCH32 as usize,
    not_aarch64 = sym NOT_AARCH64,
    slot_owners = sym SLOT_OWNERS,
    slot_count = sym SLOT_COUNT,
    slots = sym SLOTS,
    slot_pe = const offset_of!(Slot, pe),
    slot_size = const size_of::<Slot>(),
);
