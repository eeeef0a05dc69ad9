# What `cargo xtask demo` shows. The lines that begin with `bl31-demo:` are its
# cues.
. /option.sh
. /wedge.sh
. /crash_kernel.sh
load_crash_kernel || exit 1
echo "bl31-demo: booted"
wedge
echo "bl31-demo: wedged"
backtraces || exit 1
echo "bl31-demo: backtraces done"
echo "bl31-demo: panicking"
echo c > /proc/sysrq-trigger
