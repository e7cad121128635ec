"""Owns what the rendered manifests must say, whatever the values: the lines that the rules of the
project stand on, and that paths, ports, names and variables agree with one another and the binary.

    manifests.py RENDERED KUBERNETES-MINOR VALUES

VALUES is the file of the chart's ci/ that was rendered, and says what to expect.

Prints one line per broken claim; the exit code is 0 when there is none.
"""

import argparse
import base64
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVERS = ("redis", "valkey")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("rendered")
    args.add_argument("minor", type=int)
    args.add_argument("values")
    args = args.parse_args()
    values = yaml.safe_load(pathlib.Path(args.values).read_text()) or {}

    def value(path, otherwise):
        at = values
        for key in path.split("."):
            at = at.get(key) if isinstance(at, dict) else None
        return otherwise if at is None else at

    args.members = value("replica.replicaCount", 3)
    args.password = value("auth.password", None)
    args.ordinary = value("podzero.nativeSidecar", "auto") == "false"
    args.lease = value("podzero.authority", "lease") == "lease"
    args.slices = args.lease and value("podzero.masterServiceMode", "slice") == "slice"
    args.tls = value("tls.enabled", False)
    args.more = [c["name"] for key in ("initContainers", "sidecars") for c in value(key, [])]
    args.ids_by_cluster = value("containerSecurityContext", {}).get("runAsUser", 999) is None
    args.data = value("persistence.claimName", "data")
    text = pathlib.Path(args.rendered).read_text()
    objects = [o for o in yaml.safe_load_all(text) if o]

    broken = []

    def claim(holds, words):
        if not holds:
            broken.append(words)

    sets = of_kind(objects, "StatefulSet")
    claim(len(sets) == 1, f"there is one StatefulSet (there are {len(sets)})")
    if sets:
        the_set(sets[0], objects, args, claim)
        pod(sets[0], args, claim)
        services(sets[0], of_kind(objects, "Service"), args, claim)
        rights(sets[0], objects, args, claim)
        others(sets[0], objects, claim)
    password(text, objects, args.password, claim)

    for words in broken:
        print(f"not so: {words}")
    sys.exit(1 if broken else 0)


def of_kind(objects, kind):
    return [o for o in objects if o["kind"] == kind]


def the_set(it, objects, args, claim):
    spec = it["spec"]
    claim(spec.get("podManagementPolicy") == "Parallel", "podManagementPolicy is Parallel")
    claim(spec.get("updateStrategy", {}).get("type") == "RollingUpdate", "updateStrategy is RollingUpdate")
    claim(spec.get("replicas") == args.members, f"there are {args.members} replicas")
    labels = spec["template"]["metadata"]["labels"]
    claim(spec["selector"]["matchLabels"].items() <= labels.items(), "the set's selector matches its pods")
    sums = spec["template"]["metadata"].get("annotations", {})
    claim("checksum/configuration" in sums, "the pods carry the configuration's checksum")
    config = [o for o in of_kind(objects, "ConfigMap") if o["metadata"]["name"] == it["metadata"]["name"]]
    claim(
        config and config[0]["data"].get("replicas") == str(args.members),
        "the ConfigMap's replicas (PODZERO_REPLICAS) are the set's",
    )
    least = re.findall(r"^min-replicas-to-write (.*)", config[0]["data"]["redis.conf"] if config else "", re.M)
    claim(args.members >= 3 or not least, f"{args.members} members can be without replicas ({least})")


def containers(spec):
    """init, sidecar and server, and whether the sidecar is among the init containers."""
    inits = {c["name"]: c for c in spec.get("initContainers", [])}
    mains = {c["name"]: c for c in spec["containers"]}
    sidecar = inits.get("podzero") or mains.get("podzero")
    server = next((mains[name] for name in SERVERS if name in mains), None)
    return inits.get("podzero-init"), sidecar, server, "podzero" in inits


