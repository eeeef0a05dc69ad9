// What cannot be Rust: the arm64 Image header, the way from "MMU off" to Rust on every PE, exception
// vectors, entering and leaving a lower EL (or the same one with another PSTATE), and the entry
// point of event handlers. Offsets in braces come from the Rust structures.

.section .head, "ax"

// The arm64 boot protocol's header (Documentation/arch/arm64/booting.rst of Linux).
.global _start
_start:
    b       entry
    .long   0
    .quad   0                       // text_offset
    .quad   _image_size
    .quad   0xa                     // little-endian, 4 KiB pages, anywhere in RAM
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

entry:
    mrs     x19, cntpct_el0
    mov     x20, x0                 // device tree
    mrs     x25, CurrentEL
    mrs     x26, daif
    mrs     x27, SPSel
    bl      mmu_on                  // x24: SCTLR as it was

    // Linked at 0: every relocation is R_AARCH64_RELATIVE, "load address plus addend".
    adr     x1, _start
    adrp    x2, _rela_start
    add     x2, x2, :lo12:_rela_start
    adrp    x3, _rela_end
    add     x3, x3, :lo12:_rela_end
1:  cmp     x2, x3
    b.hs    2f
    ldp     x4, x5, [x2], #16
    ldr     x6, [x2], #8
    add     x6, x6, x1
    str     x6, [x1, x4]
    b       1b
2:
    adrp    x2, _bss_start
    add     x2, x2, :lo12:_bss_start
    adrp    x3, _bss_end
    add     x3, x3, :lo12:_bss_end
1:  cmp     x2, x3
    b.hs    2f
    stp     xzr, xzr, [x2], #16
    b       1b
2:
    adrp    x2, {boot_stack}
    add     x2, x2, :lo12:{boot_stack}
    add     x2, x2, #{boot_stack_size}
    mov     sp, x2
    mov     x0, x20
    mov     x1, x19
    b       {boot_main}

