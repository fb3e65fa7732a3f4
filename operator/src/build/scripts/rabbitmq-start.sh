#!/bin/sh
# Starts RabbitMQ under the name that its peers know. Only the cookie has to be a private file: Erlang refuses it
# otherwise, and volumes of Secrets cannot be that strict.
set -eu
umask 077
. /etc/rabbitmq-config/env.sh
run=/run/rabbitmq

mkdir -p "$run/conf.d"
# A container that is started again in the same pod finds its files there, and they are read-only.
cp -f /etc/rabbitmq-config/enabled_plugins "$run/enabled_plugins"
cp -f /etc/rabbitmq-config/rabbitmq.conf "$run/conf.d/10-settings.conf"
printf 'default_user = %s\ndefault_pass = %s\n' "$(cat /etc/rabbitmq-auth/username)" "$(cat /etc/rabbitmq-auth/password)" \
    >"$run/conf.d/20-user.conf"

rm -f "$HOME/.erlang.cookie"
cp /etc/rabbitmq-auth/erlang-cookie "$HOME/.erlang.cookie"
chmod 400 "$HOME/.erlang.cookie"

# Distribution starts with the own name, so it has to resolve.
until getent hosts "$POD_NAME.$DOMAIN" >/dev/null; do
    echo "waits for the name $POD_NAME.$DOMAIN"
    sleep 0.5
done

# Idle schedulers must not spin: the processor is shared.
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="$distribution +sbwt none +sbwtdcpu none +sbwtdio none"
exec rabbitmq-server
