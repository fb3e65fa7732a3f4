#!/bin/sh
# Before a planned stop a node hands its queue leaders over and closes its connections, so that nobody waits until the
# others miss it. The mark of a drained node goes with its restart. Whatever goes wrong here, the stop goes on.
[ "$REPLICAS" -gt 1 ] || exit 0
. /etc/rabbitmq-config/env.sh
timeout 40 rabbitmq-upgrade -q drain
exit 0