def pod(the_set, args, claim):
    spec = the_set["spec"]["template"]["spec"]
    claim(spec.get("enableServiceLinks") is False, "enableServiceLinks is false")
    claim(spec.get("automountServiceAccountToken") is False, "the pod mounts no service account token")
    init, sidecar, server, native = containers(spec)
    everybody = spec.get("initContainers", []) + spec["containers"]
    names = [c["name"] for c in everybody if c["name"] not in args.more]
    if not (init and sidecar and server):
        claim(False, f"there are the containers podzero-init, podzero and a server ({', '.join(names)})")
        return
    claim(len(names) == 3, f"there are no more containers than three ({', '.join(names)})")
    claim(names[:2] == ["podzero-init", "podzero"], "podzero-init is first, podzero second")
    if args.minor >= 29 and not args.ordinary:
        claim(native and sidecar.get("restartPolicy") == "Always", "podzero is a native sidecar (restartPolicy Always)")
    else:
        claim(not native and "restartPolicy" not in sidecar, "podzero is an ordinary container, without restartPolicy")

    claim(init["args"][0] == "init" and sidecar["args"] == ["sidecar"], "podzero is told to init, then to be the sidecar")
    claim(init["image"] == sidecar["image"], "init and sidecar are of one image")
    for c in (init, sidecar, server):
        reference = c["image"].rsplit("/", 1)[-1]
        claim(re.search(r"(:[^:]+|@sha256:[0-9a-f]{64})$", reference), f"{c['name']}'s image has a tag or a digest")
        claim(not reference.endswith(":latest"), f"{c['name']}'s image is not :latest")
        restricted(spec, c, claim)
    ids = {tuple(context(spec, c).get(k) for k in ("runAsUser", "runAsGroup")) for c in (init, sidecar, server)}
    claim(len(ids) == 1, f"all containers are the same user and group ({ids})")
    if args.ids_by_cluster:
        claim(ids == {(None, None)}, f"the cluster chooses the ids ({ids})")
        claim("fsGroup" not in spec.get("securityContext", {}), "the cluster chooses the volumes' group")
    else:
        claim("fsGroup" in spec.get("securityContext", {}), "the volumes belong to a group (fsGroup)")
    files(the_set, spec, init, sidecar, server, args, claim)
    environment(the_set, init, sidecar, claim)
    probes(sidecar, server, claim)


def context(spec, container):
    return {**spec.get("securityContext", {}), **container.get("securityContext", {})}


