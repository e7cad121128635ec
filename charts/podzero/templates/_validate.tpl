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
{{- range .Values.podzero.extraEnvVars }}
{{- if eq .name "PODZERO_POD_NAME" "PODZERO_NAMESPACE" "PODZERO_POD_UID" "PODZERO_POD_IP" "PODZERO_SERVICE" "PODZERO_REPLICAS" "PODZERO_CONF" "PODZERO_BASE_CONF" "PODZERO_DATA_DIR" "PODZERO_SOCKET" "PODZERO_PASSWORD_FILE" "PODZERO_AUTHORITY" "PODZERO_HTTP" "PODZERO_REDIS_PORT" "PODZERO_INSTALL_DIR" "PODZERO_WITHOUT_SIDECAR" }}
{{- fail (printf "podzero.extraEnvVars sets %s, which is the chart's to set: probes, mounts and Services rely on it. Use the value that stands for it, or leave it out." .name) }}
{{- end }}
{{- end }}
{{- end }}
