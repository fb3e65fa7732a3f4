#!/bin/sh
# Starts a Sentinel. Its state lives on the volume of the pod; passwords and quorum are written anew at every start.
set -eu
. /etc/redis/peers.sh
umask 077
state=/data/sentinel.conf

if [ ! -f "$state" ]; then
    master=$(known_master)
    [ -n "$master" ] || master="$SET_NAME-0.$DOMAIN"
    cat >"$state.new" <<SETTINGS
port 26379
dir /run/redis
protected-mode no
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $ME
sentinel announce-port 26379
sentinel monitor $MASTER_NAME $master 6379 $QUORUM
sentinel down-after-milliseconds $MASTER_NAME $DOWN_AFTER_MS
sentinel failover-timeout $MASTER_NAME 10000
sentinel parallel-syncs $MASTER_NAME 1
SETTINGS
    mv "$state.new" "$state"
fi

{
    awk -v name="$MASTER_NAME" -v quorum="$QUORUM" '
        $1 == "requirepass" || ($1 == "user" && $2 == "default") { next }
        $1 == "sentinel" && ($2 == "auth-pass" || $2 == "sentinel-pass") { next }
        $1 == "sentinel" && $2 == "monitor" && $3 == name { $6 = quorum }
        { print }
    ' "$state"
    password=$(cat /etc/redis-auth/password)
    printf 'requirepass %s\nsentinel sentinel-pass %s\nsentinel auth-pass %s %s\n' \
        "$password" "$password" "$MASTER_NAME" "$password"
    unset password
} >"$state.new"
mv "$state.new" "$state"

# The name of a master that is about to start resolves within seconds. That of a master whose node is gone may never
# resolve again: then the Sentinel starts without it, because only Sentinels that run can choose another.
master=$(remembered_master)
deadline=$(($(date +%s) + 20))
until getent hosts "$master" >/dev/null; do
    if [ "$(date +%s)" -ge "$deadline" ]; then
        echo "starts although the name $master does not resolve"
        break
    fi
    echo "waits for the name $master"
    sleep 0.5
done
exec redis-sentinel "$state"
