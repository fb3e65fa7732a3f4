#!/bin/sh
# Before a planned stop a master hands over, which takes less time than the others need to miss it. It refuses writes
# before that: else it would go on acknowledging writes after the new master was chosen, and these would be lost.
. /etc/redis/peers.sh

role() {
    cli role | head -n 1
}

# Asks each other Sentinel to begin a failover until one does, and says which one.
request_failover() {
    for host in $(others); do
        [ "$(cli -h "$host" -p 26379 sentinel failover "$MASTER_NAME")" = OK ] && echo "$host" && return
    done
    return 1
}

# The host of the master, as this Sentinel knows it.
master_of() {
    cli -h "$1" -p 26379 sentinel get-master-addr-by-name "$MASTER_NAME" | head -n 1
}

[ "$REPLICAS" -gt 1 ] && [ "$(role)" = master ] || exit 0
cli client pause 20000 write
# A ping that the replicas still get, and the new master does not, would cost them a full copy of the data.
cli config set repl-ping-replica-period 60
sleep 0.2
if ! asked=$(request_failover); then
    # Nobody takes over, so to refuse writes any longer would only cost them.
    cli client unpause
    cli config set repl-ping-replica-period 1
    exit 0
fi
attempt=0
while [ "$attempt" -lt 80 ]; do
    master=$(master_of "$asked")
    if [ -n "$master" ] && [ "$master" != "$ME" ]; then
        # The Sentinels would make this server follow only after ten seconds, and its clients would wait for an answer
        # that does not come while writes are paused: they ask the Sentinels anew when they are disconnected.
        cli replicaof "$master" 6379
        cli client unpause
        cli client kill type normal skipme yes
        exit 0
    fi
    sleep 0.1
    attempt=$((attempt + 1))
done
exit 0
