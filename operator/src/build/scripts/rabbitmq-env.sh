# Sourced by the other scripts, and by a person's shell before rabbitmqctl: by which name the node is known, and where
# its files are.
# Environment: POD_NAME, DOMAIN.

export HOME=/var/lib/rabbitmq
export RABBITMQ_USE_LONGNAME=true
export RABBITMQ_NODENAME="rabbit@$POD_NAME.$DOMAIN"
export RABBITMQ_CONFIG_FILES=/run/rabbitmq/conf.d
export RABBITMQ_ENABLED_PLUGINS_FILE=/run/rabbitmq/enabled_plugins
export RABBITMQ_MNESIA_BASE="$HOME/db"
export RABBITMQ_PID_FILE=/run/rabbitmq/pid
export RABBITMQ_LOGS=-
export RABBITMQ_LOG_BASE=/run/rabbitmq

# Nodes and tools talk over TLS. Where Erlang's TLS is has to be said, and takes a second to be found out.
if [ ! -s /run/rabbitmq/tls-path ]; then
    erl -noinput -eval 'io:format("~s", [filename:dirname(code:which(inet_tls_dist))])' -s init stop >/run/rabbitmq/tls-path
fi
distribution="-pa $(cat /run/rabbitmq/tls-path) -proto_dist inet_tls"
distribution="$distribution -ssl_dist_optfile /etc/rabbitmq-config/distribution.config"
export RABBITMQ_CTL_ERL_ARGS="$distribution"
