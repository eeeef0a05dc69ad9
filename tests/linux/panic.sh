# Wedges CPU 1, then panics: the panicking CPU must be able to stop it.
. /option.sh
. /wedge.sh
wedge
backtraces || exit 1
echo "bl31-test: panicking"
echo c > /proc/sysrq-trigger
