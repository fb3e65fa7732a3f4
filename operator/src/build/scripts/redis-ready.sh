#!/bin/sh
# Ready is a master, or a replica in step with it: a rolling restart must not go on before that.
. /etc/redis/peers.sh
cli info replication | grep -qE '^(role:master|master_link_status:up)'
