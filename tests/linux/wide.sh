# Wedges all CPUs but CPU 0: one by one, each of which has to show its
# backtrace, or (bl31.how=at-once) all of them before the first is asked for.
. /option.sh
. /wedge.sh
how=$(option how)
last=$(($(ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l) - 1))
# Whether so many show that they are stuck. Never sleeps: while all CPUs but a
# sleeping one spin, time almost stands still under -icount.
stuck() {
    for try in $(seq 200); do
        # The backtraces of many CPUs are more than the kernel's log holds.
        dmesg -c > /dev/null
        echo l > /proc/sysrq-trigger
        [ "$(dmesg | grep -c 'pc : lkdtm_HARDLOCKUP')" != "$1" ] || return 0
    done
    return 1
}
for cpu in $(seq "$last"); do
    (taskset -c "$cpu" sh -c 'echo HARDLOCKUP > /sys/kernel/debug/provoke-crash/DIRECT') &
    [ "$how" = at-once ] || stuck "$cpu" || exit 1
done
stuck "$last" || exit 1
echo "bl31-test: all $last wedged CPUs answered"
