#!/bin/sh
# Before a planned stop a node hands its queue leaders over and closes its connections, so that nobody waits until the
# others miss it. The mark of a drained node goes with its restart. One that the operator has marked to go for good leaves
# the cluster, too: the names of such nodes are in a global parameter, as JSON within JSON. Whatever goes wrong here, the
# stop goes on.
[ "$REPLICAS" -gt 1 ] || exit 0
. /etc/rabbitmq-config/env.sh
timeout 40 rabbitmq-upgrade -q drain
if timeout 10 rabbitmqctl -q list_global_parameters --formatter json | tr -d '\\\n' | tr '}' '\n' |
    grep '"flickrhub_leaving"' | grep -qF "\"$RABBITMQ_NODENAME\""; then
    timeout 15 rabbitmqctl -q stop_app && timeout 15 rabbitmqctl -q reset
fi
exit 0
