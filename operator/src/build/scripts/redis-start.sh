#!/bin/sh
# Starts Redis in the role that the Sentinels give it. Nobody knows a master: this is the first start, and the pod
# with ordinal 0 is the master.
set -eu
. /etc/redis/peers.sh
. /etc/redis/certificate.sh
. /etc/redis/passwords.sh
umask 077

master=
attempt=0
while [ -z "$master" ] && [ "$attempt" -lt 3 ]; do
    master=$(known_master)
    [ -n "$master" ] || [ ! -f /data/seeded ] || [ "$REPLICAS" -eq 1 ] || sleep 1
    [ -f /data/seeded ] || break
    attempt=$((attempt + 1))
done
[ -n "$master" ] || master=$(remembered_master)
[ -n "$master" ] || master="$SET_NAME-0.$DOMAIN"

# A master that is back before the others missed it would keep its role without replicas, which hang on its old
# address, and could overwrite newer data: it stays down until the others have chosen somebody, or will not.
if [ "$master" = "$ME" ] && [ -f /data/seeded ] && [ "$REPLICAS" -gt 1 ]; then
    deadline=$(($(date +%s) + DOWN_AFTER_MS / 1000 + 8))
    while [ "$master" = "$ME" ] && [ "$(date +%s)" -lt "$deadline" ]; do
        sleep 0.5
        chosen=$(known_master)
        [ -z "$chosen" ] || master="$chosen"
    done
fi
touch /data/seeded

# With replicas, a write counts only if one of them is near.
near=0
[ "$REPLICAS" -eq 1 ] || near=1

rules=$(passwords)

{
    cat <<SETTINGS
dir /data
port 0
tls-port 6379
tls-cert-file /etc/redis-tls/tls.crt
tls-key-file /etc/redis-tls/tls.key
tls-ca-cert-file /etc/redis-tls/ca.crt
tls-auth-clients no
tls-replication yes
protected-mode no
replica-announce-ip $ME
appendonly yes
appendfsync everysec
save ""
min-replicas-to-write $near
min-replicas-max-lag 5
repl-diskless-sync-delay 0
repl-timeout 6
repl-ping-replica-period 1
repl-backlog-size 16mb
client-output-buffer-limit replica $REPLICA_BUFFER 0 0
maxmemory $MAX_MEMORY
maxmemory-policy noeviction
SETTINGS
    password=$(cat /etc/redis-auth/password)
    printf 'user default on%s ~* &* +@all\nmasterauth %s\n' "$rules" "$password"
    unset password
    [ "$master" = "$ME" ] || printf 'replicaof %s 6379\n' "$master"
} >/run/redis/redis.conf

# Setting the names of the files makes Redis read them again, though they are the same.
read_certificate() {
    [ "$(cli config set tls-ca-cert-file /etc/redis-tls/ca.crt tls-cert-file /etc/redis-tls/tls.crt \
        tls-key-file /etc/redis-tls/tls.key)" = OK ]
}
on_new_certificate /etc/redis-tls read_certificate &

# Clients that are logged in stay so. The password for the master comes last: who sees it there knows that all is done.
take_passwords() {
    answers=$(printf 'ACL SETUSER default resetpass%s\nCONFIG SET masterauth %s\n' \
        "$(passwords)" "$(cat /etc/redis-auth/password)" | cli)
    [ "$(echo "$answers" | tr -d '\n')" = OKOK ]
}
on_new_passwords "$rules" take_passwords &

echo "starts as $ME with master $master"
exec redis-server /run/redis/redis.conf
