"""The parts of the cluster: their settings as files, and their command lines.

Everything is pure text here; cluster.py writes and starts it. The odd settings are what a small machine
with an old kernel, no registry and few capabilities needs; each says why.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from machine import STATE

NODE = "node"
BRIDGE = "cni0"
ADDRESS = "10.244.0.1"
"""Of the bridge, and so of node, API server and DNS: a `dummy` device, the usual way, is not in every kernel."""
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
DOMAIN = "cluster.local"
SERVER = f"https://{ADDRESS}:6443"
KUBECONFIG = STATE / "kubeconfig"
CONTAINERD_SOCKET = STATE / "containerd.sock"
CONTAINERD_STATE = STATE / "containerd-state"
VOLUMES = STATE / "volumes"
SANDBOX_IMAGE = "docker.io/library/busybox:test"

_CERTIFICATES = STATE / "pki"
_ISSUER = f"https://kubernetes.default.svc.{DOMAIN}"
CA = _CERTIFICATES / "apiserver.crt"
SERVICE_ACCOUNT_KEY = _CERTIFICATES / "service-account.key"
TOKENS = _CERTIFICATES / "tokens.csv"


@dataclass(frozen=True)
class Component:
    name: str
    command: tuple[str, ...]


def containerd_config() -> str:
    """Return containerd's TOML: everything of it below STATE, nothing shared with another containerd."""
    return f"""\
version = 2
root = "{STATE}/containerd"
state = "{CONTAINERD_STATE}"
oom_score = 0
[grpc]
address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
path = "{STATE}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{SANDBOX_IMAGE}"
# Without CAP_SYS_RESOURCE a sandbox that asks for a negative score dies at its start.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{STATE}/cni"
"""


def cni_config() -> str:
    """Return the pod network: one bridge, addresses handed out from a folder of ours."""
    address_management = {
        "type": "host-local",
        "dataDir": f"{STATE}/addresses",
        "ranges": [[{"subnet": POD_RANGE, "gateway": ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": address_management}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]})


def kubelet_config() -> str:
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "clusterDNS": [ADDRESS],
            "clusterDomain": DOMAIN,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,  # no registry: an image that is collected is gone
            "localStorageCapacityIsolation": False,  # the disk's device may not be there to be measured
            "makeIPTablesUtilChains": False,  # nothing would take them away again
            "oomScoreAdj": 0,
            "podLogsDir": str(STATE / "pod-logs"),
            "resolvConf": str(STATE / "resolv.conf"),
            "volumePluginDir": str(STATE / "volume-plugins"),
        }
    )


def corefile() -> str:
    """Return the DNS settings: the cluster's names; no other name exists, which pods hear at once."""
    return f"""\
. {{
    bind {ADDRESS}
    errors
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {KUBECONFIG}
    }}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def kubeconfig(token: str) -> str:
    cluster = {"server": SERVER, "certificate-authority": str(CA)}
    context = {"cluster": "perfbench", "user": "admin", "namespace": "default"}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "perfbench", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "perfbench", "context": context}],
            "current-context": "perfbench",
        }
    )


def files(token: str) -> dict[Path, str]:
    """Return every file that the components read, by its path."""
    return {
        STATE / "containerd.toml": containerd_config(),
        STATE / "cni" / "pods.conflist": cni_config(),
        STATE / "kubelet.json": kubelet_config(),
        STATE / "Corefile": corefile(),
        STATE / "resolv.conf": f"nameserver {ADDRESS}\n",
        KUBECONFIG: kubeconfig(token),
        TOKENS: f"{token},admin,admin,system:masters\n",
    }


def storage_class(name: str, provisioner: str, default: bool) -> dict[str, object]:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": provisioner,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def objects() -> str:
    """Return what every cluster starts with: a storage class that provides, and one that never does."""
    items = [storage_class("standard", "perfbench.io/local", True), storage_class("never", "perfbench.io/never", False)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def containerd() -> Component:
    return Component("containerd", ("containerd", "--config", f"{STATE}/containerd.toml"))


def server(node: Path) -> list[Component]:
    """Return etcd and API server, in the order of starting; node is the binary."""
    etcd = (
        *("--data-dir", f"{STATE}/etcd", "--unsafe-no-fsync", "--log-level", "warn"),
        *("--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379"),
        *("--listen-peer-urls", "http://127.0.0.1:2380"),
    )
    apiserver = (
        *("--etcd-servers", "http://127.0.0.1:2379"),
        *("--bind-address", ADDRESS, "--advertise-address", ADDRESS, "--cert-dir", str(_CERTIFICATES)),
        *("--service-cluster-ip-range", SERVICE_RANGE, "--token-auth-file", str(TOKENS)),
        *("--authorization-mode", "Node,RBAC", "--allow-privileged"),
        *("--service-account-issuer", _ISSUER),
        *("--service-account-key-file", str(SERVICE_ACCOUNT_KEY)),
        *("--service-account-signing-key-file", str(SERVICE_ACCOUNT_KEY)),
        *("--kubelet-preferred-address-types", "InternalIP"),  # else logs and exec look the node up in DNS
    )
    return [
        Component("etcd", (str(node), "etcd", *etcd)),
        Component("kube-apiserver", (str(node), "kube-apiserver", *apiserver)),
    ]


def clients(node: Path) -> list[Component]:
    """Return the components that need the API server; kubelet is last, so that pods find all of it."""
    local = ("--bind-address", "127.0.0.1", "--leader-elect=false", "--kubeconfig", str(KUBECONFIG))
    controllers = (
        *local,
        *("--service-account-private-key-file", str(SERVICE_ACCOUNT_KEY), "--root-ca-file", str(CA)),
        "--use-service-account-credentials",
    )
    proxy = (
        *("--kubeconfig", str(KUBECONFIG), "--proxy-mode", "iptables", "--hostname-override", NODE),
        # The kernel's limits are not ours to set.
        *("--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0"),
        *("--conntrack-tcp-timeout-close-wait", "0", "--oom-score-adj", "0"),
    )
    provisioner = ("--kubeconfig", str(KUBECONFIG), "--root", str(VOLUMES), "--node", NODE)
    kubelet = (
        *("--config", f"{STATE}/kubelet.json", "--kubeconfig", str(KUBECONFIG)),
        *("--root-dir", f"{STATE}/kubelet", "--cert-dir", f"{STATE}/kubelet/pki"),
        *("--hostname-override", NODE, "--node-ip", ADDRESS),
    )
    return [
        Component("kube-controller-manager", (str(node), "kube-controller-manager", *controllers)),
        Component("kube-scheduler", (str(node), "kube-scheduler", *local)),
        Component("kube-proxy", (str(node), "kube-proxy", *proxy)),
        Component("coredns", (str(node), "coredns", "-quiet", "-conf", f"{STATE}/Corefile")),
        Component("provisioner", (str(node), "provisioner", *provisioner)),
        Component("kubelet", (str(node), "kubelet", *kubelet)),
    ]
