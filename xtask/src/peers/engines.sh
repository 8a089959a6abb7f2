#!/bin/bash
# Runs inside the peers' tree: DIRECTORY holds our binary as `runc`. Each engine that is given drives it.
# Prints `ok NAME` or `FAILED NAME` with what was said below it, or `skipped (WHY) NAME`.
kit=$1; shift
work=$(mktemp -d /tmp/knarr-peers.XXXXXX)
trap 'cleanup' EXIT
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
  grep " $work" /proc/self/mounts | cut -d' ' -f2 | sort -r | while read -r mount; do umount -l "$mount"; done
  rm -rf --one-file-system "$work"
}

# check NAME CODE TEXT COMMAND…: the command ends with the code, and prints the text (a pattern).
check() {
  local name=$1 code=$2 text=$3 said got; shift 3
  said=$(timeout -k 5 60 "$@" 2>&1 </dev/null); got=$?
  if [ "$got" = "$code" ] && [[ "$said" == $text ]]; then echo "ok $engine: $name"; else
    echo "FAILED $engine: $name"; printf '    %s\n' "code $got, expected $code" "$said"
  fi
}

# An image of busybox, as a tree and as a docker archive's only layer.
image() {
  mkdir -p "$work/tree/bin" "$work/tree/tmp" "$work/tree/etc"
  cp /usr/bin/busybox "$work/tree/bin/"
  for applet in sh echo cat tty sleep id hostname mkdir test true kill head; do ln -s busybox "$work/tree/bin/$applet"; done
  echo 'root:x:0:0::/root:/bin/sh' >"$work/tree/etc/passwd"
  tar -C "$work/tree" -cf "$work/tree.tar" .
}

until_answers() { for _ in $(seq 150); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done; return 1; }

