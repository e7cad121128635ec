{{/* What several templates say. Paths inside the pod are named once, here. */}}

{{- define "podzero.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* The set's name. A StatefulSet's name and a revision's hash must fit into a label: 52 characters. */}}
{{- define "podzero.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What the set's pods are known by. It can never change: a StatefulSet's selector is immutable. */}}
{{- define "podzero.selectorLabels" -}}
app.kubernetes.io/name: {{ include "podzero.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{/* Labels of the user's never replace those of the selector. */}}
{{- define "podzero.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $own = merge (include "podzero.selectorLabels" . | fromYaml) .Values.commonLabels $own }}
{{- toYaml $own }}
{{- end }}

{{- define "podzero.podLabels" -}}
{{- merge (include "podzero.selectorLabels" . | fromYaml) .Values.podLabels .Values.commonLabels | toYaml }}
{{- end }}

{{/* `annotations:` with the common ones; (list . MORE): MORE wins. Nothing when there are none. */}}
{{- define "podzero.annotations" -}}
{{- $context := index . 0 }}
{{- with merge (dict) (index . 1) $context.Values.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "podzero.headlessName" -}}
{{ include "podzero.fullname" . }}-headless
{{- end }}

{{- define "podzero.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "podzero.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* (dict "image" IMAGE "repository" DEFAULT "tag" DEFAULT "global" GLOBAL) to a reference. */}}
{{- define "podzero.imageReference" -}}
{{- $registry := default .image.registry .global.imageRegistry }}
{{- $name := default .repository .image.repository }}
{{- if $registry }}
{{- $name = printf "%s/%s" $registry $name }}
{{- end }}
{{- if .image.digest }}
{{- printf "%s@%s" $name .image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .tag .image.tag) }}
{{- end }}
{{- end }}

{{- define "podzero.serverImage" -}}
{{- $valkey := eq .Values.server.kind "valkey" }}
{{- include "podzero.imageReference" (dict
  "image" .Values.image
  "repository" (ternary "valkey/valkey" "redis" $valkey)
  "tag" (ternary "8.1" "8.0" $valkey)
  "global" .Values.global) }}
{{- end }}

{{- define "podzero.image" -}}
{{- include "podzero.imageReference" (dict
  "image" .Values.podzero.image
  "repository" "podzero"
  "tag" .Chart.AppVersion
  "global" .Values.global) }}
{{- end }}

{{/* "true" when podzero runs as a native sidecar, else nothing. */}}
{{- define "podzero.native" -}}
{{- $wanted := toString .Values.podzero.nativeSidecar }}
{{- if or (eq $wanted "true") (and (eq $wanted "auto") (semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version)) }}true{{ end }}
{{- end }}

{{/* ---- The password ---- */}}

{{- define "podzero.passwordKey" -}}
{{- default "redis-password" .Values.auth.existingSecretPasswordKey }}
{{- end }}

{{- define "podzero.secretName" -}}
{{- default (include "podzero.fullname" .) .Values.auth.existingSecret }}
{{- end }}

{{/*
The password for the chart's own Secret, in base64: the given one, else the one that is there, else a
random one. Nothing where Helm only renders: without a look into the cluster a random password would
differ at each rendering, and a fixed one could be guessed. A list is never empty when a cluster
answers, even a list of nothing, so it tells the two apart; whoever installs may list StatefulSets.
*/}}
{{- define "podzero.password" -}}
{{- if .Values.auth.password }}
{{- .Values.auth.password | b64enc }}
{{- else if lookup "apps/v1" "StatefulSet" .Release.Namespace "" }}
{{- $there := lookup "v1" "Secret" .Release.Namespace (include "podzero.fullname" .) }}
{{- $data := get $there "data" | default dict }}
{{- get $data (include "podzero.passwordKey" .) | default (randAlphaNum 32 | b64enc) }}
{{- end }}
{{- end }}

{{/* ---- The pod's containers ---- */}}

{{- define "podzero.runtimeDir" -}}/run/podzero/run{{- end }}
{{- define "podzero.confDir" -}}/run/podzero/conf{{- end }}
{{- define "podzero.conf" -}}{{ include "podzero.confDir" . }}/redis.conf{{- end }}
{{- define "podzero.baseDir" -}}/run/podzero/base{{- end }}
{{- define "podzero.secretDir" -}}/run/podzero/secret{{- end }}
{{- define "podzero.tlsDir" -}}/run/podzero/tls{{- end }}
{{- define "podzero.aclDir" -}}/run/podzero/acl{{- end }}
{{/* Where the Kubernetes API's clients look for their token. */}}
{{- define "podzero.tokenDir" -}}/var/run/secrets/kubernetes.io/serviceaccount{{- end }}

{{/* "true" when the Lease is the authority, else nothing. */}}
{{- define "podzero.lease" -}}
{{- if eq .Values.podzero.authority "lease" }}true{{ end }}
{{- end }}

{{/* "true" when podzero writes the EndpointSlices of the master's Service, else nothing. */}}
{{- define "podzero.slices" -}}
{{- if and (include "podzero.lease" .) (eq .Values.podzero.masterServiceMode "slice") }}true{{ end }}
{{- end }}

{{- define "podzero.masterName" -}}
{{ include "podzero.fullname" . }}-master
{{- end }}

{{/* The base configuration: what values say of it, then commonConfiguration, whose lines win. */}}
{{- define "podzero.baseConf" -}}
{{- $wanted := toString .Values.minReplicasToWrite }}
{{- $least := eq $wanted "auto" | ternary (ge (int .Values.replica.replicaCount) 3 | ternary "1" "0") $wanted }}
{{- if ne $least "0" -}}
min-replicas-to-write {{ $least }}
{{ end -}}
{{- if and .Values.tls.enabled (not .Values.tls.authClients) -}}
tls-auth-clients no
{{ end -}}
{{- if .Values.auth.acl.existingSecret -}}
aclfile {{ include "podzero.aclDir" . }}/users.acl
{{ end -}}
{{- .Values.commonConfiguration }}
{{- end }}

{{- define "podzero.containerSecurityContext" -}}
{{- with .Values.containerSecurityContext }}
{{- if .enabled -}}
securityContext:
  {{- omit . "enabled" | toYaml | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* The environment of podzero's containers: the twins of its flags. */}}
{{- define "podzero.env" -}}
- name: PODZERO_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: PODZERO_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: PODZERO_POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
# All addresses; the first decides the family.
- name: PODZERO_POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIPs
- name: PODZERO_SERVICE
  value: {{ include "podzero.headlessName" . }}
# From a ConfigMap, so that scaling does not change the pods and restarts nobody.
- name: PODZERO_REPLICAS
  valueFrom:
    configMapKeyRef:
      name: {{ include "podzero.fullname" . }}
      key: replicas
- name: PODZERO_CONF
  value: {{ include "podzero.conf" . }}
- name: PODZERO_BASE_CONF
  value: {{ include "podzero.baseDir" . }}/redis.conf
- name: PODZERO_DATA_DIR
  value: /data
- name: PODZERO_SOCKET
  value: {{ include "podzero.runtimeDir" . }}/podzero.sock
- name: PODZERO_GRACE
  value: {{ printf "%ds" (int .Values.terminationGracePeriodSeconds) | quote }}
{{- if .Values.auth.enabled }}
- name: PODZERO_PASSWORD_FILE
  value: {{ include "podzero.secretDir" . }}/password
{{- end }}
{{- with .Values.auth.username }}
- name: PODZERO_USERNAME
  value: {{ . | quote }}
{{- end }}
{{- if .Values.tls.enabled }}
- name: PODZERO_TLS_CA_FILE
  value: {{ include "podzero.tlsDir" . }}/ca.crt
- name: PODZERO_TLS_CERT_FILE
  value: {{ include "podzero.tlsDir" . }}/tls.crt
- name: PODZERO_TLS_KEY_FILE
  value: {{ include "podzero.tlsDir" . }}/tls.key
{{- end }}
- name: PODZERO_AUTHORITY
  value: {{ .Values.podzero.authority }}
{{- if include "podzero.lease" . }}
- name: PODZERO_LEASE_NAME
  value: {{ include "podzero.fullname" . }}
- name: PODZERO_MASTER_SERVICE
  value: {{ include "podzero.masterName" . }}
- name: PODZERO_MASTER_SERVICE_MODE
  value: {{ .Values.podzero.masterServiceMode }}
{{- with .Values.podzero.lease.duration }}
- name: PODZERO_LEASE_DURATION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.podzero.lease.renewDeadline }}
- name: PODZERO_RENEW_DEADLINE
  value: {{ . | quote }}
{{- end }}
{{- with .Values.podzero.lease.retryPeriod }}
- name: PODZERO_RETRY_PERIOD
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.clusterDomain }}
- name: PODZERO_CLUSTER_DOMAIN
  value: {{ . | quote }}
{{- end }}
- name: PODZERO_LOG
  value: {{ .Values.podzero.logLevel | quote }}
- name: PODZERO_LOG_FORMAT
  value: {{ .Values.podzero.logFormat }}
{{- with .Values.podzero.peerWait }}
- name: PODZERO_PEER_WAIT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.podzero.linkGrace }}
- name: PODZERO_LINK_GRACE
  value: {{ . | quote }}
{{- end }}
{{- with .Values.podzero.maxLag }}
- name: PODZERO_MAX_LAG
  value: {{ kindIs "string" . | ternary . (int64 .) | toString | quote }}
{{- end }}
{{- with .Values.podzero.extraEnvVars }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A claim's volume has the claim's name. */}}
{{- define "podzero.dataVolume" -}}
{{- .Values.persistence.enabled | ternary .Values.persistence.claimName "data" }}
{{- end }}

{{/* What restarts the members when it changes. Their number does so only where min-replicas-to-write does. */}}
{{- define "podzero.checksum" -}}
{{- include "podzero.baseConf" . | sha256sum }}
{{- end }}

{{- define "podzero.mounts" -}}
- name: {{ include "podzero.dataVolume" . }}
  mountPath: /data
- name: conf
  mountPath: {{ include "podzero.confDir" . }}
- name: runtime
  mountPath: {{ include "podzero.runtimeDir" . }}
- name: base
  mountPath: {{ include "podzero.baseDir" . }}
  readOnly: true
{{- if .Values.auth.enabled }}
- name: secret
  mountPath: {{ include "podzero.secretDir" . }}
  readOnly: true
{{- end }}
{{- end }}

{{/* What the server's container reads, too. */}}
{{- define "podzero.serverFiles" -}}
{{- if .Values.tls.enabled }}
- name: tls
  mountPath: {{ include "podzero.tlsDir" . }}
  readOnly: true
{{- end }}
{{- end }}

{{/* What init and sidecar have in common. */}}
{{- define "podzero.common" -}}
image: {{ include "podzero.image" . | quote }}
imagePullPolicy: {{ .Values.podzero.image.pullPolicy }}
{{- with include "podzero.containerSecurityContext" . }}
{{ . }}
{{- end }}
env:
  {{- include "podzero.env" . | nindent 2 }}
volumeMounts:
  {{- include "podzero.mounts" . | nindent 2 }}
  {{- with include "podzero.serverFiles" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if and .asSidecar (include "podzero.lease" .) }}
  - name: token
    mountPath: {{ include "podzero.tokenDir" . }}
    readOnly: true
  {{- end }}
{{- with .Values.podzero.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "podzero.sidecar" -}}
- name: podzero
  args:
    - sidecar
  {{- if include "podzero.native" . }}
  restartPolicy: Always
  {{- end }}
  {{- include "podzero.common" (merge (dict "asSidecar" true) .) | nindent 2 }}
  ports:
    - name: http
      containerPort: 8379
  # The sidecar's own start: it must be started before there is a server.
  startupProbe:
    httpGet:
      path: /startupz
      port: http
    periodSeconds: 1
    timeoutSeconds: 2
    failureThreshold: 60
  # The sidecar's own life: a restart changes no role, so it need not be rash.
  livenessProbe:
    httpGet:
      path: /livez
      port: http
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  # The member's readiness, and so the pod's.
  readinessProbe:
    httpGet:
      path: /readyz
      port: http
    {{- toYaml .Values.readinessProbe | nindent 4 }}
{{- end }}

{{- define "podzero.affinity" -}}
{{- if .Values.affinity }}
{{- toYaml .Values.affinity }}
{{- else if .Values.podAntiAffinityPreset }}
{{- $term := dict
  "labelSelector" (dict "matchLabels" (include "podzero.selectorLabels" . | fromYaml))
  "topologyKey" "kubernetes.io/hostname" -}}
podAntiAffinity:
  {{- if eq .Values.podAntiAffinityPreset "hard" }}
  requiredDuringSchedulingIgnoredDuringExecution:
    {{- list $term | toYaml | nindent 4 }}
  {{- else }}
  preferredDuringSchedulingIgnoredDuringExecution:
    {{- list (dict "weight" 100 "podAffinityTerm" $term) | toYaml | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "podzero.topologySpreadConstraints" -}}
{{- $selector := dict "matchLabels" (include "podzero.selectorLabels" . | fromYaml) }}
{{- $all := list }}
{{- range .Values.topologySpreadConstraints }}
{{- $all = append $all (merge (dict) . (hasKey . "labelSelector" | ternary (dict) (dict "labelSelector" $selector))) }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{/* ---- Services ---- */}}

{{- define "podzero.ipFamilies" -}}
{{- $families := dict }}
{{- with .Values.service.ipFamilyPolicy }}
{{- $families = set $families "ipFamilyPolicy" . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
{{- $families = set $families "ipFamilies" . }}
{{- end }}
{{- with $families }}
{{- toYaml . }}
{{- end }}
{{- end }}
