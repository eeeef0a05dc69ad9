//! Cache maintenance.

use core::arch::asm;

use aarch64_cpu::asm::barrier;
use arm_sysregs::el0::accessors::read_ctr_el0;

/// Cleans and invalidates memory, mapped addresses `start..end`, to the point of
/// coherency. Whoever looks past the caches finds what was stored here, not what
/// was there before, and what it stores itself is not overwritten later by a line
/// that a cache still had.
pub fn flush(start: usize, end: usize) {
    // Words of the smallest data cache line (CTR_EL0.DminLine).
    let line = 4 << (read_ctr_el0().dminline());
    // The last line must not be missed for a start in the middle of the first.
    for address in (start & !(line - 1)..end).step_by(line) {
        // SAFETY: that changes nothing that can be read here.
        unsafe {
            asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags));
        }
    }
    // Done for all observers when this returns. None is needed before: this
    // PE's stores to a line are ordered before its maintenance.
    barrier::dsb(barrier::SY);
}

/// Turns this PE's data cache off, and cleans and invalidates every cache level up
/// to the point of coherency by set and way, so that the PE can lose them.
///
/// No atomic and no lock works on this PE any more after this.
pub fn flush_and_turn_off() {
    // SAFETY: between turning the cache off and the end of the last level nothing
    // is loaded or stored, so nothing can be found stale; from then on memory has
    // everything. This is the loop over levels, ways and sets that CLIDR_EL1 and
    // CCSIDR_EL1 are made for (Arm ARM D7.5.9, D24.2.26).
    unsafe {
        asm!(
            // What was stored before is in the caches, for these to clean.
            "dsb    sy",
            "mrs    {t0}, sctlr_el3",
            "bic    {t0}, {t0}, #(1 << 2)",
            "msr    sctlr_el3, {t0}",
            // Nothing more is allocated in them.
            "isb",
            "mrs    {clidr}, clidr_el1",
            "mrs    {mmfr2}, id_aa64mmfr2_el1",
            // LoC: the levels below the point of coherency.
            "ubfx   {loc}, {clidr}, #24, #3",
            "mov    {level}, xzr",
            "2:",
            "cmp    {level}, {loc}",
            "b.hs   6f",
            // Three bits of CLIDR to a level: 2 and up has a data cache.
            "add    {t0}, {level}, {level}, lsl #1",
            "lsr    {t0}, {clidr}, {t0}",
            "and    {t0}, {t0}, #7",
            "cmp    {t0}, #2",
            "b.lo   5f",
            "lsl    {t0}, {level}, #1",
            "msr    csselr_el1, {t0}",
            // CCSIDR_EL1 is of that level.
            "isb",
            "mrs    {t0}, ccsidr_el1",
            "and    {shift}, {t0}, #7",
            "add    {shift}, {shift}, #4",
            // FEAT_CCIDX moves and widens the fields of ways and sets.
            "tst    {mmfr2}, #(0xf << 20)",
            "ubfx   {ways}, {t0}, #3, #10",
            "ubfx   {sets}, {t0}, #13, #15",
            "b.eq   3f",
            "ubfx   {ways}, {t0}, #3, #21",
            "ubfx   {sets}, {t0}, #32, #24",
            "3:",
            // The way stands at the top of the word.
            "clz    {wshift:w}, {ways:w}",
            "4:",
            "mov    {way}, {ways}",
            "7:",
            "lsl    {t0}, {way}, {wshift}",
            "lsl    {t1}, {sets}, {shift}",
            "orr    {t0}, {t0}, {t1}",
            "orr    {t0}, {t0}, {level}, lsl #1",
            "dc     cisw, {t0}",
            "subs   {way}, {way}, #1",
            "b.ge   7b",
            "subs   {sets}, {sets}, #1",
            "b.ge   4b",
            "5:",
            "add    {level}, {level}, #1",
            "b      2b",
            "6:",
            // All of it is in memory before the WFI that ends in no power.
            "dsb    sy",
            t0 = out(reg) _,
            t1 = out(reg) _,
            clidr = out(reg) _,
            mmfr2 = out(reg) _,
            loc = out(reg) _,
            level = out(reg) _,
            shift = out(reg) _,
            wshift = out(reg) _,
            ways = out(reg) _,
            sets = out(reg) _,
            way = out(reg) _,
            options(nostack),
        );
    }
}