# The life of a container, with an engine whose command line is docker's. $limit prints the memory limit inside.
docker_like() {
  local run=("$@" run --network none "${extra[@]}") cli=("$@")
  check "run prints and passes the code on" 7 'hello' "${run[@]}" --rm bb sh -c 'echo hello; exit 7'
  check "a program that is missing is 127" 127 '*' "${run[@]}" --rm bb nosuch
  check "a terminal" 0 '*/dev/pts/0*' script -qec "${run[*]} --rm -t bb tty" /dev/null
  check "another user" 0 'uid=5*gid=6*' "${run[@]}" --rm -u 5:6 bb id
  check "a detached container starts" 0 '*' "${run[@]}" -d --name boat "${limits[@]}" bb sh -c 'trap "exit 9" TERM; while :; do sleep 0.1; done'
  check "exec joins" 3 'in' "${cli[@]}" exec boat sh -c 'echo in; exit 3'
  check "exec with a terminal" 0 '*/dev/pts/*' script -qec "${cli[*]} exec -t boat tty" /dev/null
  if [ ${#limits[@]} -gt 0 ]; then
    check "the memory limit holds" 0 '67108864' "${cli[@]}" exec boat sh -c "$limit"
    check "update changes it" 0 '*' "${cli[@]}" update --memory 96m --memory-swap 96m boat
    check "the new limit holds" 0 '100663296' "${cli[@]}" exec boat sh -c "$limit"
  else
    echo "skipped (no memory controller) $engine: limits"
  fi
  check "pause" 0 '*' "${cli[@]}" pause boat
  check "unpause" 0 '*' "${cli[@]}" unpause boat
  check "top" 0 '*sleep*' "${cli[@]}" top boat
  check "kill by TERM" 0 '*' "${cli[@]}" kill -s TERM boat
  check "wait tells the code" 0 '9' "${cli[@]}" wait boat
  check "start again" 0 '*' "${cli[@]}" start boat
  check "stop" 0 '*' "${cli[@]}" stop -t 1 boat
  check "rm" 0 '*' "${cli[@]}" rm -f boat
  check "nothing is left" 0 '' "${cli[@]}" ps -aq
}

docker_engine() {
  engine=docker extra=(--runtime knarr) limits=(--memory 64m --cpus 0.5) limit='cat /sys/fs/cgroup/memory/memory.limit_in_bytes'
  [ -f /sys/fs/cgroup/cgroup.controllers ] && limit='cat /sys/fs/cgroup/memory.max'
  dockerd --add-runtime "knarr=$kit/runc" --data-root "$work/docker" --exec-root "$work/docker-run" -p "$work/docker.pid" \
    -H "unix://$work/docker.sock" --iptables=false --ip6tables=false --bridge=none >"$work/dockerd.log" 2>&1 &
  pids+=($!)
  until_answers docker -H "unix://$work/docker.sock" info || { echo "FAILED docker: the daemon answers"; tail -5 "$work/dockerd.log"; return; }
  docker -H "unix://$work/docker.sock" import "$work/tree.tar" bb >/dev/null
  docker_like docker -H "unix://$work/docker.sock"
}

podman_engine() {
  engine=podman extra=(--pids-limit 0) limits=() limit='cat /sys/fs/cgroup/memory.max'
  grep -qw memory /sys/fs/cgroup/cgroup.controllers && limits=(--memory 64m --cpus 0.5)
  local cli=(podman --root "$work/podman" --runroot "$work/podman-run" --runtime "$kit/runc" --cgroup-manager cgroupfs)
  "${cli[@]}" import "$work/tree.tar" bb >/dev/null 2>&1
  docker_like "${cli[@]}"
}

buildah_engine() {
  engine=buildah
  local cli=(buildah --root "$work/buildah" --runroot "$work/buildah-run")
  local id; id=$("${cli[@]}" from --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 scratch); "${cli[@]}" add -q "$id" "$work/tree.tar" / >/dev/null
  check "run" 0 'hello' "${cli[@]}" run --runtime "$kit/runc" --isolation oci --network none "$id" echo hello
  "${cli[@]}" rm "$id" >/dev/null
}

containerd_engine() {
  engine=containerd
  mkdir -p "$work/ctr"
  printf 'version = 2\nroot = "%s/ctr/root"\nstate = "%s/ctr/state"\n[grpc]\n  address = "%s/ctr/sock"\n' "$work" "$work" "$work" >"$work/ctr/config.toml"
  containerd --config "$work/ctr/config.toml" >"$work/containerd.log" 2>&1 &
  pids+=($!)
  local cli=(ctr -a "$work/ctr/sock") name=docker.io/library/bb:latest
  until_answers "${cli[@]}" version || { echo "FAILED containerd: the daemon answers"; tail -5 "$work/containerd.log"; return; }
  local layout=$work/layout
  umoci init --layout "$layout" && umoci new --image "$layout:bb" && umoci raw add-layer --image "$layout:bb" "$work/tree.tar"
  skopeo --insecure-policy copy -q "oci:$layout:bb" "docker-archive:$work/bb.tar:$name"
  "${cli[@]}" images import "$work/bb.tar" >/dev/null
  local run=("${cli[@]}" run --runc-binary "$kit/runc")
  check "run prints and passes the code on" 7 'hello' "${run[@]}" --rm "$name" one sh -c 'echo hello; exit 7'
  check "a terminal" 0 '*/dev/pts/0*' script -qec "${run[*]} --rm -t $name two tty" /dev/null
  check "a detached container starts" 0 '' "${run[@]}" -d --memory-limit 67108864 "$name" boat sleep 1000
  check "exec joins" 3 'in' "${cli[@]}" task exec --exec-id x1 boat sh -c 'echo in; exit 3'
  check "exec with a terminal" 0 '*/dev/pts/*' script -qec "${cli[*]} task exec --exec-id x2 -t boat tty" /dev/null
  check "the metrics know the limit" 0 '*67108864*' "${cli[@]}" task metrics --format json boat
  check "pause" 0 '' "${cli[@]}" task pause boat
  check "resume" 0 '' "${cli[@]}" task resume boat
  check "ps" 0 '*PID*' "${cli[@]}" task ps boat
  check "kill" 0 '' "${cli[@]}" task kill -s SIGKILL boat
  sleep 1
  check "task removal tells the code" 0 '*137*' "${cli[@]}" task rm boat
  check "removal" 0 '' "${cli[@]}" container rm boat
  check "nothing is left" 0 '' "${cli[@]}" container ls -q
}

image
for word in "$@"; do "${word}_engine"; done
echo done
