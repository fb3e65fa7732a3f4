# shellcheck shell=bash
# Keys, certificates, tokens and kubeconfigs of one lab, made anew for each.
#
# The front proxy has a CA of its own: with the cluster's, every client certificate could pose as the aggregation layer.

PKI=$STATE/pki

pki_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key"; }
pki_ca() {
  pki_key "$1"
  openssl req -x509 -new -key "$PKI/$1.key" -out "$PKI/$1.crt" -days 365 -subj "/CN=$1"
}
# pki_cert NAME CA SUBJECT EXTENSIONS
pki_cert() {
  pki_key "$1"
  openssl req -new -key "$PKI/$1.key" -out "$PKI/$1.csr" -subj "$3"
  openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/$2.crt" -CAkey "$PKI/$2.key" -CAcreateserial -out "$PKI/$1.crt" \
    -days 365 -extfile <(echo "$4") 2>/dev/null
}

pki_create() {
  if [ -e "$PKI/complete" ]; then return 0; fi
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  pki_ca ca
  pki_ca front-proxy-ca
  pki_key service-account
  openssl ec -in "$PKI/service-account.key" -pubout -out "$PKI/service-account.pub" 2>/dev/null
  pki_cert apiserver ca /CN=kube-apiserver "subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.$CLUSTER_DOMAIN,DNS:localhost,IP:127.0.0.1,IP:$API_SERVICE_IP,IP:$CONTROL_PLANE_IP"
  pki_cert apiserver-kubelet ca /O=system:masters/CN=kube-apiserver-kubelet extendedKeyUsage=clientAuth
  pki_cert front-proxy front-proxy-ca /CN=front-proxy extendedKeyUsage=clientAuth
  pki_token admin admin system:masters
  pki_token controller-manager system:kube-controller-manager
  pki_token scheduler system:kube-scheduler
  pki_token proxy system:kube-proxy
  # The API server reads its tokens once, at its start: those of nodes that may come later are made now.
  local i
  for i in 1 2 3 4 5 6 7 8 9; do pki_token "n$i" "system:node:n$i" system:nodes; done
  touch "$PKI/complete"
}

# pki_token NAME USER [GROUP]: a token for the API server's list, and the kubeconfig that uses it.
pki_token() {
  local token
  token=$(openssl rand -hex 16)
  echo "$token,$2,$1${3:+,$3}" >>"$PKI/tokens.csv"
  cat >"$PKI/$1.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {server: "https://$CONTROL_PLANE_IP:6443", certificate-authority-data: $(base64 -w0 <"$PKI/ca.crt")}
users:
- name: $1
  user: {token: $token}
contexts:
- name: lab
  context: {cluster: lab, user: $1}
current-context: lab
EOF
  chmod 600 "$PKI/$1.kubeconfig"
}

ADMIN_KUBECONFIG=$PKI/admin.kubeconfig
