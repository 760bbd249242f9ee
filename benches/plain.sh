#!/bin/bash
# What benchmarks compare with: the plainest script that brings machines to a cluster with the same files and the same kubeadm commands.
#
#   plain.sh prepare|cluster RENDERED BUNDLE KEY <<< "SLOT ADDRESS ROLE INSTANCE" lines, control planes first
#
# RENDERED is what `kubewright render` wrote. All machines at once; control planes join one at a time. It looks at exit codes and at
# nothing else: no host keys, no facts, no journal, no labels, and nothing goes on where it stopped.
set -eu
what=$1 rendered=$2 bundle=$3 key=$4
ssh="ssh -i $key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o Ciphers=aes128-gcm@openssh.com"
mapfile -t nodes
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
on() { $ssh "admin@$1" sudo sh -es; }
all() {
  local pids=() line
  for line in "${nodes[@]}"; do "$@" $line & pids+=($!); done
  for line in "${pids[@]}"; do wait "$line"; done
}
read -r first_slot first _ <<< "${nodes[0]}"
endpoint=$(sed -n 's/^controlPlaneEndpoint: "\(.*\):6443"/\1/p' "$rendered/$first_slot/etc/kubernetes/kubewright/init.yaml")
secret=$(head -c 32 /dev/urandom | base64 -w 0)

mkdir -p "$stage/common/usr/bin" "$stage/common/opt/cni" "$stage/common/etc/systemd/system"
cp -l "$bundle"/bin/* "$stage/common/usr/bin/" 2>/dev/null || cp "$bundle"/bin/* "$stage/common/usr/bin/"
cp -r "$bundle/cni" "$stage/common/opt/cni/bin"
cp "$bundle"/systemd/* "$stage/common/etc/systemd/system/"
(cd "$stage/common" && find . -type f -exec sha256sum {} +) >"$stage/sums"

prepare() {
  local slot=$1 address=$2 own=$stage/$1
  cp -r "$rendered/$slot" "$own"
  mv "$own/etc/containerd/config.toml (containerd 1)" "$own/etc/containerd/config.toml"
  rm -f "$own"/etc/containerd/*\ * "$own/etc/hosts (added)"
  ! [ -d "$own/etc/kubernetes/kubewright/cni" ] || cp "$bundle"/manifests/*.yml "$own/etc/kubernetes/kubewright/cni/release.yaml"
  [ ! -f "$own/etc/kubernetes/kubewright/api-server/encryption.yaml" ] ||
    sed -i "s#<key>#$secret#" "$own/etc/kubernetes/kubewright/api-server/encryption.yaml"
  # Large files only where they differ.
  $ssh "admin@$address" 'cd / && sudo sha256sum --check --quiet >/dev/null 2>&1' <"$stage/sums" ||
    tar -C "$stage/common" --owner=0 --group=0 -cf - . | $ssh "admin@$address" sudo tar -xf - -C / --no-overwrite-dir
  {
    echo "name=$4 line='$address $4'"
    echo "base64 -d <<'END' | tar -xzf - -C / --no-overwrite-dir"
    tar -C "$own" --owner=0 --group=0 -czf - . | base64
    echo END
    cat <<'END'
before=$(cat /var/lib/containerd-sum 2>/dev/null || true) now=$(sha256sum /etc/containerd/config.toml)
! command -v cloud-init >/dev/null || cloud-init status --wait
[ "$(uname -n)" = "$name" ] || hostnamectl set-hostname "$name"
grep -qxF "$line" /etc/hosts || echo "$line" >>/etc/hosts
modprobe overlay; modprobe br_netfilter
sysctl --quiet --load /etc/sysctl.d/99-kubewright.conf
systemd-detect-virt --quiet --container || swapoff -a
printf 'runtime-endpoint: unix:///run/containerd/containerd.sock\nimage-endpoint: unix:///run/containerd/containerd.sock\n' >/etc/crictl.yaml
mkdir -p /etc/kubernetes/manifests
systemctl enable --quiet containerd kubelet
[ "$before" = "$now" ] || systemctl restart containerd
echo "$now" >/var/lib/containerd-sum
until ctr version >/dev/null 2>&1; do sleep 0.2; done
until crictl version >/dev/null 2>&1; do sleep 0.2; done
kubeadm version -o short >/dev/null
END
  } | on "$address" >/dev/null
}

join() {
  $ssh "admin@$2" "echo '$first $endpoint' | sudo tee -a /etc/hosts >/dev/null
    sudo sed -i 's/<token>/$token/; s/\"<sha256[^\"]*\"/\"$hash\"/; s/caCertHashes: .*/caCertHashes: [\"$hash\"]/' /etc/kubernetes/kubewright/join.yaml
    sudo kubeadm join --config /etc/kubernetes/kubewright/join.yaml" >"$stage/$1.log" 2>&1 || { cat "$stage/$1.log" >&2; return 1; }
}
workers() { if [ "$3" = node ]; then join "$@"; fi; }
control_planes() {
  local line
  for line in "${nodes[@]:1}"; do
    set -- $line
    [ "$3" = control-plane ] || continue
    $ssh "admin@$first" sudo tar -C /etc/kubernetes/pki -cf - ca.crt ca.key sa.pub sa.key front-proxy-ca.crt front-proxy-ca.key etcd/ca.crt etcd/ca.key |
      $ssh "admin@$2" 'sudo mkdir -p /etc/kubernetes/pki && sudo tar -C /etc/kubernetes/pki -xf -'
    join "$@"
  done
}

all prepare
[ "$what" = cluster ] || exit 0
on "$first" >"$stage/init.log" 2>&1 <<END || { tail "$stage/init.log" >&2; exit 1; }
echo '$first $endpoint' >>/etc/hosts
sed -i 's/<token>/abcdef.0123456789abcdef/' /etc/kubernetes/kubewright/init.yaml
kubeadm init --config /etc/kubernetes/kubewright/init.yaml
kubectl --kubeconfig /etc/kubernetes/admin.conf apply --server-side -k /etc/kubernetes/kubewright/cni
END
set -- $($ssh "admin@$first" sudo kubeadm token create --print-join-command)
token=$5 hash=$7
control_planes & other=$!
all workers
wait $other
$ssh "admin@$first" sudo kubectl --kubeconfig /etc/kubernetes/admin.conf wait --for=condition=Ready node --all --timeout=300s >/dev/null
