"""What a mix needs of a running control plane: the API as its clients use it, etcd's revision, and quiet.

The environment is that of `scripts/control-plane env`. Standard library only: a kubectl process per write would cost more
than the control plane itself, so requests are sent as kubectl, helm and curl send them, without their start-up.
"""

import base64
import http.client
import json
import os
import re
import ssl
import threading
import time
import urllib.parse
import urllib.request

# Kind to API path prefix, plural, and whether it lives in a namespace.
KINDS = {
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "PersistentVolume": ("/api/v1", "persistentvolumes", False),
    "Pod": ("/api/v1", "pods", True),
    "Service": ("/api/v1", "services", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "ResourceQuota": ("/api/v1", "resourcequotas", True),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "ReplicaSet": ("/apis/apps/v1", "replicasets", True),
    "StatefulSet": ("/apis/apps/v1", "statefulsets", True),
    "DaemonSet": ("/apis/apps/v1", "daemonsets", True),
    "Job": ("/apis/batch/v1", "jobs", True),
    "CronJob": ("/apis/batch/v1", "cronjobs", True),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets", True),
    "StorageClass": ("/apis/storage.k8s.io/v1", "storageclasses", False),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    "App": ("/apis/example.cascade.dev/v1", "apps", True),
}

# Keys that change without anybody doing anything; the same as in scripts/control-plane.d/workload.sh.
RESTLESS_KEYS = re.compile(r"^/registry/(leases|masterleases|events)/")

# Seconds of quiet after which Pods that are being deleted are not waited for any longer.
GOING_SECONDS = 30

# Seconds without an answer after which a request has failed.
REQUEST_SECONDS = 60


class Refused(Exception):
    """The API answered with an error status."""

    def __init__(self, status, method, path, answer):
        super().__init__(f"{method} {path}: {status} {answer.get('reason', '')}: {answer.get('message', answer)}")
        self.status = status


def api_path(kind, namespace, name=None, subresource=None):
    """The path of an object, or of its collection without a name."""
    prefix, plural, namespaced = KINDS[kind]
    parts = [prefix.lstrip("/")]
    if namespaced:
        parts += ["namespaces", namespace]
    parts.append(plural)
    parts += [part for part in (name, subresource) if part]
    return "/" + "/".join(parts)


class Cluster:
    """One control plane. Safe to use from several threads: each has a connection of its own."""

    def __init__(self, environment):
        self._address = urllib.parse.urlsplit(environment["CONTROL_PLANE_APISERVER_URL"]).netloc
        self._etcd_url = environment["CONTROL_PLANE_ETCD_URL"]
        with open(environment["KUBECONFIG"], encoding="utf-8") as file:
            text = file.read()
        self._token = re.search(r'token: "([^"]+)"', text).group(1)
        authority = re.search(r'certificate-authority: "([^"]+)"', text).group(1)
        self._tls = ssl.create_default_context(cafile=authority)
        self._local = threading.local()

    def _connection(self):
        if getattr(self._local, "connection", None) is None:
            self._local.connection = http.client.HTTPSConnection(
                self._address, context=self._tls, timeout=REQUEST_SECONDS
            )
        return self._local.connection

    def request(self, method, path, body=None, *, user_agent="truth", user=None, content_type="application/json"):
        """Sends one request and returns the decoded answer; `user` is whom to act as. Raises Refused or OSError."""
        headers = {
            "Authorization": f"Bearer {self._token}",
            "User-Agent": user_agent,
            "Accept": "application/json",
            "Content-Type": content_type,
        }
        if user:
            headers |= {"Impersonate-User": user, "Impersonate-Group": "system:masters"}
        try:
            connection = self._connection()
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
        except (OSError, http.client.HTTPException):
            self._local.connection = None
            raise
        if response.status >= 300:
            raise Refused(response.status, method, path, answer)
        return answer

    def get(self, kind, namespace, name):
        """One object, or None if it does not exist."""
        try:
            return self.request("GET", api_path(kind, namespace, name))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, kind, namespace, selector=""):
        """The objects of a kind in a namespace that a label selector selects."""
        query = "?" + urllib.parse.urlencode({"labelSelector": selector}) if selector else ""
        return self.request("GET", api_path(kind, namespace) + query)["items"]

    def _etcd_range(self, **arguments):
        body = {"key": "L3JlZ2lzdHJ5Lw==", "range_end": "L3JlZ2lzdHJ5MA=="} | arguments  # /registry/ to /registry0
        request = urllib.request.Request(f"{self._etcd_url}/v3/kv/range", json.dumps(body).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=REQUEST_SECONDS) as response:
            return json.load(response)

    def fingerprint(self):
        """etcd's revision, and something that differs whenever a key that is not restless was written or deleted."""
        answer = self._etcd_range(keys_only=True)
        newest = count = 0
        for row in answer.get("kvs", []):
            if not RESTLESS_KEYS.match(base64.b64decode(row["key"]).decode(errors="replace")):
                count += 1
                newest = max(newest, int(row["mod_revision"]))
        return int(answer["header"]["revision"]), (count, newest)

    def has_going_pods(self):
        """Whether a Pod is being deleted, or kube-apiserver does not say: it closes connections that were idle for long."""
        try:
            pods = self.request("GET", "/api/v1/pods")["items"]
        except (OSError, http.client.HTTPException):
            return True
        return any("deletionTimestamp" in pod["metadata"] for pod in pods)

    def settle(self, quiet_seconds, at_most_seconds):
        """Waits until nothing but restless keys changed for so long; returns the revision, or None if it never came.

        While Pods are being deleted it waits on, up to GOING_SECONDS of quiet: kwok may let them go many seconds late.
        """
        deadline = time.monotonic() + at_most_seconds
        before, since = None, time.monotonic()
        while time.monotonic() < deadline:
            revision, now = self.fingerprint()
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since >= GOING_SECONDS:
                return revision
            elif time.monotonic() - since >= quiet_seconds and not self.has_going_pods():
                return revision
            time.sleep(0.3)
        return None


def environment():
    """What `scripts/control-plane env` exported."""
    return os.environ
