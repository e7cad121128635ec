//! A real Kubernetes API server with its etcd, in a set's network, for the tests of the Lease.
//!
//! No scheduler, kubelet or controller: what a cluster's own parts would make, the tests make.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use harness::process::Process;
use harness::sandbox::SERVICE;
use harness::wait::{SOON, wait_until};
use harness::{Builder, Member, Set};
use serde_json::Value;

use crate::api_proxy::ApiProxy;
use crate::epochs::Epochs;
use crate::kube_proxy::KubeProxy;

/// The set's namespace and the name of its service account, as in the harness.
const NAMESPACE: &str = harness::set::NAMESPACE;
/// Where pods reach the API server.
const ADDRESS: IpAddr = harness::sandbox::API;
/// The token of the harness itself.
const ADMIN: &str = "harness";

/// A set whose authority is the Lease, and its API server.
pub(crate) struct Cluster {
    pub(crate) set: Set,
    folder: tempfile::TempDir,
    proxy: Option<ApiProxy>,
    kube_proxy: KubeProxy,
    epochs: Option<Epochs>,
    by_hand: bool,
    apiserver: Process,
    _etcd: Process,
}

/// Where an API server keeps its files.
pub(crate) fn folder() -> Result<tempfile::TempDir> {
    let mut folder = tempfile::Builder::new();
    Ok(folder.prefix("podzero-cluster").tempdir()?)
}

pub(crate) fn part(part: &str, program: &str) -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let binary = cache.join("podzero").join(part).join("bin").join(program);
    ensure!(
        binary.exists(),
        "{} is missing; run: tests/parts/get {part}",
        binary.display()
    );
    Ok(binary)
}

/// The least rights that the README names, and what the chart would make.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: redis, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: redis, namespace: NAMESPACE}
rules:
  - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
  - {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [redis], verbs: [get, watch, update]}
  - {apiGroups: [""], resources: [services], resourceNames: [redis-master], verbs: [get]}
  - {apiGroups: [""], resources: [services/finalizers], resourceNames: [redis-master], verbs: [update]}
  - {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [create]}
  - {apiGroups: [discovery.k8s.io], resources: [endpointslices], resourceNames: [redis-master-podzero-ipv4, redis-master-podzero-ipv6], verbs: [get, update]}
  - {apiGroups: [apps], resources: [statefulsets], resourceNames: [redis], verbs: [get]}
  - {apiGroups: [""], resources: [pods], verbs: [list, patch]}
  - {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: redis, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: redis}
subjects: [{kind: ServiceAccount, name: redis, namespace: NAMESPACE}]
---
apiVersion: v1
kind: Service
metadata: {name: redis-master, namespace: NAMESPACE}
spec: {clusterIP: SERVICE, ports: [{name: redis, port: 6379}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: redis, namespace: NAMESPACE}
spec:
  serviceName: redis
  replicas: 3
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: redis}}
  template:
    metadata: {labels: {app: redis}}
    spec: {containers: [{name: redis, image: redis}]}
"#;

/// Only `CLOCK_REALTIME` is wrong: the others count from each machine's start anyway.
const WRONG_CLOCK: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    const char *by = getenv("WRONG_BY");
    if (!failed && clock == CLOCK_REALTIME && by) at->tv_sec += atol(by);
    return failed;
}
"#;

/// A pod of the set, which only its labels are looked at of.
const POD: &str = r"
---
apiVersion: v1
kind: Pod
metadata: {name: redis-ORDINAL, namespace: NAMESPACE, labels: {app: redis}}
spec: {containers: [{name: redis, image: redis}]}
";

impl Cluster {
    /// A set of three whose members go by the Lease; `with` adds settings. At the end of the test its
    /// record is checked: see [`Epochs`].
    pub(crate) fn make(with: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        let mut cluster = Self::unwatched(with)?;
        let addresses = cluster.set.members().iter().map(Member::address).collect();
        cluster.epochs = Some(Epochs::start(addresses, cluster.set.password()));
        Ok(cluster)
    }

    /// The same without the record, for figures: nobody else writes or asks.
    pub(crate) fn unwatched(with: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        let folder = folder()?;
        let builder = crate::set()
            .env("PODZERO_AUTHORITY", "lease")
            .sidecar_env("KUBERNETES_SERVICE_HOST", &ADDRESS.to_string())
            .sidecar_env("KUBERNETES_SERVICE_PORT", "443");
        let set = with(builder).make()?;
        let mut objects = OBJECTS.to_owned();
        for ordinal in 0..set.members().len() {
            objects += &POD.replace("ORDINAL", &ordinal.to_string());
        }
        let objects = objects
            .replace("NAMESPACE", NAMESPACE)
            .replace("SERVICE", &SERVICE.to_string());
        Self::around(folder, set, &objects)
    }

