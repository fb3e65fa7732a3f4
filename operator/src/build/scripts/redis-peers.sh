# Sourced by the other scripts: who this pod is, who the others are, and whom they take for the master.
# Environment: POD_NAME, SET_NAME, DOMAIN, REPLICAS, MASTER_NAME.

ME="$POD_NAME.$DOMAIN"

# The names of the other pods.
others() {
    ordinal=0
    while [ "$ordinal" -lt "$REPLICAS" ]; do
        [ "$SET_NAME-$ordinal" = "$POD_NAME" ] || echo "$SET_NAME-$ordinal.$DOMAIN"
        ordinal=$((ordinal + 1))
    done
}

# The password stays out of arguments: redis-cli takes it from its environment.
cli() {
    REDISCLI_AUTH="$(cat /etc/redis-auth/password)" timeout 2 redis-cli --no-auth-warning \
        --tls --cacert /etc/redis-tls/ca.crt "$@" 2>/dev/null
}

# The master by the word of the first other Sentinel that knows one, or nothing.
known_master() {
    for host in $(others); do
        answer=$(cli -h "$host" -p 26379 --raw sentinel get-master-addr-by-name "$MASTER_NAME" | head -n 1)
        case "$answer" in
            "$SET_NAME"-*)
                echo "$answer"
                return
                ;;
        esac
    done
}

# The master by the word of this pod's own Sentinel when it last wrote its state, or nothing.
remembered_master() {
    [ -f /data/sentinel.conf ] || return 0
    awk -v name="$MASTER_NAME" '$1 == "sentinel" && $2 == "monitor" && $3 == name { print $4; exit }' /data/sentinel.conf
}
