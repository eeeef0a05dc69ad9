# Suspends the machine to RAM, and to idle, 10 times each (or bl31.rounds=), woken
# by the RTC's alarm; event 0 has to work on every CPU afterwards.
set -e
. /option.sh
rounds=$(option rounds)
rounds=${rounds:-10}
all=$(cat /sys/devices/system/cpu/online)
aborted=0

# On a slow machine the alarm rings before the CPUs are down. Linux takes back what
# it has done then and says EBUSY; or, as it has counted the wakeup, EINVAL for the
# count, without which it would sleep with no alarm left. Only then this tries again,
# with twice the time.
suspend_to() {
    seconds=2
    while true; do
        count=$(cat /sys/power/wakeup_count)
        echo 0 > /sys/class/rtc/rtc0/wakealarm
        echo +$seconds > /sys/class/rtc/rtc0/wakealarm
        if error=$( (echo "$count" > /sys/power/wakeup_count) 2>&1); then
            if error=$( (echo "$1" > /sys/power/state) 2>&1); then
                return 0
            fi
            early='Device or resource busy'
            aborted=$((aborted + 1))
        else
            early='Invalid argument'
        fi
        echo "bl31-test: $1 after $seconds s: $error"
        case $error in
            *"$early") ;;
            *) return 1 ;;
        esac
        seconds=$((seconds * 2))
        [ $seconds -le 64 ]
    done
}

echo deep > /sys/power/mem_sleep
for state in mem freeze; do
    for round in $(seq "$rounds"); do
        suspend_to "$state"
        [ "$(cat /sys/devices/system/cpu/online)" = "$all" ]
        echo "bl31-test: $state $round"
    done
    echo "bl31-test: $state done"
done
[ "$(cat /sys/power/suspend_stats/success)" = $((2 * rounds)) ]
[ "$(cat /sys/power/suspend_stats/fail)" = "$aborted" ]
echo l > /proc/sysrq-trigger
sleep 1
echo "bl31-test: backtraces done"
