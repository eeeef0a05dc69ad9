# What the capture kernel does: brings up what CPUs come up, sends event 0 to
# them, and saves the memory of the kernel that crashed.
set -e
echo 1 > /proc/sys/kernel/sysrq
dmesg | grep -q 'sdei_nmi: using SDEI cross-CPU NMI'
echo "bl31-test: captured"
for online in /sys/devices/system/cpu/cpu[1-9]*/online; do
    # One that is still wedged does not.
    echo 1 > "$online" || true
done
online=$(cat /sys/devices/system/cpu/cpu*/online | grep -c 1)
echo l > /proc/sysrq-trigger
sleep 1
echo "bl31-test: $online CPUs up, $(dmesg | grep -c 'NMI backtrace for cpu') answered"
dd if=/proc/vmcore of=/dev/vda bs=1M
echo "bl31-test: vmcore saved"
