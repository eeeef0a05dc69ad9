# Takes CPUs down and up at random, while event 0 goes to all that are up.
set -e
echo 1 > /proc/sys/kernel/sysrq
all=$(cat /sys/devices/system/cpu/online)
count=$(ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l)
touch /tmp/storm
(while [ -e /tmp/storm ]; do echo l > /proc/sysrq-trigger; usleep 100000; done) &
for round in $(seq 100); do
    number=$((RANDOM % (count - 1) + 1))
    online=/sys/devices/system/cpu/cpu$number/online
    echo $((1 - $(cat "$online"))) > "$online"
    [ $((round % 50)) != 0 ] || echo "bl31-test: round $round"
done
rm /tmp/storm
wait
for online in /sys/devices/system/cpu/cpu[1-9]*/online; do
    echo 1 > "$online"
done
[ "$(cat /sys/devices/system/cpu/online)" = "$all" ]
echo "bl31-test: storm over"
dmesg -c > /dev/null
echo l > /proc/sysrq-trigger
sleep 1
[ "$(dmesg | grep -c 'NMI backtrace for cpu')" = "$count" ]
echo "bl31-test: backtraces done"
