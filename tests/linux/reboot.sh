# Asks the firmware for a reset. The next boot gets the same command line and
# does it again, until the harness has seen enough.
echo "bl31-test: rebooting"
reboot -f
