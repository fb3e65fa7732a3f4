#!/usr/bin/env bash
# Writes a configuration by which integration tests reach the data tier of the hub in NAMESPACE; prints its path.
#
# Tests get rights that no process of the hub has: MongoDB's administrator (each test uses a database of its own),
# OpenBao's root token, and a RabbitMQ virtual host of their own, so that the hub's workers do not take their messages.
. "$(dirname "$0")/environment.sh"

folder=$FLICKRHUB_CACHE/test-config/$LAB_NAME
rm -rf "$folder"
mkdir -p "$folder"
chmod 700 "$folder"

# secret NAME KEY FILE
secret() {
  kube -n "$NAMESPACE" get secret "$HUB-$1" -o json | jq -er --arg key "$2" '.data[$key]' | base64 -d >"$folder/$3"
}
secret redis-auth password redis
secret mongodb-auth admin-password mongodb
secret rabbitmq-auth password rabbitmq
secret rabbitmq-auth username rabbitmq-user
secret vault-keys root-token vault
kube -n "$NAMESPACE" get configmap "$HUB-trust" -o json | jq -er '.data["ca.crt"]' >"$folder/ca.crt"
openssl rand -hex 16 >"$folder/consumer-key"
openssl rand -hex 8 >"$folder/consumer-secret"

domain=$NAMESPACE.svc.cluster.local
vhost=integration-$(date +%s)
management=https://$HUB-rabbitmq.$domain:15671/api
broker_user=$(cat "$folder/rabbitmq-user")
printf 'user = "%s:%s"\ncacert = "%s"\n' "$broker_user" "$(cat "$folder/rabbitmq")" "$folder/ca.crt" >"$folder/curl"
in_cluster_network curl -sSf -K "$folder/curl" -X PUT "$management/vhosts/$vhost" >/dev/null
in_cluster_network curl -sSf -K "$folder/curl" -X PUT -H 'Content-Type: application/json' \
  -d '{"configure":".*","write":".*","read":".*"}' "$management/permissions/$vhost/$broker_user" >/dev/null

# members SET SERVICE PORT: the three members of a StatefulSet as a YAML list.
members() { printf '["%s-0.%s:%s", "%s-1.%s:%s", "%s-2.%s:%s"]' "$1" "$2" "$3" "$1" "$2" "$3" "$1" "$2" "$3"; }

cat >"$folder/config.yaml" <<YAML
hub: integration
redis:
  sentinels: $(members "$HUB-redis" "$HUB-redis.$domain" 26379)
  masterName: flickrhub
  passwordFile: $folder/redis
  caFile: $folder/ca.crt
  keyPrefix: "fh-integration:"
mongodb:
  hosts: $(members "$HUB-mongodb" "$HUB-mongodb.$domain" 27017)
  replicaSet: rs0
  database: integration
  username: admin
  passwordFile: $folder/mongodb
  caFile: $folder/ca.crt
  maxPoolSize: 10
rabbitmq:
  hosts: ["$HUB-rabbitmq.$domain:5671"]
  vhost: $vhost
  username: $broker_user
  passwordFile: $folder/rabbitmq
  caFile: $folder/ca.crt
  quorumGroupSize: 3
vault:
  address: https://$HUB-vault.$domain:8200
  caFile: $folder/ca.crt
  auth: {method: token, tokenFile: $folder/vault}
  transitMount: transit
  userTokensKey: flickrhub-user-tokens
  appCredentialsKey: flickrhub-app-credentials
flickr:
  endpoints:
    rest: http://127.0.0.1:1/services/rest
    upload: http://127.0.0.1:1/services
    oauth: http://127.0.0.1:1/services/oauth
  apps:
    - name: default
      consumerKeyFile: $folder/consumer-key
      consumerSecretFile: $folder/consumer-secret
      requestsPerHour: 3600
queues:
  flickr_rest: &queue {concurrency: 4, prefetch: 8, window: 16, maxAttempts: 3, timeoutSeconds: 30}
  flickr_upload: *queue
  flickr_replace: *queue
api:
  publicUrl: http://127.0.0.1:8080
  maxUploadBytes: 104857600
  maxBodyBytes: 10485760
callbacks: {allowedNetworks: [127.0.0.0/8]}
retentionDays: 1
YAML
echo "$folder/config.yaml"