    /// The API server for a set that has been made, and the objects in it.
    pub(crate) fn around(folder: tempfile::TempDir, set: Set, objects: &str) -> Result<Self> {
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(
            path("tokens.csv"),
            format!("{ADMIN},admin,u1,\"system:masters\"\n"),
        )?;
        harness::process::run(Command::new("openssl").args([
            "genrsa",
            "-out",
            &path("sa.key"),
            "2048",
        ]))
        .context("making a key (apt-get install openssl)")?;
        let (client, peer) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
        let mut etcd = Command::new(part("kubernetes-1.20", "etcd")?);
        etcd.arg("--data-dir").arg(path("etcd")).args([
            "--listen-client-urls",
            client,
            "--advertise-client-urls",
            client,
            "--listen-peer-urls",
            peer,
            "--initial-advertise-peer-urls",
            peer,
            "--initial-cluster",
            &format!("default={peer}"),
            "--unsafe-no-fsync",
        ]);
        let etcd = Process::start("etcd", &mut etcd, &folder.path().join("etcd.log"))?;
        let mut apiserver = Command::new(part("kubernetes-1.20", "kube-apiserver")?);
        apiserver.args([
            &format!("--etcd-servers={client}"),
            "--bind-address=127.0.0.1",
            &format!("--advertise-address={ADDRESS}"),
            "--endpoint-reconciler-type=none",
            "--secure-port=6443",
            &format!("--cert-dir={}", folder.path().display()),
            "--authorization-mode=RBAC",
            &format!("--token-auth-file={}", path("tokens.csv")),
            &format!("--service-account-key-file={}", path("sa.key")),
            &format!("--service-account-signing-key-file={}", path("sa.key")),
            "--service-account-issuer=https://kubernetes",
            "--service-cluster-ip-range=10.244.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
        ]);
        let log = folder.path().join("apiserver.log");
        let apiserver = Process::start("kube-apiserver", &mut apiserver, &log)?;
        let mut cluster = Self {
            set,
            folder,
            proxy: None,
            kube_proxy: KubeProxy::start(SERVICE)?,
            epochs: None,
            by_hand: false,
            apiserver,
            _etcd: etcd,
        };
        cluster.write_kubeconfig()?;
        wait_until("the API server is ready", SOON, || {
            cluster
                .kubectl(&["get", "--raw", "/readyz"], None)
                .map(|_| ())
        })
        .with_context(|| cluster.apiserver.log_tail(5))?;
        // Fields of later versions are cut off, as that server would.
        cluster.kubectl(&["apply", "--validate=false", "-f", "-"], Some(objects))?;
        cluster.let_in(&cluster.set.service_account())?;
        let at = SocketAddr::new(ADDRESS, 443);
        let proxy = ApiProxy::start(at, cluster.folder.path())?;
        proxy.tells(cluster.kube_proxy.service());
        cluster.proxy = Some(proxy);
        Ok(cluster)
    }

    /// The same, started, with one master.
    pub(crate) fn start() -> Result<Self> {
        let mut cluster = Self::make(|builder| builder)?;
        cluster.set.start_all()?;
        cluster.set.converge()?;
        Ok(cluster)
    }

    /// Puts into a folder what the kubelet mounts for the set's service account.
    pub(crate) fn let_in(&self, folder: &Path) -> Result<()> {
        let token = self.kubectl(&["create", "token", "redis", "-n", NAMESPACE], None)?;
        fs::write(folder.join("token"), token.trim())?;
        fs::copy(self.ca(), folder.join("ca.crt"))?;
        fs::write(folder.join("namespace"), NAMESPACE)?;
        Ok(())
    }

    /// The certificate of the API server.
    fn ca(&self) -> PathBuf {
        self.folder.path().join("apiserver.crt")
    }

