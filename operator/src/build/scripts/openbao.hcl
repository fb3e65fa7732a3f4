ui = false
disable_mlock = true

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_disable     = true
}

telemetry {
  disable_hostname          = true
  prometheus_retention_time = "24h"
}
