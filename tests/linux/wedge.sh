# Sourced, after option.sh, by the scripts that need a wedged CPU: CPU 1 spins in
# the kernel with interrupts masked, for ever. Only SDEI's event 0 reaches it from
# then on, or a pseudo-NMI where the kernel masks interrupts by priority. With
# bl31.wedge=daif CPU 1 masks them by PSTATE.DAIF in any case, and event 0 alone
# reaches it.

# What wedges must not run this script's CPU into it.
taskset -p 1 $$ > /dev/null
echo 1 > /proc/sys/kernel/sysrq

wedge() {
    if [ "$(option wedge)" = daif ]; then
        # LKDTM spins in a kprobe's handler, which runs with PSTATE.DAIF set, at the
        # first interrupt of a device (lkdtm.cpoint_count=1): the clock's, on CPU 1.
        rtc=$(sed -n 's/^ *\([0-9]*\):.*rtc-pl031.*/\1/p' /proc/interrupts)
        echo 2 > "/proc/irq/$rtc/smp_affinity"
        echo HARDLOCKUP > /sys/kernel/debug/provoke-crash/INT_HW_IRQ_EN
        echo +2 > /sys/class/rtc/rtc0/wakealarm
        until dmesg | grep -q 'Crash point INT_HW_IRQ_EN of type HARDLOCKUP hit'; do
            :
        done
        return
    fi
    (taskset 2 sh -c 'echo HARDLOCKUP > /sys/kernel/debug/provoke-crash/DIRECT') &
    until dmesg | grep -q 'Performing direct entry HARDLOCKUP'; do
        :
    done
}

# Asks for backtraces until the wedged CPU's shows that it has got to the loop:
# it says what it is going to do some instructions before it does it. Neither this
# nor wedge() sleeps: under -icount time almost stands still while all CPUs but one
# that spins do.
backtraces() {
    for try in $(seq 100); do
        echo l > /proc/sysrq-trigger
        if dmesg | grep -q 'pc : lkdtm_HARDLOCKUP'; then
            return 0
        fi
    done
    return 1
}
