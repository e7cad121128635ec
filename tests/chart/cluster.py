"""Owns a stand-in for the API server that is just enough for Helm's `lookup`: discovery, lists that
are empty, and one Secret when a file with its data (JSON) is given.

    cluster.py PORT-FILE [SECRET-NAME DATA-FILE]

With SELECTOR (JSON) in the environment there is the Service demo-podzero-master, with that selector.

Listens on a free port of 127.0.0.1, writes it to PORT-FILE, and serves until it is ended.
"""

import http.server
import json
import os
import sys

port_file, *secret = sys.argv[1:]
minor = "33"
resources = {
    "/api/v1": ["ConfigMap", "Secret", "Service", "ServiceAccount", "Pod"],
    "/apis/apps/v1": ["StatefulSet"],
    "/apis/policy/v1": ["PodDisruptionBudget"],
    "/apis/rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"],
}


def answer(path):
    if path == "/version":
        return {"major": "1", "minor": minor, "gitVersion": f"v1.{minor}.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = []
        for resource in resources:
            if resource.startswith("/apis/"):
                name, version = resource.split("/")[2:]
                version = {"groupVersion": f"{name}/{version}", "version": version}
                groups.append({"name": name, "versions": [version], "preferredVersion": version})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path in resources:
        known = [
            {
                "name": kind.lower() + "s",
                "singularName": kind.lower(),
                "namespaced": True,
                "kind": kind,
                "verbs": ["get", "list", "create", "patch"],
            }
            for kind in resources[path]
        ]
        version = path.split("/", 2)[2]
        return {"kind": "APIResourceList", "groupVersion": version, "resources": known}
    if path == "/apis/apps/v1/namespaces/default/statefulsets":
        return {"kind": "StatefulSetList", "apiVersion": "apps/v1", "metadata": {}, "items": []}
    if "SELECTOR" in os.environ and path == "/api/v1/namespaces/default/services/demo-podzero-master":
        meta = {
            "name": "demo-podzero-master",
            "namespace": "default",
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {
                "meta.helm.sh/release-name": "demo",
                "meta.helm.sh/release-namespace": "default",
            },
        }
        spec = {"selector": json.loads(os.environ["SELECTOR"])}
        return {"kind": "Service", "apiVersion": "v1", "metadata": meta, "spec": spec}
    if secret and path == f"/api/v1/namespaces/default/secrets/{secret[0]}":
        with open(secret[1], encoding="utf-8") as file:
            data = json.load(file)
        # As Helm leaves it for the release `demo`; it touches nobody else's.
        meta = {
            "name": secret[0],
            "namespace": "default",
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {
                "meta.helm.sh/release-name": "demo",
                "meta.helm.sh/release-namespace": "default",
            },
        }
        return {"kind": "Secret", "apiVersion": "v1", "metadata": meta, "data": data}
    return None


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = answer(self.path.split("?")[0])
        status = 200 if body else 404
        body = body or {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "NotFound",
            "code": 404,
        }
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(port_file + ".new", "w", encoding="utf-8") as file:
    file.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
server.serve_forever()
