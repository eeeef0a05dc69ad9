# Sourced by the scripts that need a wedged CPU: CPU 1 spins in the kernel with
# interrupts masked, for ever. Only SDEI's event 0 reaches it from then on.

# What wedges must not run this script's CPU into it.
taskset -p 1 $$ > /dev/null
echo 1 > /proc/sys/kernel/sysrq

wedge() {
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
