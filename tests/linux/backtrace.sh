# Wedges CPU 1 and asks for everybody's backtrace.
. /option.sh
. /wedge.sh
wedge
echo "bl31-test: wedged"
backtraces || exit 1
echo "bl31-test: backtraces done"
