# Wedges CPU 1 and panics, in the way that bl31.how= says; the capture kernel
# runs capture.sh.
. /option.sh
. /wedge.sh
. /crash_kernel.sh
how=$(option how)
load_crash_kernel || exit 1
# Only while all CPUs answer can a module be loaded.
case $how in
    off | resume-off | resume-park | panic)
        insmod /boot/handler_end.ko end="$how" || exit 1
        ;;
esac
wedge
echo "bl31-test: panicking"
case $how in
    panic)
        backtraces
        ;;
    watchdog)
        backtraces || exit 1
        echo 1 > /proc/sys/kernel/hardlockup_panic
        sleep 600
        ;;
    *)
        backtraces || exit 1
        echo c > /proc/sysrq-trigger
        ;;
esac
