# Goes on into the same kernel by kexec, 10 times; each has to find SDEI, with
# none of the registrations of the one before it, and event 0 has to work.
set -e
. /option.sh
echo 1 > /proc/sys/kernel/sysrq
dmesg | grep -q 'sdei_nmi: using SDEI cross-CPU NMI'
echo l > /proc/sysrq-trigger
sleep 1
count=$(ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l)
[ "$(dmesg | grep -c 'NMI backtrace for cpu')" = "$count" ]
kexecs=$(option kexecs)
echo "bl31-test: kernel ${kexecs:-0} works"
if [ "${kexecs:-0}" != 10 ]; then
    (cd / && find . -xdev | cpio -o -H newc > /tmp/initramfs)
    next=$(sed 's/ bl31.kexecs=[0-9]*//' /proc/cmdline)
    kexec -l /boot/Image /tmp/initramfs "$next bl31.kexecs=$((${kexecs:-0} + 1))"
    kexec -e
fi
