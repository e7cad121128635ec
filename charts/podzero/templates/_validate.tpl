{{/* What contradicts itself is refused here, in words; what is mistyped, by values.schema.json. */}}
{{- define "podzero.validate" -}}
{{- if ne .Values.podManagementPolicy "Parallel" }}
{{- fail (printf "podManagementPolicy is %q, but only Parallel works: a member that waits for the others is not ready yet, and an ordered set would never start those that it waits for. Leave the value out." .Values.podManagementPolicy) }}
{{- end }}
{{- if and .Values.auth.password .Values.auth.existingSecret }}
{{- fail (printf "auth.password and auth.existingSecret (%q) are both set, and only one can be the password. Leave one of them out." .Values.auth.existingSecret) }}
{{- end }}
{{- if and (not .Values.auth.enabled) (or .Values.auth.password .Values.auth.existingSecret) }}
{{- fail "auth.enabled is false, but there is a password (auth.password or auth.existingSecret): the servers would be open in spite of it. Set auth.enabled=true, or leave the password out." }}
{{- end }}
{{- if hasSuffix "\n" .Values.auth.password }}
{{- fail "auth.password ends with a line end, which is cut off wherever passwords are read from files: clients that keep it would be refused. Leave it out (in YAML: |- in place of |)." }}
{{- end }}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) }}
{{- fail "tls.enabled is true, but tls.existingSecret names no Secret with the certificates. Name one with the keys of tls.certFilename, tls.certKeyFilename and tls.certCAFilename." }}
{{- end }}
{{- if and .Values.tls.existingSecret (not .Values.tls.enabled) }}
{{- fail (printf "tls.existingSecret (%q) is set, but tls.enabled is false: the servers would speak in clear in spite of it. Set tls.enabled=true, or leave the Secret out." .Values.tls.existingSecret) }}
{{- end }}
{{- if and .Values.auth.username (not .Values.auth.enabled) }}
{{- fail (printf "auth.username (%q) is set, but auth.enabled is false: podzero would have no password for that user. Set auth.enabled=true." .Values.auth.username) }}
{{- end }}
{{- if and .Values.auth.username (ne .Values.auth.username "default") (not .Values.auth.acl.existingSecret) (not (contains (printf "user %s " .Values.auth.username) .Values.commonConfiguration)) }}
{{- fail (printf "auth.username is %q, but nobody makes that user: name a Secret with an ACL file (auth.acl.existingSecret), or write its line into commonConfiguration." .Values.auth.username) }}
{{- end }}
{{- if and .Values.persistence.enabled (has .Values.persistence.claimName (list "conf" "runtime" "base" "secret" "tls" "acl" "token")) }}
{{- fail (printf "persistence.claimName is %q, which is a volume of the chart's own. Take another name." .Values.persistence.claimName) }}
{{- end }}
{{- if and (ne (toString .Values.pdb.minAvailable) "") (ne (toString .Values.pdb.maxUnavailable) "") }}
{{- fail "pdb.minAvailable and pdb.maxUnavailable are both set, and Kubernetes takes one. Leave one of them out." }}
{{- end }}
{{- if and (eq .Values.podzero.authority "ordinal") (or .Values.podzero.lease.duration .Values.podzero.lease.renewDeadline .Values.podzero.lease.retryPeriod) }}
{{- fail "podzero.lease has times, but podzero.authority is ordinal: nothing would use them. Leave them out, or set podzero.authority=lease." }}
{{- end }}
{{- with lookup "v1" "Service" .Release.Namespace (include "podzero.masterName" .) }}
{{- $selects := dig "spec" "selector" "podzero/role" "" . }}
{{- $was := empty (dig "spec" "selector" dict .) | ternary "slice" (eq $selects "master" | ternary "label" "ordinal") }}
{{- $is := ternary "slice" (ternary "label" "ordinal" (eq $.Values.podzero.authority "lease")) (eq (include "podzero.slices" $) "true") }}
{{- if and (ne $was $is) (or (eq $was "slice") (eq $is "slice")) }}
{{- fail (printf "the Service %s finds its master by another way (%s) than it would from now on (%s), and the EndpointSlices of before would stay, leading clients to old pods. Delete it first, and upgrade at once: kubectl -n %s delete service %s" .metadata.name $was $is .metadata.namespace .metadata.name) }}
{{- end }}
{{- end }}
{{- if and (include "podzero.lease" .) .Values.rbac.create (eq (include "podzero.serviceAccountName" .) "default") }}
{{- fail "the Role of the Lease would be bound to the namespace's default service account, which every pod has. Name another one (serviceAccount.name), or leave serviceAccount.create true." }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
{{- fail "metrics.serviceMonitor and metrics.podMonitor are both enabled, and each member would be counted twice. Leave one of them out." }}
{{- end }}
{{- if and (ne (toString .Values.minReplicasToWrite) "auto") (ge (int .Values.minReplicasToWrite) (int .Values.replica.replicaCount)) }}
{{- fail (printf "minReplicasToWrite is %v, and of %v members only %v can be replicas: nobody would accept writes." .Values.minReplicasToWrite .Values.replica.replicaCount (sub (int .Values.replica.replicaCount) 1)) }}
{{- end }}
{{- if and .Values.pdb.create (has (toString .Values.pdb.maxUnavailable) (list "0" "0%")) }}
{{- fail "pdb.maxUnavailable is 0: nodes could never be drained. Say 1, or set pdb.create=false." }}
{{- end }}
{{- if and .Values.pdb.create (or (eq (toString .Values.pdb.minAvailable) "100%") (and (regexMatch "^[0-9]+$" (toString .Values.pdb.minAvailable)) (ge (int .Values.pdb.minAvailable) (int .Values.replica.replicaCount)))) }}
{{- fail (printf "pdb.minAvailable is %v of %v members: nodes could never be drained. Say less, or set pdb.create=false." .Values.pdb.minAvailable .Values.replica.replicaCount) }}
{{- end }}
{{- if and (eq (toString .Values.podzero.nativeSidecar) "true") (semverCompare "<1.28.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail (printf "podzero.nativeSidecar is true, but Kubernetes %s knows none (1.28 with a feature gate, 1.29 without): the pods would never start. Leave it out." .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if ne .Values.containerSecurityContext.enabled .Values.podSecurityContext.enabled }}
{{- fail "containerSecurityContext.enabled and podSecurityContext.enabled differ: the containers could not read one another's files. Where the cluster chooses the ids, set those to null instead." }}
{{- end }}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" (include "podzero.fullname" .)) }}
{{- fail (printf "the set would be called %q, but Services take names of lower-case letters, digits and '-' that begin with a letter. Set fullnameOverride." (include "podzero.fullname" .)) }}
{{- end }}
{{- if and (eq .Values.service.ipFamilyPolicy "SingleStack") (gt (len .Values.service.ipFamilies) 1) }}
{{- fail "service.ipFamilyPolicy is SingleStack, but service.ipFamilies names two. Leave one out." }}
{{- end }}
{{- with .Values.podzero.lease }}
{{- $seconds := dict }}
{{- range $key, $default := dict "duration" "6s" "renewDeadline" "4s" "retryPeriod" "1s" }}
{{- $text := default $default (get $.Values.podzero.lease $key) }}
{{- if regexMatch "^[0-9]+s$" $text }}
{{- $_ := set $seconds $key (trimSuffix "s" $text | int) }}
{{- end }}
{{- end }}
{{- if eq (len $seconds) 3 }}
{{- if or (le $seconds.duration $seconds.renewDeadline) (le $seconds.renewDeadline $seconds.retryPeriod) }}
{{- fail (printf "podzero.lease: duration (%ds) must be longer than renewDeadline (%ds), and that longer than retryPeriod (%ds)." $seconds.duration $seconds.renewDeadline $seconds.retryPeriod) }}
{{- end }}
{{- end }}
{{- end }}
{{- range .Values.podzero.extraEnvVars }}
{{- if eq .name "PODZERO_POD_NAME" "PODZERO_NAMESPACE" "PODZERO_POD_UID" "PODZERO_POD_IP" "PODZERO_SERVICE" "PODZERO_REPLICAS" "PODZERO_CONF" "PODZERO_BASE_CONF" "PODZERO_DATA_DIR" "PODZERO_SOCKET" "PODZERO_PASSWORD_FILE" "PODZERO_AUTHORITY" "PODZERO_HTTP" "PODZERO_REDIS_PORT" "PODZERO_INSTALL_DIR" "PODZERO_WITHOUT_SIDECAR" "PODZERO_GRACE" "PODZERO_USERNAME" "PODZERO_TLS_CA_FILE" "PODZERO_TLS_CERT_FILE" "PODZERO_TLS_KEY_FILE" "PODZERO_LEASE_NAME" "PODZERO_MASTER_SERVICE" "PODZERO_MASTER_SERVICE_MODE" }}
{{- fail (printf "podzero.extraEnvVars sets %s, which is the chart's to set: probes, mounts and Services rely on it. Use the value that stands for it, or leave it out." .name) }}
{{- end }}
{{- end }}
{{- end }}
