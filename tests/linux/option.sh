# Sourced by the scripts that have more than one way to go: `option how` prints
# the value of bl31.how=… on the kernel's command line.
option() {
    for word in $(cat /proc/cmdline); do
        case $word in
            bl31."$1"=*) echo "${word#*=}" ;;
        esac
    done
}
