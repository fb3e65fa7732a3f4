#!/bin/sh
# Before a planned stop a master hands over, which takes less time than the others need to miss it. It refuses writes
# before that: else it would go on acknowledging writes after the new master was chosen, and these would be lost.
. /etc/redis/peers.sh

role() {
    cli role | head -n 1
}

# Asks each other Sentinel to begin a failover until one does.
request_failover() {
    for host in $(others); do
        [ "$(cli -h "$host" -p 26379 sentinel failover "$MASTER_NAME")" = OK ] && return
    done
    return 1
}

[ "$REPLICAS" -gt 1 ] && [ "$(role)" = master ] || exit 0
cli client pause 20000 write
sleep 0.2
if ! request_failover; then
    # Nobody takes over, so to refuse writes any longer would only cost them.
    cli client unpause
    exit 0
fi
attempt=0
while [ "$attempt" -lt 16 ] && [ "$(role)" = master ]; do
    sleep 0.5
    attempt=$((attempt + 1))
done
exit 0
