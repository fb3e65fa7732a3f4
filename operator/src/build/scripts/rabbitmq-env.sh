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
