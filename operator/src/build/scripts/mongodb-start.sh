#!/bin/sh
# Starts mongod, which refuses a key file that others than its user may read; volumes of Secrets cannot be that strict.
set -eu
install -m 400 /etc/mongodb-auth/keyfile /run/mongodb/keyfile
exec mongod \
    --replSet "$REPLICA_SET" \
    --keyFile /run/mongodb/keyfile \
    --dbpath /data/db \
    --bind_ip_all \
    --nounixsocket \
    --wiredTigerCacheSizeGB "$CACHE_GIB" \
    --setParameter diagnosticDataCollectionEnabled=false \
    --quiet
