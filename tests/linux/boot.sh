# Says how many CPUs came up, and that user space runs on each of them.
set -e
echo "bl31-test: online: $(cat /sys/devices/system/cpu/online)"
count=0
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
    number=${cpu##*/cpu}
    ran=$(taskset -c "$number" cut -d ' ' -f 39 /proc/self/stat)
    [ "$ran" = "$number" ]
    count=$((count + 1))
done
echo "bl31-test: ran on $count CPUs"
