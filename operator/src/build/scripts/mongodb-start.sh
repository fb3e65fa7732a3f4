#!/bin/sh
# Starts mongod, which refuses a key file that others than its user may read; volumes of Secrets cannot be that strict.
# Nobody gets in without a password, not even by way of the loopback address before the first user exists: the operator
# logs in with the key file. Members show each other certificates; clients, who log in by passwords, need none. The operator
# tells a member to take up another certificate. A member that copies from one that hangs leaves it after half of the
# election timeout and a second, instead of five.
set -eu
install -m 400 /etc/mongodb-auth/keyfile /run/mongodb/keyfile
exec mongod \
    --replSet "$REPLICA_SET" \
    --keyFile /run/mongodb/keyfile \
    --tlsMode requireTLS \
    --tlsCertificateKeyFile /etc/mongodb-tls/tls-combined.pem \
    --tlsCAFile /etc/mongodb-tls/ca.crt \
    --tlsAllowConnectionsWithoutCertificates \
    --dbpath /data/db \
    --bind_ip_all \
    --nounixsocket \
    --wiredTigerCacheSizeGB "$CACHE_GIB" \
    --setParameter enableLocalhostAuthBypass=0 \
    --setParameter diagnosticDataCollectionEnabled=false \
    --setParameter oplogNetworkTimeoutBufferSeconds=1 \
    --quiet
