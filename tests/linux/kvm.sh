# Runs a guest on CPU 1, while event 0 interrupts it there.
set -e
echo 1 > /proc/sys/kernel/sysrq
taskset -p 1 $$ > /dev/null
taskset 2 kvm 40 &
guest=$!
while kill -0 $guest 2> /dev/null; do
    echo l > /proc/sysrq-trigger
    sleep 1
done
wait $guest
echo "bl31-test: guest done"