// Where CPU_ON starts a PE; x0 (the context ID) is its `Pe`. What the registers held is kept for a look at
// what the firmware leaves in them, but for the few used before memory may be written.
.global secondary_entry
secondary_entry:
    mov     x19, x0
    mrs     x25, CurrentEL
    mrs     x26, daif
    mrs     x27, SPSel
    bl      mmu_on                  // x24: SCTLR as it was
    stp     x0, x1, [x19, #{pe_entry_x}]
    stp     x2, x3, [x19, #{pe_entry_x} + 2 * 8]
    stp     x4, x5, [x19, #{pe_entry_x} + 4 * 8]
    stp     x6, x7, [x19, #{pe_entry_x} + 6 * 8]
    str     x8, [x19, #{pe_entry_x} + 8 * 8]
    str     x11, [x19, #{pe_entry_x} + 11 * 8]
    stp     x12, x13, [x19, #{pe_entry_x} + 12 * 8]
    stp     x14, x15, [x19, #{pe_entry_x} + 14 * 8]
    stp     x16, x17, [x19, #{pe_entry_x} + 16 * 8]
    str     x18, [x19, #{pe_entry_x} + 18 * 8]
    stp     x20, x21, [x19, #{pe_entry_x} + 20 * 8]
    stp     x22, x23, [x19, #{pe_entry_x} + 22 * 8]
    stp     x28, x29, [x19, #{pe_entry_x} + 28 * 8]
    stp     x24, x25, [x19, #{pe_entry_sctlr}]
    stp     x26, x27, [x19, #{pe_entry_daif}]
    ldr     x9, [x19, #{pe_stack}]
    mov     sp, x9
    mov     x0, x19
    b       {secondary_main}

.macro translate el, tlb
    adrp    x9, {page_table}
    add     x9, x9, :lo12:{page_table}
    msr     ttbr0_\el, x9
    movz    x9, #{mair}
    msr     mair_\el, x9
    movz    x9, #{tcr_0}
    movk    x9, #{tcr_16}, lsl #16
    movk    x9, #{tcr_32}, lsl #32
    msr     tcr_\el, x9
    isb
    ic      iallu
    tlbi    \tlb
    dsb     sy
    isb
    mrs     x24, sctlr_\el
    movz    x9, #{sctlr_0}
    movk    x9, #{sctlr_16}, lsl #16
    msr     sctlr_\el, x9
    isb
    ret
.endm

// Turns on the MMU and caches at this EL with the flat map; with FEAT_VHE, EL2 becomes a host's EL2.
// Returns SCTLR as it was in x24. Uses x9, x10.
mmu_on:
    mrs     x9, CurrentEL
    cmp     x9, #8
    b.eq    1f
    translate el1, vmalle1
1:  movz    x10, #{hcr_rw_tge_16}, lsl #16
    mrs     x9, id_aa64mmfr1_el1
    ubfx    x9, x9, #8, #4
    cbz     x9, 2f
    orr     x10, x10, #(1 << 34)    // E2H
2:  msr     hcr_el2, x10
    isb
    translate el2, alle2


// call_and_come_back(x0..x3 of the call, cell): makes a PSCI call by which this PE goes away, and returns
// what it answers; or RESUMED, if another PE or a wake-up has this one enter come_back with `cell` in x0.
.global call_and_come_back, come_back
call_and_come_back:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mov     x9, sp
    str     x9, [x4]
    smc     #0
1:  ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret
come_back:
    mov     x19, x0
    bl      mmu_on
    ldr     x9, [x19]
    mov     sp, x9
    mov     x0, #{resumed}
    b       1b

.section .text.runtime, "ax"

// enter(registers: &mut Registers): runs `registers.pc` in PSTATE `registers.pstate` with x0..x30 from there
// until the next synchronous exception that reaches this EL; then x0..x30, PC and PSTATE are in `registers`.
.macro runtime el
.global enter_\el
enter_\el:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mrs     x9, tpidr_\el
    ldr     x10, [x9, #{pe_entered}]
    stp     x0, x10, [sp, #-16]!
    mov     x10, sp
    str     x10, [x9, #{pe_entered}]
    ldp     x9, x10, [x0, #{registers_pc}]
    msr     elr_\el, x9
    msr     spsr_\el, x10
    ldp     x2, x3, [x0, #2 * 8]
    ldp     x4, x5, [x0, #4 * 8]
    ldp     x6, x7, [x0, #6 * 8]
    ldp     x8, x9, [x0, #8 * 8]
    ldp     x10, x11, [x0, #10 * 8]
    ldp     x12, x13, [x0, #12 * 8]
    ldp     x14, x15, [x0, #14 * 8]
    ldp     x16, x17, [x0, #16 * 8]
    ldp     x18, x19, [x0, #18 * 8]
    ldp     x20, x21, [x0, #20 * 8]
    ldp     x22, x23, [x0, #22 * 8]
    ldp     x24, x25, [x0, #24 * 8]
    ldp     x26, x27, [x0, #26 * 8]
    ldp     x28, x29, [x0, #28 * 8]
    ldr     x30, [x0, #30 * 8]
    ldp     x0, x1, [x0]
    eret

// A synchronous exception: the end of `enter`, or a bug in the payload.
.global leave_\el
leave_\el:
    sub     sp, sp, #32
    stp     x0, x1, [sp]
    mrs     x0, tpidr_\el
    cbz     x0, 1f
    ldr     x1, [x0, #{pe_entered}]
    cbz     x1, 1f
    ldr     x1, [x1]
    stp     x2, x3, [x1, #2 * 8]
    stp     x4, x5, [x1, #4 * 8]
    stp     x6, x7, [x1, #6 * 8]
    stp     x8, x9, [x1, #8 * 8]
    stp     x10, x11, [x1, #10 * 8]
    stp     x12, x13, [x1, #12 * 8]
    stp     x14, x15, [x1, #14 * 8]
    stp     x16, x17, [x1, #16 * 8]
    stp     x18, x19, [x1, #18 * 8]
    stp     x20, x21, [x1, #20 * 8]
    stp     x22, x23, [x1, #22 * 8]
    stp     x24, x25, [x1, #24 * 8]
    stp     x26, x27, [x1, #26 * 8]
    stp     x28, x29, [x1, #28 * 8]
    str     x30, [x1, #30 * 8]
    ldp     x2, x3, [sp]
    stp     x2, x3, [x1]
    mrs     x2, elr_\el
    mrs     x3, spsr_\el
    stp     x2, x3, [x1, #{registers_pc}]
    mrs     x2, esr_\el
    add     x3, sp, #32
    stp     x2, x3, [x1, #{registers_esr}]
    ldr     x2, [x0, #{pe_entered}]
    mov     sp, x2
    ldp     x2, x3, [sp], #16
    str     x3, [x0, #{pe_entered}]
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret
1:  mrs     x0, esr_\el
    mrs     x1, elr_\el
    mrs     x2, far_\el
    b       {unexpected_exception}

interrupt_\el:
    sub     sp, sp, #192
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x29, [sp, #144]
    mrs     x0, elr_\el
    mrs     x1, spsr_\el
    stp     x30, x0, [sp, #160]
    str     x1, [sp, #176]
    bl      {interrupt}
    ldr     x1, [sp, #176]
    ldp     x30, x0, [sp, #160]
    msr     elr_\el, x0
    msr     spsr_\el, x1
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x29, [sp, #144]
    add     sp, sp, #192
    eret
.endm

.macro vectors el
.balign 2048
.global vectors_\el
vectors_\el:
.rept 4
    b       leave_\el
    .balign 128
    b       interrupt_\el
    .balign 128
    b       interrupt_\el
    .balign 128
    b       leave_\el
    .balign 128
.endr
.endm

runtime el1
runtime el2

// The handler of event 0: x1, the registered argument, is this PE's `Handling`. Records the whole entry state,
// asks Rust how to end, and ends with x0..x17 full of rubbish that EL3 has to undo.
.global event_entry
event_entry:
    stp     x0, x1, [x1]
    stp     x2, x3, [x1, #2 * 8]
    stp     x4, x5, [x1, #4 * 8]
    stp     x6, x7, [x1, #6 * 8]
    stp     x8, x9, [x1, #8 * 8]
    stp     x10, x11, [x1, #10 * 8]
    stp     x12, x13, [x1, #12 * 8]
    stp     x14, x15, [x1, #14 * 8]
    stp     x16, x17, [x1, #16 * 8]
    stp     x18, x19, [x1, #18 * 8]
    stp     x20, x21, [x1, #20 * 8]
    stp     x22, x23, [x1, #22 * 8]
    stp     x24, x25, [x1, #24 * 8]
    stp     x26, x27, [x1, #26 * 8]
    stp     x28, x29, [x1, #28 * 8]
    str     x30, [x1, #30 * 8]
    mov     x19, x1
    mrs     x9, nzcv
    mrs     x10, SPSel
    mov     x11, sp
    stp     x9, x10, [x19, #{handling_nzcv}]
    str     x11, [x19, #{handling_sp}]
    msr     SPSel, #1
    ldr     x9, [x19, #{handling_stack}]
    mov     sp, x9
    mov     x0, x19
    bl      {handle_event}
    ldr     x9, [x19, #{handling_sp}]
    mov     sp, x9
    mov     x2, #-1
    mvn     x3, x0
    mov     x4, #-3
    mov     x5, #-5
    mov     x6, x1
    mov     x7, x9
    mov     x8, #0x88
    mov     x9, #0x99
    mov     x10, #0xaa
    mov     x11, #0xbb
    mov     x12, #0xcc
    mov     x13, #0xdd
    mov     x14, #0xee
    mov     x15, #0xff
    mov     x16, #0x1616
    mov     x17, #0x1717
    ldp     x20, x21, [x19, #20 * 8]
    ldp     x22, x23, [x19, #22 * 8]
    ldp     x24, x25, [x19, #24 * 8]
    ldp     x26, x27, [x19, #26 * 8]
    ldp     x28, x29, [x19, #28 * 8]
    ldr     x30, [x19, #30 * 8]
    ldp     x18, x19, [x19, #18 * 8]
    smc     #0
    // Only a refusal comes back.
    b       {completion_refused}

// Snippets for `enter`. The spinning ones leave when the word at x29 is not 0; x30 is their scratch register.
// They set NZCV, so that what they are interrupted with differs from what `enter` left in SPSR.
.global spin_then_svc, spin_then_hvc, smc_then_svc, smc_then_hvc, smc1_then_svc
spin_then_svc:
    cmp     xzr, xzr
1:  ldr     w30, [x29]
    yield
    cbz     w30, 1b
    svc     #0
spin_then_hvc:
    cmp     xzr, xzr
1:  ldr     w30, [x29]
    yield
    cbz     w30, 1b
    hvc     #0
smc_then_svc:
    smc     #0
    svc     #0
smc_then_hvc:
    smc     #0
    hvc     #0
smc1_then_svc:
    smc     #1
    svc     #0

// Reads of system registers that firmware has to open, each followed by SVC.
.global probe_reads, probe_reads_end
probe_reads:
.macro probe name:vararg
    .irp    register, \name
    mrs     x0, \register
    svc     #0
    .endr
.endm
    probe   S3_3_C2_C4_0, S3_3_C2_C4_1          // RNDR, RNDRRS
    probe   S3_0_C2_C0_3, S3_0_C1_C0_3          // TCR2_EL1, SCTLR2_EL1
    probe   S3_0_C10_C2_2, S3_0_C10_C2_3        // PIRE0_EL1, PIR_EL1
    probe   S3_0_C10_C2_4, S3_3_C10_C2_4        // POR_EL1, POR_EL0
    probe   S3_0_C2_C5_0, S3_0_C2_C5_1          // GCSCR_EL1, GCSPR_EL1
    probe   S3_0_C2_C1_0, S3_0_C2_C2_0          // APIAKeyLo_EL1, APDAKeyLo_EL1
    probe   S3_0_C1_C0_5, S3_0_C1_C0_6          // RGSR_EL1, GCR_EL1
    probe   S3_0_C5_C6_0, S3_0_C13_C0_7         // TFSR_EL1, SCXTNUM_EL1
    probe   S3_0_C13_C0_5, S3_3_C13_C0_5        // ACCDATA_EL1, TPIDR2_EL0
    probe   S3_0_C10_C5_0, S3_0_C10_C5_1        // MPAM1_EL1, MPAM0_EL1
    probe   S3_0_C9_C9_0, S3_0_C9_C10_7         // PMSCR_EL1, PMBIDR_EL1
    probe   S3_0_C9_C11_7, S3_0_C1_C2_1         // TRBIDR_EL1, TRFCR_EL1
    probe   S2_1_C9_C0_0, S2_1_C9_C2_0          // BRBCR_EL1, BRBIDR0_EL1
    probe   S3_3_C9_C12_0, S3_3_C9_C13_0        // PMCR_EL0, PMCCNTR_EL0
    probe   S3_3_C13_C2_0, S3_3_C13_C4_0        // AMCR_EL0, AMEVCNTR00_EL0
    probe   S3_0_C5_C3_0, S3_0_C5_C4_0          // ERRIDR_EL1, ERXFR_EL1
    probe   S3_0_C1_C2_0, S3_0_C1_C2_4          // ZCR_EL1, SMPRI_EL1
    probe   S3_0_C1_C2_6, S3_3_C4_C2_2          // SMCR_EL1, SVCR
    probe   S2_0_C0_C2_2, S2_0_C1_C1_4          // MDSCR_EL1, OSLSR_EL1
    probe   S2_0_C1_C3_4, S2_0_C1_C4_4          // OSDLR_EL1, DBGPRCR_EL1
    probe   S3_3_C14_C0_5, S3_3_C14_C0_6        // CNTPCTSS_EL0, CNTVCTSS_EL0
    probe   S3_0_C12_C12_5, S3_0_C12_C12_7      // ICC_SRE_EL1, ICC_IGRPEN1_EL1
    probe   S3_4_C1_C2_2, S3_4_C1_C1_4          // HCRX_EL2, HFGRTR_EL2
    probe   S3_4_C3_C1_4, S3_4_C3_C1_6          // HDFGRTR_EL2, HAFGRTR_EL2
    probe   S3_4_C3_C1_2, S3_4_C14_C0_6         // HFGRTR2_EL2, CNTPOFF_EL2
    probe   S3_4_C1_C2_0, S3_4_C1_C2_6          // ZCR_EL2, SMCR_EL2
    probe   S3_4_C10_C5_0, S3_4_C12_C9_5        // MPAM2_EL2, ICC_SRE_EL2
    probe   S3_4_C9_C9_0, S3_4_C1_C2_1          // PMSCR_EL2, TRFCR_EL2
    probe   S3_7_C14_C2_1, S3_0_C15_C0_0        // CNTPS_CTL_EL1, an implementation defined register
probe_reads_end:
// Reads of registers of EL3, each followed by SVC.
.global probe_el3, probe_el3_end
probe_el3:
    probe   S3_6_C1_C1_0, S3_6_C1_C0_0          // SCR_EL3, SCTLR_EL3
    probe   S3_6_C4_C0_1, S3_6_C12_C0_0         // ELR_EL3, VBAR_EL3
    probe   S3_6_C13_C0_2, S3_6_C12_C12_7       // TPIDR_EL3, ICC_IGRPEN1_EL3
probe_el3_end:

.section .vectors, "ax"
vectors el1
vectors el2