    /// How `kubectl` gets in, as the administrator.
    fn write_kubeconfig(&self) -> Result<()> {
        let (ca, token, server) = (self.ca(), ADMIN, "https://127.0.0.1:6443");
        let text = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {
                "server": server, "certificate-authority": ca,
            }}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        fs::write(self.folder.path().join("admin.conf"), text.to_string())?;
        Ok(())
    }

    /// `kubectl` as the cluster's administrator.
    pub(crate) fn kubectl(&self, words: &[&str], input: Option<&str>) -> Result<String> {
        let mut child = Command::new(part("kubectl", "kubectl")?)
            .arg("--kubeconfig")
            .arg(self.folder.path().join("admin.conf"))
            .args(words)
            .env("HOME", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.unwrap_or_default().as_bytes())?;
        }
        let done = child.wait_with_output()?;
        ensure!(
            done.status.success(),
            "kubectl {words:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Changes an object of the set's namespace as a person would: `patch` in JSON, merged into it.
    pub(crate) fn patch(&self, what: &str, patch: &str) -> Result<String> {
        let words = ["patch", what, "-n", NAMESPACE, "--type=merge", "-p", patch];
        self.kubectl(&words, None)
    }

    /// The Lease.
    pub(crate) fn lease(&self) -> Result<Value> {
        let text = self.kubectl(
            &["get", "lease", "redis", "-n", NAMESPACE, "-o", "json"],
            None,
        )?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The pod that holds it.
    pub(crate) fn holder(&self) -> Result<String> {
        let lease = self.lease()?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        Ok(holder.split('_').next().unwrap_or_default().to_owned())
    }

    /// What pods send to the API server, and what becomes of it.
    pub(crate) fn proxy(&self) -> Result<&ApiProxy> {
        self.proxy.as_ref().context("not started")
    }

    /// What leads clients to the endpoint of the master's Service.
    pub(crate) fn kube_proxy(&self) -> &KubeProxy {
        &self.kube_proxy
    }

    /// The test makes masters by hand, in no epoch: of these the record says nothing.
    pub(crate) fn masters_are_made_by_hand(&mut self) {
        self.by_hand = true;
    }

    /// The role label of a pod.
    pub(crate) fn label(&self, ordinal: usize) -> Result<String> {
        let path = "jsonpath={.metadata.labels.podzero/role}";
        let pod = format!("redis-{ordinal}");
        self.kubectl(&["get", "pod", &pod, "-n", NAMESPACE, "-o", path], None)
    }

    /// The Events: reason and note of each.
    pub(crate) fn events(&self) -> Result<Vec<(String, String)>> {
        let named = "events.events.k8s.io";
        let text = self.kubectl(&["get", named, "-n", NAMESPACE, "-o", "json"], None)?;
        let list: Value = serde_json::from_str(&text)?;
        let each = list["items"].as_array().into_iter().flatten();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        Ok(each
            .map(|e| (text(&e["reason"]), text(&e["note"])))
            .collect())
    }

    /// The addresses to which the master's Service leads.
    pub(crate) fn endpoints(&self) -> Result<Vec<String>> {
        let named = "endpointslices.v1beta1.discovery.k8s.io";
        let label = "kubernetes.io/service-name=redis-master";
        let text = self.kubectl(
            &["get", named, "-n", NAMESPACE, "-l", label, "-o", "json"],
            None,
        )?;
        let list: Value = serde_json::from_str(&text)?;
        let each = list["items"].as_array().into_iter().flatten();
        let endpoints = each.flat_map(|s| s["endpoints"].as_array().cloned().unwrap_or_default());
        let addresses =
            endpoints.flat_map(|e| e["addresses"].as_array().cloned().unwrap_or_default());
        Ok(addresses
            .filter_map(|a| Some(a.as_str()?.to_owned()))
            .collect())
    }

    /// A library that sets the wall clock of a program wrong, by the seconds in `WRONG_BY`.
    pub(crate) fn wrong_clock(&self) -> Result<String> {
        let (source, library) = (
            self.folder.path().join("clock.c"),
            self.folder.path().join("clock.so"),
        );
        fs::write(&source, WRONG_CLOCK)?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source);
        harness::process::run(&mut cc).context("compiling (apt-get install build-essential)")?;
        Ok(library.display().to_string())
    }

    /// The API server's process.
    pub(crate) fn apiserver(&self) -> &Process {
        &self.apiserver
    }
}

/// No test can leave this out.
#[expect(clippy::print_stdout, reason = "beside what the test says itself")]
impl Drop for Cluster {
    fn drop(&mut self) {
        let checked = self.epochs.take().map(|epochs| epochs.check(self.by_hand));
        match checked {
            Some(Err(error)) if std::thread::panicking() => println!("{error:#}"),
            Some(Err(error)) => panic!("{error:#}"),
            Some(Ok(())) | None => {}
        }
    }
}

/// Waits until another member than this one is the one master.
pub(crate) fn another_master(set: &Set, than: usize) -> Result<usize> {
    set.wait_for("another master", || {
        let masters = set.masters();
        ensure!(masters.len() == 1 && masters[0] != than, "{masters:?}");
        Ok(masters[0])
    })
}
