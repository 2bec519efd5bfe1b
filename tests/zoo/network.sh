# Two hosts on one machine: network namespaces "first" (10.0.0.1) and "second" (10.0.0.2) with a cable between them.
# Run it as `unshare --map-root-user --net --mount sh network.sh`; everything vanishes when it is killed.
# `network.sh HOST COMMAND ...` then runs a command on a host, whose name leads the processes to its address.
set -e
if [ $# -gt 0 ]; then
    host=$1
    shift
    exec nsenter --net="/run/netns/$host" unshare --uts sh -c 'hostname "$0" && exec "$@"' "$host" "$@"
fi
mount -t tmpfs tmpfs /run
ip netns add first
ip netns add second
ip link add name first netns first type veth peer name second netns second
for host in first:1 second:2; do
    name=${host%:*}
    ip -n "$name" address add "10.0.0.${host#*:}/24" dev "$name"
    ip -n "$name" link set "$name" up
    ip -n "$name" link set lo up
done
printf '127.0.0.1 localhost\n10.0.0.1 first\n10.0.0.2 second\n' >/run/hosts
mount --bind /run/hosts /etc/hosts
echo ready
exec sleep infinity
