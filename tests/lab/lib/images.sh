# shellcheck shell=bash
# Images: an artefact image_NAME holds image.tar and ref (its name). Those of the data tier carry the names and the layout
# of the official ones, so that a resource that runs here runs unchanged where images are pulled.

PAUSE_IMAGE=localhost/lab/pause:1

# Loaded into every node before its kubelet starts.
LAB_IMAGES="pause busybox coredns local_path"
METRICS_IMAGES="metrics_server"
DATA_IMAGES="redis mongo rabbitmq openbao"

# image_write FOLDER REF ROOT… [-- mkimage options]
image_write() {
  local folder=$1 ref=$2 roots=()
  shift 2
  while [ $# -gt 0 ] && [ "$1" != -- ]; do roots+=("$1") && shift; done
  [ $# = 0 ] || shift
  "$LAB_HOME/mkimage" --ref "$ref" --out "$folder/image.tar" "$@" "${roots[@]}" >/dev/null
  echo "$ref" >"$folder/ref"
}

image_archive() { echo "$(artefact_dir "image_$1")/image.tar"; }
image_ref() { cat "$(artefact_dir "image_$1")/ref"; }

lab_has_metrics() { [ ! -e "$STATE/no-metrics" ]; }
lab_images() { if lab_has_metrics; then echo $LAB_IMAGES $METRICS_IMAGES; else echo $LAB_IMAGES; fi; }
lab_image_archives() {
  local name
  for name in $(lab_images); do image_archive "$name"; done
}

# static_root FOLDER PROGRAM: a root with one static program, and a /tmp.
static_root() {
  mkdir -p "$1"/{tmp,etc}
  chmod 1777 "$1/tmp"
  cp "$2" "$1/"
}

FILES[image_pause]=mkimage
recipe_image_pause() {
  mkdir root
  # Sleeps for ever as a pod's process 1, ends when told so, and buries what others leave.
  gcc -Os -static -s -x c -o root/pause - <<'EOF'
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void leave(int s) { exit(0); }
static void reap(int s) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) {
  signal(SIGINT, leave); signal(SIGTERM, leave); signal(SIGCHLD, reap);
  for (;;) pause();
}
EOF
  image_write "$1" $PAUSE_IMAGE root -- --entrypoint /pause
  rm -rf root
}

FILES[image_busybox]=mkimage NEEDS[image_busybox]=rootfs_busybox
recipe_image_busybox() {
  image_write "$1" docker.io/library/busybox:1.37 "$(artefact_dir rootfs_busybox)/root" -- --cmd sh
}

FILES[image_coredns]=mkimage NEEDS[image_coredns]=coredns
recipe_image_coredns() {
  static_root root "$(artefact_dir coredns)/bin/coredns"
  image_write "$1" localhost/lab/coredns:1 root -- --entrypoint /coredns
  rm -rf root
}

FILES[image_local_path]=mkimage NEEDS[image_local_path]=local_path
recipe_image_local_path() {
  static_root root "$(artefact_dir local_path)/bin/local-path-provisioner"
  image_write "$1" localhost/lab/local-path:1 root -- --entrypoint /local-path-provisioner
  rm -rf root
}

FILES[image_metrics_server]=mkimage NEEDS[image_metrics_server]=metrics_server
recipe_image_metrics_server() {
  static_root root "$(artefact_dir metrics_server)/bin/metrics-server"
  image_write "$1" localhost/lab/metrics-server:1 root -- --entrypoint /metrics-server
  rm -rf root
}

FILES[image_redis]=mkimage NEEDS[image_redis]=rootfs_redis
recipe_image_redis() {
  image_write "$1" docker.io/library/redis:8.0.2 "$(artefact_dir rootfs_redis)/root" -- \
    --entrypoint docker-entrypoint.sh --cmd redis-server --workdir /data --volume /data --port 6379
}

FILES[image_mongo]=mkimage NEEDS[image_mongo]=rootfs_mongo
recipe_image_mongo() {
  image_write "$1" docker.io/library/mongo:6.0.27 "$(artefact_dir rootfs_mongo)/root" -- \
    --entrypoint docker-entrypoint.sh --cmd mongod --volume /data/db --volume /data/configdb --port 27017 \
    --env HOME=/data/db
}

FILES[image_rabbitmq]=mkimage NEEDS[image_rabbitmq]=rootfs_rabbitmq
recipe_image_rabbitmq() {
  local version rootfs
  rootfs=$(artefact_dir rootfs_rabbitmq)
  version=$(cat "$rootfs/version")
  image_write "$1" "docker.io/library/rabbitmq:$version-management" "$rootfs/root" -- \
    --entrypoint docker-entrypoint.sh --cmd rabbitmq-server --volume /var/lib/rabbitmq \
    --env "PATH=/opt/rabbitmq/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    --env LANG=C.UTF-8 --env LANGUAGE=C.UTF-8 --env LC_ALL=C.UTF-8 --env HOME=/var/lib/rabbitmq \
    --env RABBITMQ_HOME=/opt/rabbitmq --env RABBITMQ_DATA_DIR=/var/lib/rabbitmq --env "RABBITMQ_VERSION=$version" \
    --env RABBITMQ_LOGS=- \
    --port 4369 --port 5671 --port 5672 --port 15671 --port 15672 --port 15691 --port 15692 --port 25672
}

FILES[image_openbao]=mkimage NEEDS[image_openbao]=rootfs_openbao
recipe_image_openbao() {
  image_write "$1" docker.io/openbao/openbao:2.7.2 "$(artefact_dir rootfs_openbao)/root" -- \
    --user openbao --entrypoint docker-entrypoint.sh --cmd "server -dev -dev-no-store-token" \
    --volume /openbao/logs --volume /openbao/file --port 8200 --env HOME=/home/openbao
}
