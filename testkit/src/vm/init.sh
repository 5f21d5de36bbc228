#!/usr/bin/busybox sh
# The first program of a test's virtual machine: it prepares the guest, runs /etc/script and reports on the second
# serial port, which by now is the script's alone; the firmware wrote there before. A report is
#   report \n
# and a sequence of
#   step NAME EXIT_CODE OUTPUT_BYTES ERROR_BYTES \n output error
#   log BYTES \n kernel log
#   exit EXIT_CODE \n

/usr/bin/busybox --install -s /usr/bin
export PATH=/usr/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t securityfs securityfs /sys/kernel/security
echo 0 > /proc/sys/kernel/printk_ratelimit
while read -r module; do insmod "$module"; done < /modules/order
mkdir /run/steps
# Kept open: a serial line forgets its settings when it is closed.
exec 3<> /dev/ttyS1
stty raw -echo <&3

# Sourced by whatever is the first process in the end, with the descriptor 3 and `script_code`.
cat > /run/report <<'END'
# A policy that a test has put in force may forbid what follows.
[ -e /sys/kernel/security/ipe/enforce ] && echo 0 > /sys/kernel/security/ipe/enforce
dmesg > /run/log
{
    echo
    echo report
    for code in /run/steps/*.code; do
        [ -e "$code" ] || continue
        step=${code%.code}
        echo "step ${step##*/} $(cat "$code") $(stat -c %s "$step.output") $(stat -c %s "$step.error")"
        cat "$step.output" "$step.error"
    done
    echo "log $(stat -c %s /run/log)"
    cat /run/log
    echo "exit $script_code"
} >&3
poweroff -f
END

cat > /run/prelude <<'END'
step() {
    step_name=$1
    shift
    echo "--- $step_name: $*"
    "$@" > "/run/steps/$step_name.output" 2> "/run/steps/$step_name.error"
    step_code=$?
    echo "$step_code" > "/run/steps/$step_name.code"
    echo "--- $step_name ended with $step_code"
    return "$step_code"
}
END

cd /root || exit
cat /run/prelude /etc/script > /run/script
sh /run/script < /dev/null 3>&-
script_code=$?

# The script may leave the machine to another first process, which reports in its place.
[ -x /etc/next-init ] && exec /etc/next-init
. /run/report