def restricted(spec, container, claim):
    """The Pod Security standard `restricted`, and a read-only root."""
    name, it = container["name"], context(spec, container)
    claim(it.get("runAsNonRoot") is True, f"{name} refuses to be root")
    claim(it.get("readOnlyRootFilesystem") is True, f"{name}'s root is read-only")
    claim(it.get("allowPrivilegeEscalation") is False, f"{name} cannot gain rights")
    claim(it.get("capabilities") == {"drop": ["ALL"]}, f"{name} has no capabilities")
    claim(it.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{name} has the runtime's seccomp profile")


def mounts(container):
    return {m["name"]: m for m in container.get("volumeMounts", [])}


def files(the_set, spec, init, sidecar, server, args, claim):
    volumes = {v["name"]: v for v in spec["volumes"]}
    claimed = [t["metadata"]["name"] for t in the_set["spec"].get("volumeClaimTemplates", [])]
    data = args.data if claimed else "data"
    claim(
        (data in claimed) != ("emptyDir" in volumes.get(data, {})),
        "the data is in a claimed volume or in an emptyDir",
    )
    for c in (init, sidecar, server):
        for name, mount in mounts(c).items():
            claim(name in volumes or name in claimed, f"{c['name']}'s mount {name} is a volume of the pod")
            claim("subPath" not in mount, f"{c['name']}'s mount {name} sees changes (no subPath)")
    claim(volumes.get("conf", {}).get("emptyDir", {}).get("medium") == "Memory", "the configuration is kept in memory")

    def at(container, name):
        return mounts(container).get(name, {}).get("mountPath")

    def writable(container, name):
        return at(container, name) and not mounts(container)[name].get("readOnly")

    claim(at(server, "conf") and mounts(server)["conf"].get("readOnly") is True, "the server mounts the configuration read-only")
    for name in ("conf", data, "runtime"):
        for c in (init, sidecar):
            claim(writable(c, name), f"{c['name']} may write {name}")
        claim(at(server, name) == at(init, name) == at(sidecar, name), f"{name} has one path in all containers")
    claim(writable(server, data), "the server may write its data")
    claim(("tls" in volumes) == bool(args.tls), "there are certificates when the values say so")
    for c in (init, sidecar, server):
        claim(("tls" in mounts(c)) == bool(args.tls), f"{c['name']} has the certificates when there are some")
    token = volumes.get("token", {}).get("projected")
    claim(bool(token) == args.lease, "there is a token of the service account with the Lease, and none without")
    holders = [c["name"] for c in spec["containers"] + spec["initContainers"] if "token" in mounts(c)]
    claim(holders == (["podzero"] if args.lease else []), f"podzero's sidecar alone has the token ({holders})")
    claim(at(server, "base") == at(init, "base"), "the base configuration has one path, since the generated one includes it")

    env = {e["name"]: e.get("value") for e in sidecar["env"]}
    for variable, name in (
        ("PODZERO_CONF", "conf"),
        ("PODZERO_BASE_CONF", "base"),
        ("PODZERO_SOCKET", "runtime"),
        ("PODZERO_DATA_DIR", data),
        ("PODZERO_PASSWORD_FILE", "secret"),
        ("PODZERO_TLS_CA_FILE", "tls"),
        ("PODZERO_TLS_CERT_FILE", "tls"),
        ("PODZERO_TLS_KEY_FILE", "tls"),
    ):
        if variable not in env:
            secrets = variable == "PODZERO_PASSWORD_FILE" or "_TLS_" in variable and not args.tls
            claim(secrets, f"{variable} is set")
            continue
        path = pathlib.PurePosixPath(env[variable])
        home = path if variable == "PODZERO_DATA_DIR" else path.parent
        claim(str(home) == at(sidecar, name), f"{variable} ({path}) is in the volume {name}")
    config = pathlib.PurePosixPath(env.get("PODZERO_BASE_CONF") or "")
    base = volumes.get("base", {}).get("configMap", {}).get("items", [])
    claim(config.name in [i["path"] for i in base], "the base configuration's file is in its volume")
    claim(
        server["args"] == [f"{server['name']}-server", env.get("PODZERO_CONF")],
        f"the server is started with the generated configuration ({server['args']})",
    )
    claim(server.get("workingDir") == env.get("PODZERO_DATA_DIR"), "the server is started in the data directory")
    claim(f"--install-dir={at(init, 'runtime')}" in init["args"], "init installs the binary into the runtime volume")
    secret = volumes.get("secret", {}).get("secret")
    claim(bool(secret) == ("PODZERO_PASSWORD_FILE" in env), "there is a password's volume when podzero is told of one")
    if secret:
        claim(secret.get("defaultMode") == 0o440, "the password is readable by owner and group only (0440)")
        claim("secret" not in mounts(server), "the server has the password from its configuration alone")


def environment(the_set, init, sidecar, claim):
    claim(init["env"] == sidecar["env"], "init and sidecar have one environment")
    known = set()
    for source in (ROOT / "src").rglob("*.rs"):
        known |= set(re.findall(r'env = "(PODZERO_[A-Z_]+)"', source.read_text()))
    claim(known, "the binary's variables are found in src/")
    env = {e["name"]: e for e in sidecar["env"]}
    for name in env:
        claim(name in known or not name.startswith("PODZERO_"), f"{name} is a variable of the binary's")
    fields = {
        "PODZERO_POD_NAME": "metadata.name",
        "PODZERO_NAMESPACE": "metadata.namespace",
        "PODZERO_POD_UID": "metadata.uid",
        "PODZERO_POD_IP": "status.podIPs",
    }
    for name, field in fields.items():
        told = env.get(name, {}).get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        claim(told == field, f"{name} is {field} (it is {told})")
    claim(env.get("PODZERO_SERVICE", {}).get("value") == the_set["spec"]["serviceName"], "PODZERO_SERVICE governs the set")
    replicas = env.get("PODZERO_REPLICAS", {}).get("valueFrom", {}).get("configMapKeyRef", {})
    claim(
        replicas == {"name": the_set["metadata"]["name"], "key": "replicas"},
        "PODZERO_REPLICAS comes from the ConfigMap, so that scaling restarts nobody",
    )


def probes(sidecar, server, claim):
    ports = {p["name"]: p["containerPort"] for p in sidecar.get("ports", []) + server.get("ports", [])}
    claim(ports == {"http": 8379, "redis": 6379}, f"the ports are http 8379 and redis 6379 ({ports})")
    for kind, path in (("startupProbe", "/startupz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        asked = sidecar.get(kind, {}).get("httpGet")
        claim(asked == {"path": path, "port": "http"}, f"podzero's {kind} asks {path} ({asked})")
    for kind in ("startupProbe", "livenessProbe"):
        probe = server.get(kind, {"tcpSocket": {"port": "redis"}})
        claim(probe.get("tcpSocket") == {"port": "redis"}, f"the server's {kind} only opens its port")
    claim("readinessProbe" not in server, "the server has no readiness of its own: podzero's is the member's")
    live = server.get("livenessProbe", {})
    patience = live.get("periodSeconds", 60) * live.get("failureThreshold", 1)
    claim(patience >= 30, f"the server's liveness is patient ({patience} s)")


def services(the_set, all_services, args, claim):
    labels = the_set["spec"]["template"]["metadata"]["labels"]
    by_name = {s["metadata"]["name"]: s["spec"] for s in all_services}
    name = the_set["metadata"]["name"]
    headless = by_name.get(the_set["spec"]["serviceName"])
    claim(headless, "the Service that governs the set is there")
    if headless:
        claim(headless.get("clusterIP") == "None", "the governing Service is headless")
        claim(headless.get("publishNotReadyAddresses") is True, "the headless Service has publishNotReadyAddresses")
        claim({p["port"] for p in headless["ports"]} == {6379, 8379}, "the headless Service has both ports")
    master = by_name.get(f"{name}-master", {})
    first = {"statefulset.kubernetes.io/pod-name": f"{name}-0"}
    leads = {"podzero/role": "master"}
    if args.slices:
        claim("selector" not in master, "the master's Service has no selector: podzero writes where it leads")
    else:
        wanted = leads if args.lease else first
        claim(wanted.items() <= master.get("selector", {}).items(), f"the master's Service leads to {wanted}")
    follows = by_name.get(f"{name}-replicas", {}).get("selector", {}).get("podzero/role")
    claim(f"{name}-replicas" in by_name, "there is a Service for reading")
    claim(follows == ("replica" if args.lease else None), "the Service for reading leaves the master out with the Lease")
    for service, spec in by_name.items():
        if args.slices and service == f"{name}-master":
            continue
        rest = {k: v for k, v in spec["selector"].items() if k not in {**first, **leads}}
        claim(rest and rest.items() <= labels.items(), f"the Service {service} selects the set's pods")
        if spec is not headless:
            claim(not spec.get("publishNotReadyAddresses"), f"the Service {service} leads to ready pods only")
        for port in spec["ports"]:
            claim(port["targetPort"] in ("redis", "http"), f"the Service {service} leads to a named port")
    namespaces = {s["metadata"].get("namespace") for s in all_services} | {the_set["metadata"].get("namespace")}
    claim(len(namespaces) == 1, f"all objects are in one namespace ({namespaces})")


def rights(the_set, objects, args, claim):
    """The least: of this namespace, and what the README of the project lists."""
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        claim(not of_kind(objects, kind), f"nothing is asked of the whole cluster, but there is a {kind}")
    for account in of_kind(objects, "ServiceAccount"):
        claim(account.get("automountServiceAccountToken") is False, "the ServiceAccount's token is not mounted")
    roles, bindings = of_kind(objects, "Role"), of_kind(objects, "RoleBinding")
    if not args.lease:
        claim(not roles and not bindings, "authority ordinal needs no rights")
        return
    claim(len(roles) == 1 and len(bindings) == 1, "there is one Role and its binding")
    if not roles or not bindings:
        return
    account = the_set["spec"]["template"]["spec"]["serviceAccountName"]
    claim([s["name"] for s in bindings[0]["subjects"]] == [account], "the Role is bound to the pods' account")
    name = the_set["metadata"]["name"]
    master = f"{name}-master"
    wanted = {
        ("coordination.k8s.io", "leases", "create", ""),
        *(("coordination.k8s.io", "leases", verb, name) for verb in ("get", "watch", "update")),
        ("apps", "statefulsets", "get", name),
        ("", "pods", "list", ""),
        *(("", "pods", "patch", f"{name}-{ordinal}") for ordinal in range(max(args.members, 10))),
        ("", "services", "get", f"{name}-master"),
        ("events.k8s.io", "events", "create", ""),
    }
    if args.slices:
        slices = [f"{master}-podzero-{family}" for family in ("ipv4", "ipv6")]
        wanted |= {
            ("", "services/finalizers", "update", master),
            ("discovery.k8s.io", "endpointslices", "create", ""),
            *(("discovery.k8s.io", "endpointslices", verb, one) for verb in ("get", "update") for one in slices),
        }
    given = {
        (group, resource, verb, one)
        for rule in roles[0]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for one in rule.get("resourceNames", [""])
    }
    claim(given == wanted, f"the rights are those that are needed (too many: {given - wanted}, missing: {wanted - given})")
    env = {e["name"]: e.get("value") for e in containers(the_set["spec"]["template"]["spec"])[1]["env"]}
    claim(env.get("PODZERO_LEASE_NAME") == name, "the Lease has the set's name, for which there are rights")
    claim(env.get("PODZERO_MASTER_SERVICE") == master, "podzero leads the master's Service")


def others(the_set, objects, claim):
    """What selects the set's pods selects just these."""
    labels = the_set["spec"]["template"]["metadata"]["labels"]
    own = the_set["spec"]["selector"]["matchLabels"]
    for o in objects:
        spec = o.get("spec", {})
        if o["kind"] == "PodDisruptionBudget":
            claim(spec["selector"]["matchLabels"] == own, "the budget for evictions is of the set's pods")
        if o["kind"] == "NetworkPolicy":
            claim(spec["podSelector"]["matchLabels"] == own, "the network policy is of the set's pods")
        if o["kind"] == "PodMonitor":
            claim(spec["selector"]["matchLabels"] == own, "the PodMonitor finds the set's pods")
        if o["kind"] == "ServiceMonitor":
            wanted = spec["selector"]["matchLabels"].items()
            found = [s["metadata"]["name"] for s in of_kind(objects, "Service") if wanted <= s["metadata"]["labels"].items()]
            claim(found == [the_set["spec"]["serviceName"]], f"the ServiceMonitor finds the headless Service alone ({found})")
        if o["kind"] == "Pod":
            claim(not own.items() <= o["metadata"]["labels"].items(), "the test's pod is none of the set's")
            claim(labels.get("app.kubernetes.io/instance") == o["metadata"]["labels"].get("app.kubernetes.io/instance"), "the test is the release's")
            for c in o["spec"]["containers"]:
                restricted(o["spec"], c, claim)


def password(text, objects, secret, claim):
    if secret is None:
        claim(not of_kind(objects, "Secret"), "there is no Secret where no password is given")
        return
    encoded = base64.b64encode(secret.encode()).decode()
    claim(
        [encoded] == [v for s in of_kind(objects, "Secret") for v in s["data"].values()],
        "the password is in the chart's Secret, letter by letter",
    )
    claim(text.count(encoded) == 1, "the encoded password is in the Secret and nowhere else")
    claim(secret not in text, "the password is nowhere in clear")
    for o in objects:
        claim(o["kind"] == "Secret" or secret not in str(o), f"the password is not in the {o['kind']}")


if __name__ == "__main__":
    main()
