#!/bin/sh
# Starts a Sentinel. Its state lives on the volume of the pod; passwords, quorum and what is about TLS are written anew at
# every start.
set -eu
. /etc/redis/peers.sh
. /etc/redis/certificate.sh
. /etc/redis/passwords.sh
umask 077
state=/data/sentinel.conf

if [ ! -f "$state" ]; then
    master=$(known_master)
    [ -n "$master" ] || master="$SET_NAME-0.$DOMAIN"
    cat >"$state.new" <<SETTINGS
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

rules=$(passwords)
{
    awk -v name="$MASTER_NAME" -v quorum="$QUORUM" '
        $1 == "port" || $1 ~ /^tls-/ { next }
        $1 == "requirepass" || ($1 == "user" && $2 == "default") { next }
        $1 == "sentinel" && ($2 == "auth-pass" || $2 == "sentinel-pass") { next }
        $1 == "sentinel" && $2 == "monitor" && $3 == name { $6 = quorum }
        { print }
    ' "$state"
    cat <<SETTINGS
port 0
tls-port 26379
tls-cert-file /etc/redis-tls/tls.crt
tls-key-file /etc/redis-tls/tls.key
tls-ca-cert-file /etc/redis-tls/ca.crt
tls-auth-clients no
tls-replication yes
SETTINGS
    password=$(cat /etc/redis-auth/password)
    printf 'user default on%s ~* &* +@all\nsentinel sentinel-pass %s\nsentinel auth-pass %s %s\n' \
        "$rules" "$password" "$MASTER_NAME" "$password"
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

# A Sentinel cannot be told to read its certificate again: it starts anew, one pod after the other.
start_anew() {
    sleep $((${POD_NAME##*-} * 20))
    kill -TERM $$
}
on_new_certificate /etc/redis-tls start_anew &

# As redis-start.sh does it. The password for other Sentinels comes last.
take_passwords() {
    password=$(cat /etc/redis-auth/password)
    answers=$(printf 'ACL SETUSER default resetpass%s\nSENTINEL SET %s auth-pass %s\nSENTINEL CONFIG SET sentinel-pass %s\n' \
        "$(passwords)" "$MASTER_NAME" "$password" "$password" | cli -p 26379)
    unset password
    [ "$(echo "$answers" | tr -d '\n')" = OKOKOK ]
}
on_new_passwords "$rules" take_passwords &
exec redis-sentinel "$state"
