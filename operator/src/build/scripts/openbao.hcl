ui = false
disable_mlock = true

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_cert_file   = "/etc/openbao-tls/tls.crt"
  tls_key_file    = "/etc/openbao-tls/tls.key"
  tls_min_version = "tls12"
}

telemetry {
  disable_hostname          = true
  prometheus_retention_time = "24h"
}
