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
{{- range .Values.podzero.extraEnvVars }}
{{- if eq .name "PODZERO_POD_NAME" "PODZERO_NAMESPACE" "PODZERO_POD_UID" "PODZERO_POD_IP" "PODZERO_SERVICE" "PODZERO_REPLICAS" "PODZERO_CONF" "PODZERO_BASE_CONF" "PODZERO_DATA_DIR" "PODZERO_SOCKET" "PODZERO_PASSWORD_FILE" "PODZERO_AUTHORITY" "PODZERO_HTTP" "PODZERO_REDIS_PORT" "PODZERO_INSTALL_DIR" "PODZERO_WITHOUT_SIDECAR" "PODZERO_GRACE" "PODZERO_USERNAME" "PODZERO_TLS_CA_FILE" "PODZERO_TLS_CERT_FILE" "PODZERO_TLS_KEY_FILE" "PODZERO_LEASE_NAME" "PODZERO_MASTER_SERVICE" "PODZERO_MASTER_SERVICE_MODE" }}
{{- fail (printf "podzero.extraEnvVars sets %s, which is the chart's to set: probes, mounts and Services rely on it. Use the value that stands for it, or leave it out." .name) }}
{{- end }}
{{- end }}
{{- end }}
