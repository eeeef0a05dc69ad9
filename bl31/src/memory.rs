//! `memcpy`, `memset` and `bcmp`, which the compiler takes for granted.
//!
//! `compiler_builtins` has them too, for speed: 4 KiB of code. (It is where the
//! others of their kind would come from; nothing here needs them.) What EL3 copies
//! is small, or has the same alignment at both ends. These make no access that is
//! not aligned, so they work with the MMU off, too.
//!
//! They are assembly for whoever has room for it.

/// The assembly of one of them.
macro_rules! memory_function {
    (memcpy) => {
        r#"
    // x0: to; x1: from; x2: bytes.
    .global memcpy
memcpy:
    orr     x3, x0, x1
    mov     x4, x0
    tst     x3, #7
    b.ne    2f
    subs    x2, x2, #16
    b.lo    3f
1:  ldp     x5, x6, [x1], #16
    subs    x2, x2, #16
    stp     x5, x6, [x4], #16
    b.hs    1b
3:  add     x2, x2, #16
2:  tst     x3, #3
    b.ne    5f
    subs    x2, x2, #4
    b.lo    6f
4:  ldr     w5, [x1], #4
    subs    x2, x2, #4
    str     w5, [x4], #4
    b.hs    4b
6:  add     x2, x2, #4
5:  cbz     x2, 8f
7:  ldrb    w5, [x1], #1
    strb    w5, [x4], #1
    subs    x2, x2, #1
    b.ne    7b
8:  ret
        "#
    };
    (memset) => {
        r#"
    // x0: to; w1: the byte; x2: bytes.
    .global memset
memset:
    mov     x4, x0
    tst     x0, #7
    b.ne    5f
    and     x5, x1, #0xff
    orr     x5, x5, x5, lsl #8
    orr     x5, x5, x5, lsl #16
    orr     x5, x5, x5, lsl #32
    subs    x2, x2, #16
    b.lo    3f
1:  subs    x2, x2, #16
    stp     x5, x5, [x4], #16
    b.hs    1b
3:  add     x2, x2, #16
5:  cbz     x2, 8f
7:  strb    w1, [x4], #1
    subs    x2, x2, #1
    b.ne    7b
8:  ret
        "#
    };
    (bcmp) => {
        r#"
    // x0, x1: what to compare; x2: bytes. 0 if they are equal.
    .global bcmp
bcmp:
    mov     x3, x0
    mov     w0, wzr
1:  cbz     x2, 8f
    ldrb    w4, [x3], #1
    ldrb    w5, [x1], #1
    subs    w0, w4, w5
    b.ne    8f
    sub     x2, x2, #1
    b       1b
8:  ret
        "#
    };
}
pub(crate) use memory_function;
