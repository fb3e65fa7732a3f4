#!/bin/sh
# Before a planned stop a master hands over, which takes less time than the others need to miss it. It refuses writes
# before that: else it would go on acknowledging writes after the new master was chosen, and these would be lost.
. /etc/redis/peers.sh

role() {
    cli role | head -n 1
}

[ "$REPLICAS" -gt 1 ] && [ "$(role)" = master ] || exit 0
cli client pause 20000 write
sleep 0.2
for host in $(others); do
    [ "$(cli -h "$host" -p 26379 sentinel failover "$MASTER_NAME")" = OK ] && break
done
attempt=0
while [ "$attempt" -lt 16 ] && [ "$(role)" = master ]; do
    sleep 0.5
    attempt=$((attempt + 1))
done
exit 0
