# Pulls, starts, stops and removes at random, two at a time, while the daemon and containerd are killed; `version`, `rounds`
# and `seed` are set. In the end every committed snapshot has to mount, and nothing may be left.

use_containerd $version
config=/run/lab/containerd-$version.toml
step node start_node
step containerd start_containerd $config
enforce

# The numbers come from the seed, so that a run can be repeated as far as the machine allows.
random() {
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    chosen=$((seed / 65536 % $1))
}
some_image() {
    random 5
    set -- app embedded many large pause
    shift $chosen
    image=$1
}
some_namespace() {
    random 3
    [ $chosen = 0 ] && namespace=other || namespace=default
}
quietly() { timeout 60 "$@" > /dev/null 2>> /run/chaos.errors; }
act() {
    case $1 in
        pull) quietly ctr -n $namespace images pull --plain-http $registry/$image:v1 ;;
        local) quietly ctr -n $namespace images pull --plain-http --local $registry/$image:v1 ;;
        run) quietly ctr -n $namespace run --rm $registry/$image:v1 run-$round /bin/true ;;
        start) quietly ctr -n $namespace run -d $registry/$image:v1 start-$round /bin/sleep 1000 ;;
        stop)
            for task in $(timeout 30 ctr -n $namespace tasks ls -q 2> /dev/null | head -n 2); do
                quietly ctr -n $namespace tasks rm -f $task
                quietly ctr -n $namespace containers rm $task
            done ;;
        remove) quietly ctr -n $namespace images rm --sync $registry/$image:v1 ;;
        unsigned) quietly ctr -n $namespace images pull --plain-http $registry/unsigned:v1 && echo "round $round: unsigned was pulled" ;;
    esac
}
one_round() {
    workers=
    for _ in 1 2; do
        some_image
        some_namespace
        random 12
        set -- pull pull pull local run run run start start stop remove unsigned
        shift $chosen
        act $1 &
        workers="$workers $!"
    done
    random 8
    case $chosen in
        0)
            stop_node KILL
            start_node && reconnect && node_kills=$((node_kills + 1)) ;;
        1)
            kill -KILL $containerd_pid
            wait $containerd_pid 2> /dev/null
            start_containerd $config && containerd_kills=$((containerd_kills + 1)) ;;
        2)
            stop_node TERM
            start_node && reconnect ;;
    esac || echo "round $round: does not come back"
    # Many of them fail, as they should: what they work on was removed, or who works for them was killed.
    wait $workers
    true
}
chaos() {
    round=0 node_kills=0 containerd_kills=0
    while [ $round -lt $rounds ]; do
        round=$((round + 1))
        one_round
    done
}
# Its output is what went wrong.
step chaos chaos
echo "$rounds rounds, the daemon killed $node_kills times, containerd $containerd_kills times" > /run/counts
step counts cat /run/counts

mounts_everything() {
    number=0
    for namespace in $(ctr namespaces ls -q); do
        for snapshot in $(ctr -n $namespace snapshots ls | awk '$NF == "Committed" { print $1 }'); do
            number=$((number + 1))
            # The view is nobody's, and may be collected as soon as it is there; what it has told mounts all the same.
            ctr -n $namespace snapshots view --target /mnt view-$number $snapshot > /run/mount &&
                sh /run/mount && ls /mnt > /dev/null && umount /mnt || echo "$namespace $snapshot does not mount"
            ctr -n $namespace snapshots rm view-$number 2> /dev/null
        done
    done
    echo "$number" > /run/mounted
}
step mounts mounts_everything
step mounted cat /run/mounted
# What was pulled when containerd was killed is held by a lease for a day.
for namespace in $(ctr namespaces ls -q); do
    for lease in $(ctr -n $namespace leases ls -q); do ctr -n $namespace leases rm $lease; done
done
remove_all
pull pause > /dev/null 2>&1
ctr images rm --sync $registry/pause:v1 > /dev/null
step left await 90 nothing_left
step left-what left
step errors tail -n 30 /run/chaos.errors
