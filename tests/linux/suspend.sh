# Suspends the machine to RAM, and to idle, 10 times each, woken by the RTC's
# alarm; event 0 has to work on every CPU afterwards.
set -e
all=$(cat /sys/devices/system/cpu/online)
echo deep > /sys/power/mem_sleep
for state in mem freeze; do
    for round in $(seq 10); do
        echo 0 > /sys/class/rtc/rtc0/wakealarm
        echo +2 > /sys/class/rtc/rtc0/wakealarm
        echo "$state" > /sys/power/state
        [ "$(cat /sys/devices/system/cpu/online)" = "$all" ]
        echo "bl31-test: $state $round"
    done
done
[ "$(cat /sys/power/suspend_stats/success)" = 20 ]
[ "$(cat /sys/power/suspend_stats/fail)" = 0 ]
echo l > /proc/sysrq-trigger
sleep 1
echo "bl31-test: backtraces done"
