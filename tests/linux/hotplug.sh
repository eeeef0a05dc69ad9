# Takes every secondary down and up again, 20 times.
set -e
secondaries=
for cpu in /sys/devices/system/cpu/cpu[1-9]*; do
    secondaries="$secondaries ${cpu##*/cpu}"
done
all=$(cat /sys/devices/system/cpu/online)
for round in $(seq 20); do
    for number in $secondaries; do
        echo 0 > "/sys/devices/system/cpu/cpu$number/online"
    done
    [ "$(cat /sys/devices/system/cpu/online)" = 0 ]
    for number in $secondaries; do
        echo 1 > "/sys/devices/system/cpu/cpu$number/online"
    done
    [ "$(cat /sys/devices/system/cpu/online)" = "$all" ]
    echo "bl31-test: round $round"
done
